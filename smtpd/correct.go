package smtpd

import (
	"bytes"
	"strings"
)

// corrections are the places where go-smtp says something else than the RFC
// wants, or says it in a way that is of no use: the beginning of its line, and
// what the client sees in place of the whole line, where {host} is our name.
var corrections = []struct{ verb, said, want string }{
	// RFC 5321 4.1.1.1: our name comes first. RFC 2034 4: no enhanced code.
	{"EHLO", "250-Hello ", "250-{host} at your service"},
	{"HELO", "250 2.0.0 Hello ", "250 {host} at your service"},

	{"MAIL", "250 2.0.0 Roger", "250 2.1.0 Sender ok"},
	{"RCPT", "250 2.0.0 I'll make sure", "250 2.1.5 Recipient ok"},
	{"NOOP", "250 2.0.0 I have", "250 2.0.0 Ok"},
	{"VRFY", "252 2.5.0 ", "252 2.0.0 Cannot VRFY user, but will take mail for delivery"},
	{"AUTH", "235 2.0.0 ", "235 2.7.0 Authentication succeeded"},            // RFC 4954 6
	{"AUTH", "523 5.7.10 ", "538 5.7.11 Encryption required, use STARTTLS"}, // RFC 4954 6
	{"AUTH", "454 4.7.0 Invalid base64", "501 5.5.2 Cannot decode the response"},
	{"AUTH", "501 5.0.0 Negotiation", "501 5.7.0 Authentication cancelled"},
	{"AUTH", "502 5.5.4 Missing", "501 5.5.4 Missing mechanism"},

	// RFC 5321 4.2.4: 503 is for commands that come in a wrong order.
	{"", "502 5.5.1 Please introduce", "503 5.5.1 Bad sequence of commands: say EHLO first"},
	{"RCPT", "502 5.5.1 ", "503 5.5.1 Bad sequence of commands: need MAIL first"},
	{"DATA", "502 5.5.1 ", "503 5.5.1 Bad sequence of commands: need RCPT first"},
	{"MAIL", "502 5.5.1 ", "503 5.5.1 Bad sequence of commands"},

	// RFC 5321 4.1.1.11: 555 is for unknown parameters.
	{"MAIL", "500 5.5.4 Unknown", "555 5.5.4 Unknown or unsupported MAIL parameter"},
	{"RCPT", "500 5.5.4 Unknown", "555 5.5.4 Unknown or unsupported RCPT parameter"},
	{"MAIL", "504 5.5.4 ", "555 5.5.4 Unknown or unsupported MAIL parameter"},
	{"RCPT", "504 5.5.4 ", "555 5.5.4 Unknown or unsupported RCPT parameter"},
	{"MAIL", "500 5.5.4 Malformed", "501 5.5.4 Malformed MAIL parameter"},

	// No words of the client's in a reply that another protocol might read.
	{"", "500 5.5.2 Syntax errors", "500 5.5.2 Command not recognised"},
	{"", "501 5.5.2 Bad command", "500 5.5.2 Command not recognised"},
	{"", "500 5.5.2 Error: bad syntax", "500 5.5.2 Command not recognised"},
	{"", "500 5.5.1 Too many errors", "421 4.7.0 Too many errors, closing the connection"},
	{"", "421 4.0.0 Internal server error", "421 4.3.0 Internal error, please try again later"},
}

// correct returns go-smtp's reply to a command as the client shall see it.
func correct(verb, host string, reply []byte) []byte {
	out := make([]byte, 0, len(reply))
	for line := range bytes.SplitAfterSeq(reply, []byte("\n")) {
		for _, c := range corrections {
			if (c.verb == "" || c.verb == verb) && bytes.HasPrefix(line, []byte(c.said)) {
				line = []byte(strings.Replace(c.want, "{host}", host, 1) + "\r\n")
				break
			}
		}
		out = append(out, line...)
	}
	return out
}
