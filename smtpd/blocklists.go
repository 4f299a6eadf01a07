package smtpd

import (
	"fmt"
	"strings"

	"buzon/internal/smtp"
	"buzon/mx/dnsbl"
)

// blocked asks the lists about the sender, once for each of his envelopes, and
// refuses the recipient when one of them wants it. Whoever is listed can still
// write to postmaster (RFC 5321 4.5.1): he may want to know why.
func (in *incoming) blocked(t *transaction, to smtp.Address) error {
	if in.cfg.Blocklists == nil || !dnsbl.Eligible(t.s.c.ip) {
		return nil
	}
	if !t.asked {
		t.asked = true
		t.listings = in.cfg.Blocklists.Ask(t.ctx, dnsbl.Subjects{IP: t.s.c.ip, Domains: []string{t.env.From.Domain, t.helo}})
	}
	for _, l := range t.listings {
		verdict := "junk"
		if !l.Zone.Junk && !mustExist(to.Local) {
			verdict = "refuse"
		}
		if verdict == "refuse" || !t.junk {
			t.s.c.log().Info("filtered", "id", t.id, "by", l.Zone.Name, "verdict", verdict, "command", "RCPT", "from", t.env.From.String(), "to", to.String(), "err", l.Subject+" is listed")
		}
		if verdict == "refuse" {
			return refusedBy(l)
		}
		t.junk = true
	}
	return nil
}

// refusedBy tells the sender which list it was, and what it says.
func refusedBy(l dnsbl.Listing) *smtp.Reply {
	text := fmt.Sprintf("%s is listed at %s", l.Subject, l.Zone.Name)
	if l.Text != "" {
		text += ": " + strings.TrimSpace(l.Text)
	}
	return smtp.NewReply(550, [3]int{5, 7, 1}, text)
}
