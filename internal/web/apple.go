package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/xml"
	"fmt"

	"buzon/internal/smtp"
)

// profile is a configuration profile with one mail account (Apple, Configuration
// Profile Reference, com.apple.mail.managed). The password is asked for by the
// device. Its identifiers come from the address, so that a second profile
// replaces the first.
func (p Pages) profile(a smtp.Address) []byte {
	uuid := func(of string) string {
		sum := sha256.Sum256([]byte(of + " " + p.Hostname + " " + a.String()))
		return fmt.Sprintf("%X-%X-%X-%X-%X", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
	}
	var b bytes.Buffer
	b.WriteString(xml.Header)
	b.WriteString(`<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">` + "\n")
	b.WriteString("<plist version=\"1.0\">\n<dict>\n<key>PayloadContent</key>\n<array>\n<dict>\n")
	account := plist{&b}
	account.text("EmailAccountType", "EmailTypeIMAP")
	account.text("EmailAccountName", a.String())
	account.text("EmailAccountDescription", a.Domain)
	account.text("EmailAddress", a.String())
	for _, server := range []struct {
		way  string
		port int
	}{{"Incoming", p.IMAPS}, {"Outgoing", p.Submissions}} {
		account.text(server.way+"MailServerAuthentication", "EmailAuthPassword")
		account.text(server.way+"MailServerHostName", p.Hostname)
		account.number(server.way+"MailServerPortNumber", server.port)
		account.yes(server.way + "MailServerUseSSL")
		account.text(server.way+"MailServerUsername", a.String())
	}
	account.yes("OutgoingPasswordSameAsIncomingPassword")
	account.payload("com.apple.mail.managed", p.Hostname+".mail", uuid("mail"), "Mail")
	b.WriteString("</dict>\n</array>\n")
	account.payload("Configuration", p.Hostname, uuid("profile"), "Mail of "+a.String())
	b.WriteString("</dict>\n</plist>\n")
	return b.Bytes()
}

// plist writes entries of a property list.
type plist struct{ b *bytes.Buffer }

func (l plist) text(key, value string) {
	fmt.Fprintf(l.b, "<key>%s</key><string>", key)
	_ = xml.EscapeText(l.b, []byte(value)) // a Buffer takes everything
	l.b.WriteString("</string>\n")
}

func (l plist) number(key string, n int) {
	fmt.Fprintf(l.b, "<key>%s</key><integer>%d</integer>\n", key, n)
}
func (l plist) yes(key string) { fmt.Fprintf(l.b, "<key>%s</key><true/>\n", key) }

func (l plist) payload(kind, identifier, uuid, name string) {
	l.text("PayloadType", kind)
	l.text("PayloadIdentifier", identifier)
	l.text("PayloadUUID", uuid)
	l.text("PayloadDisplayName", name)
	l.number("PayloadVersion", 1)
}
