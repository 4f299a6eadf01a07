package lda_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"buzon/internal/account"
	"buzon/internal/sieve"
	"buzon/internal/smtp"
	"buzon/maildir"
	"buzon/smtpd/lda"
)

// office is a Local with ana, luis, and marta whose mailbox holds 1000 octets.
type office struct {
	*lda.Local
	t       *testing.T
	cfg     lda.Config
	mail    string
	log     bytes.Buffer
	scripts *sieve.Library
	sent    *sent
}

// accountFiles is a directory with our accounts, made once: to hash a password
// takes long.
var accountFiles func() string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "lda-*")
	if err != nil {
		panic(err)
	}
	accountFiles = sync.OnceValue(func() string {
		d, err := account.Open(account.Config{
			Dir: dir, Domains: []account.Domain{{Name: "buzon.test"}}, Hostname: "mx.buzon.test", Log: slog.New(slog.DiscardHandler),
		})
		if err == nil {
			err = errors.Join(d.Add(context.Background(), "ana@buzon.test", "secret words", 0), d.Add(context.Background(), "luis@buzon.test", "secret words", 0), d.Close())
		}
		if err != nil {
			panic(err)
		}
		return dir
	})
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{t: t, mail: t.TempDir(), sent: &sent{t: t}}
	log := slog.New(slog.NewTextHandler(&o.log, nil))
	d, err := account.Open(account.Config{Dir: accountFiles(), Domains: []account.Domain{{Name: "buzon.test"}}, Hostname: "mx.buzon.test", Log: log})
	o.must(err)
	t.Cleanup(func() { d.Close() })
	store, err := maildir.Open(maildir.Config{
		Mail: o.mail, State: t.TempDir(), Host: "mx", Log: log,
		QuotaLimit: func(id string) (int64, int64) {
			if id == "marta@buzon.test" {
				return 1000, 0
			}
			return 0, 0
		},
	})
	o.must(err)
	t.Cleanup(func() { store.Close() })
	o.scripts, err = sieve.OpenLibrary(o.mail)
	o.must(err)
	t.Cleanup(func() { o.scripts.Close() })
	o.cfg = lda.Config{
		Store: store, Directory: d, Log: log, Hostname: "mx.buzon.test", Scripts: o.scripts, Forwarder: o.sent, Outbox: o.sent,
	}
	o.Local = lda.New(o.cfg)
	return o
}

// classify has c asked from now on.
func (o *office) classify(c lda.Classifier) {
	o.cfg.Classifier = c
	o.Local = lda.New(o.cfg)
}

