package imapd

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"buzon/internal/account"
	"buzon/maildir"
)

// panics finds the log's records of panics, which the session survives.
type panics struct {
	slog.Handler
	t *testing.T
}

func (p panics) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "panic" {
		r.Attrs(func(a slog.Attr) bool { p.t.Error(a); return true })
	}
	return nil
}
func (p panics) Enabled(context.Context, slog.Level) bool { return true }
func (p panics) WithAttrs([]slog.Attr) slog.Handler       { return p }

// FuzzSession sends anything to a session in each state. It must neither panic nor hang, and what
// it sends must be lines.
func FuzzSession(f *testing.F) {
	for _, seed := range []string{
		"a CAPABILITY\r\nb LOGIN ana {3}\r\nabc\r\n",
		"a LIST (SUBSCRIBED) \"\" (a% *b) RETURN (STATUS (MESSAGES))\r\n",
		"a FETCH 1:* (FLAGS BODY.PEEK[1.HEADER.FIELDS (a b)]<1.2> ENVELOPE)\r\n",
		"a UID SEARCH RETURN (SAVE MIN) OR NOT (TEXT \"x\") 1,2:* HEADER a b\r\nb STORE $ (UNCHANGEDSINCE 3) +FLAGS \\Seen x\r\n",
		"a APPEND INBOX (\\Seen) \" 1-Jan-2026 00:00:00 +0000\" {3+}\r\nabc {2}\r\nxy\r\n",
		"a SORT (REVERSE DATE SUBJECT) UTF-8 ALL\r\nb THREAD REFS UTF-8 ALL\r\nc COPY 1 INBOX\r\nd MOVE 1 INBOX\r\ne EXPUNGE\r\n",
		"a NOTIFY SET STATUS (selected (MessageNew (UID) MessageExpunge)) (personal (MailboxName))\r\nb ESEARCH IN (subtree (a b)) ALL\r\n",
		"a APPEND INBOX CATENATE (TEXT {2+}\r\nab URL \"/INBOX/;UID=1/;SECTION=1\")\r\nb REPLACE 1 INBOX {2+}\r\nxy\r\n",
		"a SETMETADATA INBOX (/private/comment \"x\" /shared/a ~{2+}\r\nab)\r\nb GETMETADATA (DEPTH 1 MAXSIZE 9) INBOX (/private /shared)\r\nc LIST \"\" * RETURN (METADATA (/private/comment))\r\n",
		"a SETACL INBOX anyone +lr\r\nb GETACL INBOX\r\nc LISTRIGHTS INBOX -ana\r\nd MYRIGHTS \"Other Users/x@y/INBOX\"\r\ne DELETEACL INBOX anyone\r\n",
		"a GENURLAUTH \"imap://ana@buzon.test/INBOX/;UID=1;URLAUTH=authuser\" INTERNAL\r\nb URLFETCH \"imap://ana@buzon.test/INBOX/;UID=1;URLAUTH=authuser:internal:ab\"\r\nc RESETKEY INBOX INTERNAL\r\n",
		"a IDLE\r\nDONE\r\nb ENABLE QRESYNC IMAP4rev2\r\nc SELECT INBOX (QRESYNC (1 1 1:* (1 1)))\r\n",
	} {
		for state := range byte(3) {
			f.Add(state, []byte(seed))
		}
	}
	ctx := context.Background()
	store, err := maildir.Open(maildir.Config{Mail: f.TempDir(), State: f.TempDir(), Host: "h", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	defer store.Close()
	dir, err := account.Open(account.Config{Dir: f.TempDir(), Domains: []account.Domain{{Name: "buzon.test"}}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	var appended sync.Once
	f.Fuzz(func(t *testing.T, state byte, in []byte) {
		srv := New(Config{Store: store, Directory: dir, Log: slog.New(panics{t: t}), KeepAlive: time.Hour, PreAuthTimeout: time.Minute})
		client, server := net.Pipe()
		s := newSession(srv, server, netip.Addr{})
		var prefix string
		if state%3 > 0 {
			s.account = account.Account{ID: "ana@buzon.test"}
			if s.user, err = store.User(ctx, string(s.account.ID)); err != nil {
				t.Fatal(err)
			}
			srv.sessions.add(s, 10, 10)
			s.state = authenticated
			s.dec.SetLimits(limitsAfterLogin(srv.cfg.MessageSize))
			appended.Do(func() { prefix = "p APPEND INBOX {12+}\r\nA: b\r\n\r\nabcd\r\n" })
		}
		if state%3 == 2 {
			prefix += "p SELECT INBOX\r\n"
		}
		done := make(chan struct{})
		go func() { defer close(done); s.serve(ctx, false) }()
		go func() {
			io.Copy(client, io.MultiReader(bytes.NewReader([]byte(prefix)), bytes.NewReader(in), bytes.NewReader([]byte("\r\nDONE\r\nz LOGOUT\r\n"))))
		}()
		client.SetReadDeadline(time.Now().Add(10 * time.Second))
		end := make([]byte, 0, 2)
		buf := make([]byte, 4096)
		for {
			n, err := client.Read(buf)
			end = append(end, buf[:n]...)
			end = end[max(0, len(end)-2):]
			if err != nil {
				break
			}
			if n > 0 && bytes.HasSuffix(end, []byte("\r\n")) {
				// A session that waits for a literal or a line that never comes ends with its
				// client.
				client.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			} else {
				client.SetReadDeadline(time.Now().Add(10 * time.Second)) // the rest of the line comes
			}
		}
		client.Close()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatal("the session does not end")
		}
		if len(end) > 0 && string(end) != "\r\n" {
			t.Errorf("the last output is %q", end)
		}
	})
}
