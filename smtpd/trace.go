package smtpd

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"buzon/internal/smtp"
)

// newID returns a queue id: 50 random bits.
func newID() string { return rand.Text()[:10] }

// received makes the time stamp line of RFC 5321 4.4. A logged-in client's
// address is nobody's business but ours, so for those it has no From clause.
func received(t *transaction, hostname string, c *client) []byte {
	var b bytes.Buffer
	b.WriteString("Received: ")
	if c.user == "" {
		fmt.Fprintf(&b, "from %s", heloName(t.helo))
		if c.ip.IsValid() {
			fmt.Fprintf(&b, " (%s)", bracketed(c.ip))
		}
		b.WriteString("\r\n\t")
	}
	fmt.Fprintf(&b, "by %s with %s id %s", hostname, protocol(t, c), t.id)
	if len(t.env.To) == 1 { // more would tell them of each other
		fmt.Fprintf(&b, "\r\n\tfor %s", t.env.To[0].Address.Path())
	}
	if c.tls != nil { // RFC 8314 4.3
		fmt.Fprintf(&b, "\r\n\ttls %s (%s)", tls.CipherSuiteName(c.tls.CipherSuite), strings.ReplaceAll(tls.VersionName(c.tls.Version), " ", ""))
	}
	fmt.Fprintf(&b, ";\r\n\t%s\r\n", time.Now().Format(time.RFC1123Z))
	return b.Bytes()
}

// heloName is what the client called itself, if that can be a name.
func heloName(helo string) string {
	if d, err := smtp.ParseDomain(helo); err == nil {
		return d
	}
	return "unknown"
}

// bracketed is an address as a TCP-info (RFC 5321 4.4).
func bracketed(ip netip.Addr) string {
	if ip.Is6() {
		return "[IPv6:" + ip.String() + "]"
	}
	return "[" + ip.String() + "]"
}

// protocol is the keyword that the IANA registered (RFC 3848, RFC 6531 4.3).
func protocol(t *transaction, c *client) string {
	p := "ESMTP"
	switch {
	case t.env.UTF8 && c.srv.perRecipient():
		p = "UTF8LMTP"
	case c.srv.perRecipient():
		p = "LMTP"
	case t.env.UTF8:
		p = "UTF8SMTP"
	case !t.extended:
		p = "SMTP"
	}
	if c.tls != nil && t.extended {
		p += "S"
	}
	if c.user != "" && t.extended {
		p += "A"
	}
	return p
}
