package smtpd

import (
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
	b := make([]byte, 0, 256)
	b = append(b, "Received: "...)
	if c.user == "" {
		b = append(append(b, "from "...), heloName(t.helo)...)
		if c.ip.IsValid() {
			b = append(append(append(b, " ("...), bracketed(c.ip)...), ')')
		}
		b = append(b, "\r\n\t"...)
	}
	b = append(append(b, "by "...), hostname...)
	b = append(append(b, " with "...), protocol(t, c)...)
	b = append(append(b, " id "...), t.id...)
	if len(t.env.To) == 1 { // more would tell them of each other
		b = append(append(b, "\r\n\tfor "...), t.env.To[0].Address.Path()...)
	}
	if c.tls != nil { // RFC 8314 4.3
		b = fmt.Appendf(b, "\r\n\ttls %s (%s)", tls.CipherSuiteName(c.tls.CipherSuite), strings.ReplaceAll(tls.VersionName(c.tls.Version), " ", ""))
	}
	b = time.Now().AppendFormat(append(b, ";\r\n\t"...), time.RFC1123Z)
	return append(b, "\r\n"...)
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
