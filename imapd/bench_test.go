package imapd

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"buzon/internal/account"
	"buzon/maildir"
)

// A sink is a client that says one thing over and over, and takes whatever comes.
type sink struct {
	net.Conn
	command string
	left    string
}

func (s *sink) Read(p []byte) (int, error) {
	if s.left == "" {
		s.left = s.command
	}
	n := copy(p, s.left)
	s.left = s.left[n:]
	return n, nil
}
func (s *sink) Write(p []byte) (int, error)      { return len(p), nil }
func (s *sink) SetReadDeadline(time.Time) error  { return nil }
func (s *sink) SetWriteDeadline(time.Time) error { return nil }

// A benchSession is a session that is told what to do without a network.
type benchSession struct {
	*session
	client *sink
	close  func()
}

// openBenchSession logs ana in to mail, with an index that knows nothing.
func openBenchSession(b *testing.B, mail string) *benchSession {
	ctx := context.Background()
	quiet := slog.New(slog.DiscardHandler)
	store, err := maildir.Open(maildir.Config{Mail: mail, State: b.TempDir(), Host: "h", Log: quiet})
	if err != nil {
		b.Fatal(err)
	}
	c := &sink{}
	s := newSession(New(Config{Store: store, Log: quiet}), c, netip.Addr{})
	s.ctx = ctx
	s.account = account.Account{ID: "ana@buzon.test"}
	if s.user, err = store.User(ctx, string(s.account.ID)); err != nil {
		b.Fatal(err)
	}
	s.state = authenticated
	s.dec.SetLimits(limitsAfterLogin(1 << 20))
	return &benchSession{session: s, client: c, close: func() {
		s.closeView()
		s.user.Release()
		store.Close()
	}}
}

func (s *benchSession) run(b *testing.B, command string) {
	s.client.command = command
	s.dec.Begin()
	if err := s.command(); err != nil {
		b.Fatal(err)
	}
}

// benchmarkCommand runs one command again and again over 10 000 messages.
func benchmarkCommand(b *testing.B, command string) {
	s := openBenchSession(b, b.TempDir())
	defer s.close()
	fill(b, s.user, 10_000)
	s.run(b, "a SELECT INBOX\r\n")
	s.run(b, command) // what is cached, is
	b.ReportAllocs()
	for b.Loop() {
		s.run(b, command)
	}
}

func fill(b *testing.B, user *maildir.User, n int) {
	box, err := user.Open(b.Context(), "INBOX")
	if err != nil {
		b.Fatal(err)
	}
	defer box.Close()
	var batch []maildir.Append
	for i := range n {
		m := fmt.Appendf(nil, "From: Ana <ana@buzon.test>\r\nTo: luis@buzon.test\r\nSubject: Message %d\r\n"+
			"Date: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <m%d@buzon.test>\r\n\r\nBody %d\r\n", i, i, i)
		staged, err := user.Stage(b.Context(), bytes.NewReader(m))
		if err != nil {
			b.Fatal(err)
		}
		batch = append(batch, maildir.Append{Staged: staged})
		if len(batch) == 500 || i == n-1 {
			if _, err := box.Append(b.Context(), batch); err != nil {
				b.Fatal(err)
			}
			batch = nil
		}
	}
}

func BenchmarkFetchFlags10k(b *testing.B) {
	benchmarkCommand(b, "a UID FETCH 1:* (FLAGS)\r\n")
}

func BenchmarkFetchEnvelope10k(b *testing.B) {
	benchmarkCommand(b, "a FETCH 1:* (ENVELOPE BODYSTRUCTURE)\r\n")
}

func BenchmarkFetchHeaderFields10k(b *testing.B) {
	benchmarkCommand(b, "a FETCH 1:* (BODY.PEEK[HEADER.FIELDS (From To Subject Date Message-ID)])\r\n")
}

func BenchmarkSearchSubject10k(b *testing.B) {
	benchmarkCommand(b, "a SEARCH SUBJECT 777\r\n")
}

func BenchmarkSortDate10k(b *testing.B) {
	benchmarkCommand(b, "a SORT (REVERSE DATE) UTF-8 ALL\r\n")
}

func BenchmarkThread10k(b *testing.B) {
	benchmarkCommand(b, "a THREAD REFERENCES UTF-8 ALL\r\n")
}

func BenchmarkFetchPreview10k(b *testing.B) { benchmarkCommand(b, "a FETCH 1:* (UID PREVIEW)\r\n") }
