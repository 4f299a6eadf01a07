package mx

import (
	"strings"
	"testing"
	"time"

	"buzon/internal/smtp"
)

// TestDeliverBy is RFC 2852 4.1.4: a host that knows it is told what is left of
// the time; one that does not, or wants more, gets nothing that is to come back.
func TestDeliverBy(t *testing.T) {
	knows := func(keyword, param string) string {
		return strings.NewReplacer("250 mx.x.test", "250-mx.x.test\n250 "+keyword, "MAIL FROM:<me@us.test>", "MAIL FROM:<me@us.test>"+param).Replace(takes)
	}
	refuses := takes[:strings.Index(takes, "> MAIL")] + "> QUIT\n221 bye\n"
	soon := time.Now().Add(time.Hour)
	for _, tt := range []struct {
		name, script string
		by           smtp.DeliverBy
		code         int
		told         bool
	}{
		{"late, N", knows("DELIVERBY", " BY=-999999999;NT"), smtp.DeliverBy{At: time.Unix(1, 0), Trace: true}, 250, true},
		{"late, R", knows("DELIVERBY", " BY=1;R"), smtp.DeliverBy{At: time.Unix(1, 0), Return: true}, 250, true},
		{"wants more, R", strings.Replace(refuses, "250 mx.x.test", "250-mx.x.test\n250 DELIVERBY 240000", 1), smtp.DeliverBy{At: soon, Return: true}, 550, false},
		{"does not know, R", refuses, smtp.DeliverBy{At: soon, Return: true}, 550, false},
		{"does not know, N", takes, smtp.DeliverBy{At: soon}, 250, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := oneHost(t, tt.script)
			c := w.client(nil)
			env := smtp.Envelope{From: smtp.Address{Local: "me", Domain: "us.test"}, By: tt.by, To: []smtp.Recipient{{Address: smtp.Address{Local: "a", Domain: "x.test"}}}}
			for _, r := range c.Send(t.Context(), env, strings.NewReader(hello), int64(len(hello))) {
				if r.Reply == nil || r.Reply.Code != tt.code || r.KnowsBy != tt.told || tt.code == 550 && r.Reply.Status() != "5.4.7" {
					t.Errorf("%+v, %v", r, r.Reply)
				}
			}
			c.Close()
			w.servers.Wait()
		})
	}
}
