package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLMTP puts Postfix in front: it takes a.test's mail from the world and
// hands it over at a Unix socket, with an answer for each recipient.
func TestLMTP(t *testing.T) {
	t.Parallel()
	need(t, "swaks", "postfix")
	// Postfix's own user must get at the socket: t.TempDir lets in root only.
	dir, err := os.MkdirTemp("", "buzon-lmtp-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "lmtp")
	h := start(t, hostConfig{
		Domains: []string{"a.test"}, Accounts: []string{"ana@a.test", "luis@a.test"}, LMTP: socket,
		Aliases: map[string]string{"all@a.test": "ana@a.test luis@a.test"},
	})
	p := startPostfix(t, loopback(), "127.0.0.1", freePort(t, "127.0.0.1"), "transport_maps = inline:{{ a.test = lmtp:unix:"+socket+" }}")
	send := func(subject string, to ...string) {
		t.Helper()
		out, code := run(t, nil, "swaks", "--server", fmt.Sprintf("%s:%d", p.ip, p.port), "--from", "eva@p.test",
			"--to", strings.Join(to, ","), "--header", "Subject: "+subject, "--body", "hola\n..\nfin")
		if code != 0 {
			t.Fatalf("exit code %d\n%s", code, out)
		}
	}

	send("in front", "ana@a.test", "gone@a.test", "luis+lists@a.test", "all@a.test")
	for _, to := range []string{"ana@a.test", "luis@a.test"} {
		got := h.message(t, to, "in front")
		wantAll(t, "delivered", got, "Return-Path: <eva@p.test>\r\nDelivered-To: "+to+"\r\n", "by mx.a.test with LMTP id", "by mx.p.test (Postfix)",
			"\r\n\r\nhola\r\n..\r\nfin\r\n")
	}
	notice := p.message(t, "Undelivered Mail Returned to Sender")
	wantAll(t, "notice", notice, "<gone@a.test>", "550 5.1.1 No such user here")
	for _, other := range []string{"<ana@a.test>", "<luis@a.test>", "<all@a.test>"} {
		if strings.Contains(notice, other) {
			t.Errorf("the notice speaks of %s\n%s", other, notice)
		}
	}

	// A crash leaves the socket behind; the next start takes its place.
	h.kill(t)
	if _, err := os.Stat(socket); err != nil {
		t.Fatal(err)
	}
	h.start(t)
	send("after a crash", "ana@a.test")
	h.message(t, "ana@a.test", "after a crash")
}
