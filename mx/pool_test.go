package mx

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"buzon/internal/smtp"
)

// sendMany makes an attempt for each recipient in turn, with one client.
func (w *world) sendMany(c *Client, to ...string) (list []string) {
	w.t.Helper()
	for _, text := range to {
		a, err := smtp.ParseAddress(text)
		if err != nil {
			w.t.Fatal(err)
		}
		env := smtp.Envelope{From: smtp.Address{Local: "me", Domain: "us.test"}, To: []smtp.Recipient{{Address: a}}}
		for _, r := range c.Send(w.t.Context(), env, strings.NewReader(hello), int64(len(hello))) {
			list = append(list, outcome(r))
		}
	}
	return list
}

// What a host and we say for one message, in groups and one by one.
const (
	group = `
> MAIL FROM:<me@us.test> SIZE=31
> RCPT TO:<a@x.test>
> DATA
250 ok
250 ok
354 go
*message
250 2.0.0 taken
`
	oneByOne = `
> MAIL FROM:<me@us.test>
250 ok
> RCPT TO:<a@x.test>
250 ok
> DATA
354 go
*message
250 2.0.0 taken
`
)

func TestSeveralMessagesOverOneConnection(t *testing.T) {
	for name, script := range map[string]string{
		"pipelining": pipelines + group + strings.Repeat("> RSET\n"+strings.Replace(group, "250 ok\n", "250 ok\n250 ok\n", 1), 2) + done,
		"one by one": greeted + oneByOne + strings.Repeat("> RSET\n250 ok\n"+oneByOne, 2) + done,
	} {
		t.Run(name, func(t *testing.T) {
			w := oneHost(t, script)
			c := w.client(nil)
			want(t, w.sendMany(c, "a@x.test", "a@x.test", "a@x.test"), "250 2.0.0", "250 2.0.0", "250 2.0.0")
			c.Close()
			w.servers.Wait()
			want(t, w.dialled, "192.0.2.1")
			if len(w.messages) != 3 || !strings.Contains(w.log.String(), "message=3") {
				t.Errorf("%d messages, log:\n%s", len(w.messages), &w.log)
			}
		})
	}
}

// TestStaleSession is what becomes of a message for which the host had no
// patience left: it goes over a new connection, once, and nobody hears of it.
func TestStaleSession(t *testing.T) {
	for name, end := range map[string]string{
		"closed":              "",
		"421 before":          "421 4.4.2 time-out\n",
		"421 for RSET":        "> RSET\n421 4.4.2 enough\n",
		"closed after RSET":   "> RSET\n250 ok\n",
		"no more for MAIL":    "> RSET\n250 ok\n> MAIL FROM:<me@us.test>\n451 4.7.0 too many messages\n> QUIT\n221 bye\n",
		"421 for the address": "> RSET\n250 ok\n> MAIL FROM:<me@us.test>\n250 ok\n> RCPT TO:<a@x.test>\n421 4.7.0 go\n",
	} {
		t.Run(name, func(t *testing.T) {
			w := oneHost(t, greeted+oneByOne+end, takes)
			c := w.client(nil)
			want(t, w.sendMany(c, "a@x.test", "a@x.test"), "250 2.0.0", "250 2.0.0")
			c.Close()
			w.servers.Wait()
			want(t, w.dialled, "192.0.2.1", "192.0.2.1")
			if len(w.messages) != 2 || strings.Contains(w.log.String(), "code=4") {
				t.Errorf("%d messages, log:\n%s", len(w.messages), &w.log)
			}
		})
	}
}

// TestLostAfterDotIsNotStale: a message that may have arrived is not sent again
// at once, in a session that waited as little as in any other.
func TestLostAfterDotIsNotStale(t *testing.T) {
	w := oneHost(t, greeted+oneByOne+"> RSET\n250 ok\n"+strings.TrimSuffix(oneByOne, "250 2.0.0 taken\n"), takes)
	c := w.client(nil)
	want(t, w.sendMany(c, "a@x.test", "a@x.test"), "250 2.0.0", "451 4.4.2 local")
	c.Close()
	w.servers.Wait()
	want(t, w.dialled, "192.0.2.1")
}

func TestIdleSessionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := oneHost(t, greeted+oneByOne+done, takes)
		w.pipe = true
		c := w.client(nil)
		want(t, w.sendMany(c, "a@x.test"), "250 2.0.0")
		time.Sleep(idleTime + time.Second)
		want(t, w.sendMany(c, "a@x.test"), "250 2.0.0")
		c.Close()
		w.servers.Wait()
		want(t, w.dialled, "192.0.2.1", "192.0.2.1")
	})
}

// TestSessionOfAnotherHost: two names at one address are two hosts, for they
// may have different certificates and policies.
func TestSessionOfAnotherHost(t *testing.T) {
	takesB := strings.ReplaceAll(takes, "a@x.test", "a@y.test")
	w := oneHost(t, takes, takesB)
	w.mx["y.test"], w.addr["mx.y.test"] = "10 mx.y.test", "192.0.2.1"
	c := w.client(nil)
	want(t, w.sendMany(c, "a@x.test", "a@y.test"), "250 2.0.0", "250 2.0.0")
	c.Close()
	w.servers.Wait()
	want(t, w.dialled, "192.0.2.1", "192.0.2.1")
}

// TestDeadHost: a host of many domains is waited for once when it is down.
func TestDeadHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := oneHost(t, "silent")
		w.mx["y.test"] = "10 mx.x.test"
		c := w.client(nil)
		began := time.Now()
		want(t, w.sendMany(c, "a@x.test", "a@y.test", "a@x.test"), "451 4.4.1 local", "451 4.4.1 local", "451 4.4.1 local")
		if took := time.Since(began); took != 30*time.Second || len(w.dialled) != 1 {
			t.Errorf("%v and %d connections for one dead host", took, len(w.dialled))
		}
		time.Sleep(time.Minute)
		want(t, w.sendMany(c, "a@x.test"), "451 4.4.1 local")
		c.Revive()
		want(t, w.sendMany(c, "a@y.test"), "451 4.4.1 local")
		if len(w.dialled) != 3 {
			t.Errorf("dialled %q", w.dialled)
		}
		c.Close()
	})
}

// TestBlackHole is Q26: an address of one family that leads nowhere costs one
// time-out, and then nothing for a while.
func TestBlackHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := oneHost(t, greeted+oneByOne+"> RSET\n250 ok\n"+oneByOne+done)
		w.addr["mx.x.test"] = "2001:db8::1, 192.0.2.1"
		w.host["2001:db8::1"] = []string{"silent"}
		w.pipe = true
		c := w.client(nil)
		began := time.Now()
		want(t, w.sendMany(c, "a@x.test", "a@x.test"), "250 2.0.0", "250 2.0.0")
		if took := time.Since(began); took != 30*time.Second {
			t.Errorf("took %v", took)
		}
		c.Close()
		w.servers.Wait()
	})
}

// TestSource: connections come from the address of the family that is
// configured.
func TestSource(t *testing.T) {
	sources := []netip.Addr{netip.MustParseAddr("127.0.0.9")}
	ln := listen(t)
	conn, err := dialer(sources)(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := netip.MustParseAddrPort(conn.LocalAddr().String()).Addr(); got != sources[0] {
		t.Errorf("connected from %s", got)
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}
