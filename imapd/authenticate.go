package imapd

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// longestResponse bounds one line of a SASL exchange; tokens of OAuth have some kilobytes.
const longestResponse = 12288 // RFC 4954 4 asks as much of SMTP

// authenticate is AUTHENTICATE (RFC 9051 6.2.2) with an initial response (RFC 4959).
func (s *session) authenticate(r *request) error {
	mechanism := r.SP().Word()
	initial, hasInitial := "", false
	if r.Is(' ') {
		initial, hasInitial = r.AString(), true
	}
	if err := r.End(); err != nil {
		return err
	}
	if !s.mayLogin() {
		return no("PRIVACYREQUIRED", "Passwords only under TLS, use STARTTLS first")
	}
	x := &exchange{s: s, initial: initial, hasInitial: hasInitial}
	switch mechanism {
	case "PLAIN":
		return s.authPlain(r, x)
	case "LOGIN":
		return s.authLogin(r, x)
	default:
		return no("CANNOT", "No such authentication mechanism")
	}
}

// authPlain is the mechanism PLAIN (RFC 4616). An authorization identity other than the login
// itself is refused: nobody acts for others.
func (s *session) authPlain(r *request, x *exchange) error {
	msg, err := x.response("")
	if err != nil {
		return err
	}
	parts := strings.Split(string(msg), "\x00")
	if len(parts) != 3 {
		return bad("Not a PLAIN response")
	}
	if parts[0] != "" && parts[0] != parts[1] {
		return no("AUTHORIZATIONFAILED", "Nobody logs in for others here")
	}
	return s.enter(r, parts[1], parts[2])
}

// authLogin is the mechanism LOGIN, which was never standardised and which some clients still
// prefer.
func (s *session) authLogin(r *request, x *exchange) error {
	name, err := x.response("Username:")
	if err != nil {
		return err
	}
	password, err := x.response("Password:")
	if err != nil {
		return err
	}
	return s.enter(r, string(name), string(password))
}

// An exchange is the client's side of a SASL negotiation.
type exchange struct {
	s          *session
	initial    string
	hasInitial bool
}

// response sends a challenge and returns the client's answer to it; the initial response answers
// the first.
func (x *exchange) response(challenge string) ([]byte, error) {
	line := x.initial
	if !x.hasInitial {
		x.s.enc.Raw("+ ").Raw(base64.StdEncoding.EncodeToString([]byte(challenge))).CRLF()
		b, err := x.s.dec.Line(longestResponse)
		if err != nil {
			return nil, err
		}
		if line = string(b); line == "*" {
			return nil, bad("Authentication cancelled") // RFC 9051 6.2.2
		}
	} else if line == "=" { // RFC 4959 3: an empty response
		line = ""
	}
	x.hasInitial = false
	msg, err := base64.StdEncoding.DecodeString(line)
	if err != nil {
		return nil, fmt.Errorf("%w", bad("Not base64"))
	}
	return msg, nil
}
