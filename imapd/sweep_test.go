package imapd

import (
	"bufio"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"buzon/internal/account"
	"buzon/maildir"
)

// A session ends when its account is removed, disabled or given a new password, while it waits.
func TestSweep(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	store, err := maildir.Open(maildir.Config{Mail: t.TempDir(), State: t.TempDir(), Host: "h", Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	dir, err := account.Open(account.Config{Dir: t.TempDir(), Domains: []account.Domain{{Name: "buzon.test"}}, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	srv := New(Config{Store: store, Directory: dir, Log: quiet})
	client, server := net.Pipe()
	s := newSession(srv, server, netip.Addr{})
	s.account = account.Account{ID: "gone@buzon.test", Generation: 1}
	if s.user, err = store.User(t.Context(), string(s.account.ID)); err != nil {
		t.Fatal(err)
	}
	srv.sessions.add(s, 1, 1)
	s.state = authenticated
	ended := make(chan struct{})
	go func() { defer close(ended); s.serve(context.Background(), false) }()
	r := bufio.NewReader(client)
	client.SetDeadline(time.Now().Add(2 * time.Minute))
	if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "* OK") {
		t.Fatalf("greeting %q, %v", line, err)
	}
	tick, done := make(chan time.Time), make(chan struct{})
	go srv.sweep(tick, done)
	tick <- time.Now()
	if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "* BYE the account has changed") {
		t.Errorf("after the sweep %q, %v", line, err)
	}
	close(done)
	<-ended
}
