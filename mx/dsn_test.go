package mx

import (
	"strings"
	"testing"

	"buzon/internal/smtp"
)

// TestDSNParameters is RFC 3461 4 and 5.2.1: a host that knows DSN is told what
// the sender wants and then answers for it; another is told nothing.
func TestDSNParameters(t *testing.T) {
	env := smtp.Envelope{
		From: smtp.Address{Local: "me", Domain: "us.test"}, Return: "HDRS", EnvelopeID: "a+b=c d",
		To: []smtp.Recipient{
			{Address: smtp.Address{Local: "a", Domain: "x.test"}, Notify: smtp.NotifySuccess | smtp.NotifyDelay, Original: "rfc822;A+1@x.test"},
			{Address: smtp.Address{Local: "b", Domain: "x.test"}, Original: `utf-8;\x{E9}@x.test`},
		},
	}
	for name, script := range map[string]string{
		"knows DSN": strings.NewReplacer("250 mx.x.test", "250-mx.x.test\n250 DSN", "MAIL FROM:<me@us.test>", "MAIL FROM:<me@us.test> RET=HDRS ENVID=a+2Bb+3Dc+20d",
			"> RCPT TO:<a@x.test>\n250 ok", "> RCPT TO:<a@x.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;A+2B1@x.test\n250 ok\n> RCPT TO:<b@x.test> ORCPT=utf-8;\\x{E9}@x.test\n250 ok").Replace(takes),
		"does not": strings.Replace(takes, "> DATA", "> RCPT TO:<b@x.test>\n250 ok\n> DATA", 1),
	} {
		t.Run(name, func(t *testing.T) {
			w := oneHost(t, script)
			c := w.client(nil)
			for _, r := range c.Send(t.Context(), env, strings.NewReader(hello), int64(len(hello))) {
				if !r.Done() || r.Notifies != (name == "knows DSN") {
					t.Errorf("%+v", r)
				}
			}
			c.Close()
			w.servers.Wait()
		})
	}
}