func (o *office) must(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

// names returns the names of the files in a directory of a user's Maildir.
func (o *office) names(user, dir string) []string {
	o.t.Helper()
	names, err := filepath.Glob(filepath.Join(o.mail, "buzon.test", user, "Maildir", dir, "*"))
	o.must(err)
	return names
}

// files returns what is in a directory of a user's Maildir.
func (o *office) files(user, dir string) (contents []string) {
	o.t.Helper()
	for _, name := range o.names(user, dir) {
		b, err := os.ReadFile(name)
		o.must(err)
		contents = append(contents, string(b))
	}
	return contents
}

func rcpt(to string, account account.ID) lda.Recipient {
	a, err := smtp.ParseAddress(to)
	if err != nil {
		panic(err)
	}
	r := lda.Recipient{To: a}
	r.Target.Account = account
	return r
}

func letter(text string) lda.Message {
	return lda.Message{
		ID: "id1", From: smtp.Address{Local: "x y", Domain: "remote.test"}, Trace: []byte("Received: by us\r\n"),
		Content: strings.NewReader(text), Size: int64(len(text)),
	}
}

func TestDeliver(t *testing.T) {
	o := newOffice(t)
	o.must(o.Deliver(t.Context(), letter("Subject: x\r\n\r\nx"), []lda.Recipient{
		rcpt("info@buzon.test", "ana@buzon.test"), rcpt("ana@buzon.test", "ana@buzon.test"), rcpt("Luis@buzon.test", "luis@buzon.test"),
	}))
	for user, want := range map[string]string{
		"ana":  "Return-Path: <\"x y\"@remote.test>\r\nDelivered-To: ana@buzon.test\r\nX-Original-To: info@buzon.test\r\nReceived: by us\r\nSubject: x\r\n\r\nx",
		"luis": "Return-Path: <\"x y\"@remote.test>\r\nDelivered-To: luis@buzon.test\r\nReceived: by us\r\nSubject: x\r\n\r\nx",
	} {
		if got := o.files(user, "new"); !slices.Equal(got, []string{want}) {
			t.Errorf("%s has %q", user, got)
		}
	}
	if n := strings.Count(o.log.String(), "msg=delivered"); n != 2 {
		t.Errorf("%d deliveries in the log:\n%s", n, &o.log)
	}
}

// When one copy cannot be written nobody gets one, for the sender will come
// again with all of them.
func TestAllOrNone(t *testing.T) {
	o := newOffice(t)
	big := letter("\r\n" + strings.Repeat("x", 2000))
	err := o.Deliver(t.Context(), big, []lda.Recipient{rcpt("ana@buzon.test", "ana@buzon.test"), rcpt("marta@buzon.test", "marta@buzon.test")})
	if !errors.Is(err, smtp.MailboxFull) {
		t.Errorf("error %v", err)
	}
	for _, user := range []string{"ana", "marta"} {
		for _, dir := range []string{"new", "cur", "tmp"} {
			if got := o.files(user, dir); len(got) > 0 {
				t.Errorf("%s/%s has %q", user, dir, got)
			}
		}
	}
}

func TestDiscard(t *testing.T) {
	o := newOffice(t)
	d, err := o.Stage(t.Context(), letter("\r\n"), []lda.Recipient{rcpt("ana@buzon.test", "ana@buzon.test")})
	o.must(err)
	if got := o.files("ana", "new"); len(got) > 0 {
		t.Errorf("seen before it is committed: %q", got)
	}
	d.Discard()
	if got := append(o.files("ana", "new"), o.files("ana", "tmp")...); len(got) > 0 {
		t.Errorf("left behind: %q", got)
	}
}

type broken struct{}

func (broken) ReadAt([]byte, int64) (int, error) { return 0, io.ErrClosedPipe }

func TestContentFails(t *testing.T) {
	o := newOffice(t)
	m := letter("")
	m.Content, m.Size = broken{}, 10
	if err := o.Deliver(t.Context(), m, []lda.Recipient{rcpt("ana@buzon.test", "ana@buzon.test")}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("error %v", err)
	}
	if got := append(o.files("ana", "new"), o.files("ana", "tmp")...); len(got) > 0 {
		t.Errorf("stored %q", got)
	}
}

func TestLoop(t *testing.T) {
	o := newOffice(t)
	to := []lda.Recipient{rcpt("ana@buzon.test", "ana@buzon.test")}
	if err := o.Deliver(t.Context(), letter("delivered-to:  ANA@buzon.test\r\n\r\n"), to); !errors.Is(err, smtp.MailLoop) {
		t.Errorf("error %v", err)
	}
	o.must(o.Deliver(t.Context(), letter("Delivered-To: luis@buzon.test\r\n\r\nDelivered-To: ana@buzon.test\r\n"), to))
}

func TestRoom(t *testing.T) {
	o := newOffice(t)
	o.must(o.Room(t.Context(), "ana@buzon.test", 1<<40))
	o.must(o.Room(t.Context(), "marta@buzon.test", 900))
	if err := o.Room(t.Context(), "marta@buzon.test", 1001); smtp.ReplyFor(err).Code != 552 {
		t.Errorf("more than can ever fit: %v", err)
	}
	o.must(o.Deliver(t.Context(), letter("\r\n"+strings.Repeat("x", 500)), []lda.Recipient{rcpt("marta@buzon.test", "marta@buzon.test")}))
	if err := o.Room(t.Context(), "marta@buzon.test", 900); !errors.Is(err, smtp.MailboxFull) {
		t.Errorf("more than fits now: %v", err)
	}
}

func TestNotify(t *testing.T) {
	o := newOffice(t)
	text := "Subject: your mail\r\n\r\n"
	notify := func(to string) error {
		a, err := smtp.ParseAddress(to)
		o.must(err)
		return o.Notify(context.Background(), a, strings.NewReader(text), int64(len(text)))
	}
	o.must(notify("ana+lists@buzon.test"))
	if got := o.files("ana", "new"); len(got) != 1 || !strings.HasPrefix(got[0], "Return-Path: <>\r\n") || !strings.HasSuffix(got[0], text) {
		t.Errorf("ana has %q", got)
	}
	for _, to := range []string{"gone@buzon.test", "x@remote.test"} {
		if err := notify(to); !smtp.ReplyFor(err).Permanent() {
			t.Errorf("%s: %v", to, err)
		}
	}
}
