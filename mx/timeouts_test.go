package mx

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"buzon/internal/smtp"
)

// TestTimeouts has a host fall silent in every phase, RFC 5321 4.5.3.2.
func TestTimeouts(t *testing.T) {
	const envelope = greeted + "> MAIL FROM:<me@us.test>\n250 ok\n> RCPT TO:<a@x.test>\n250 ok\n"
	for _, tt := range []struct {
		name, script string
		wait         time.Duration
		want         string
	}{
		{"connection", "silent", 30 * time.Second, "451 4.4.1 local"},
		{"greeting", "*hang", 5 * time.Minute, "451 4.4.2 local"},
		{"EHLO", "220 hello\n> EHLO us.test\n*hang", 5 * time.Minute, "451 4.4.2 local"},
		{"half a reply", "220 hello\n> EHLO us.test\n250-mx.x.test\n*hang", 5 * time.Minute, "451 4.4.2 local"},
		{"MAIL", greeted + "> MAIL FROM:<me@us.test>\n*hang", 5 * time.Minute, "451 4.4.2 local"},
		{"RCPT", greeted + "> MAIL FROM:<me@us.test>\n250 ok\n> RCPT TO:<a@x.test>\n*hang", 5 * time.Minute, "451 4.4.2 local"},
		{"DATA", envelope + "> DATA\n*hang", 2 * time.Minute, "451 4.4.2 local"},
		{"block", envelope + "> DATA\n354 go\n*sleep 1h", 3 * time.Minute, "451 4.4.2 local"},
		{"final dot", envelope + "> DATA\n354 go\n*message\n*hang", 10 * time.Minute, "451 4.4.2 local"},
		{"QUIT costs nothing", envelope + "> DATA\n354 go\n*message\n250 2.0.0 taken\n*hang", 0, "250 2.0.0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := oneHost(t, tt.script)
				w.pipe = true
				c := w.client(nil)
				start := time.Now()
				env := smtp.Envelope{From: smtp.Address{Local: "me", Domain: "us.test"}, To: []smtp.Recipient{{Address: smtp.Address{Local: "a", Domain: "x.test"}}}}
				r := c.Send(t.Context(), env, strings.NewReader(hello), int64(len(hello)))[0]
				took := time.Since(start)
				c.Close()
				want(t, []string{outcome(r)}, tt.want)
				if took < tt.wait || took > tt.wait+2*time.Second {
					t.Errorf("gave up after %v, want %v", took, tt.wait)
				}
				if d := time.Since(start) - took; d > quitWait {
					t.Errorf("took leave for %v", d)
				}
				w.servers.Wait()
			})
		})
	}
}

// TestTrickle: a byte a minute is not progress.
func TestTrickle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := oneHost(t, strings.Repeat("*raw \"2\"\n*sleep 1m\n", 8))
		w.pipe = true
		start := time.Now()
		want(t, w.send(nil, hello, "a@x.test"), "451 4.4.2 local")
		if took := time.Since(start); took > 9*time.Minute {
			t.Errorf("gave up after %v", took)
		}
	})
}

// TestAttemptEnds: the whole has its limit, and the queue may stop it.
func TestAttemptEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := oneHost(t, "220-wait\n*sleep 4m\n220 hello\n> EHLO us.test\n250-x\n*hang")
		w.pipe = true
		start := time.Now()
		want(t, w.send(func(c *Config) { c.Timeouts.Attempt = 7 * time.Minute }, hello, "a@x.test"), "451 4.4.2 local")
		if took := time.Since(start).Round(time.Minute); took != 7*time.Minute {
			t.Errorf("ended after %v", took)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := oneHost(t, "*hang")
		w.mx["x.test"] = "10 mx.x.test, 20 backup.x.test"
		w.addr["backup.x.test"] = "192.0.2.2"
		w.pipe = true
		c := w.client(nil)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		start := time.Now()
		env := smtp.Envelope{To: []smtp.Recipient{{Address: smtp.Address{Local: "a", Domain: "x.test"}}}}
		r := c.Send(ctx, env, strings.NewReader(hello), int64(len(hello)))[0]
		c.Close()
		if took := time.Since(start); took != time.Minute || !r.Temporary() || len(w.dialled) != 1 {
			t.Errorf("ended after %v with %s, dialled %q", took, outcome(r), w.dialled)
		}
	})
}
