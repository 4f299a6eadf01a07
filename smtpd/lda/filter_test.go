package lda_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"buzon/internal/smtp"
	"buzon/smtpd/lda"
)

// filter gives a user a script.
func (o *office) filter(user, script string) {
	o.t.Helper()
	o.must(o.scripts.Put(user+"@buzon.test", "mine", []byte(script)))
	o.must(o.scripts.Activate(user+"@buzon.test", "mine"))
}

// sent is what left the house: who from, to whom, and the whole of it.
type sent struct {
	t    testing.TB
	mail []string
	err  error
}

func (s *sent) Submit(_ context.Context, env smtp.Envelope, msg io.Reader) (string, error) {
	b, err := io.ReadAll(msg)
	s.mail = append(s.mail, fmt.Sprintf("submit %s %s\n%s", env.From.Path(), env.To[0].Address.Path(), b))
	return "q1", errors.Join(err, s.err)
}

func (s *sent) Forward(_ context.Context, from, account smtp.Address, to []smtp.Address, content io.ReaderAt, size int64) error {
	b := make([]byte, size)
	if _, err := content.ReadAt(b, 0); err != nil && err != io.EOF {
		s.t.Error(err)
	}
	s.mail = append(s.mail, fmt.Sprintf("forward %s by %s to %s\n%s", from.Path(), account.Path(), to[0].Path(), b))
	return s.err
}

const text = "From: x@remote.test\r\nTo: ana@buzon.test\r\nSubject: weekly\r\n\r\nhola\r\n"

func TestFilterFiles(t *testing.T) {
	o := newOffice(t)
	o.filter("ana", `require ["fileinto", "mailbox", "imap4flags", "editheader"];
		fileinto :create :flags ["\\Seen", "news"] "Letters/Weekly";
		addheader "X-Filed" "yes";
		fileinto "No such mailbox";`)
	o.must(o.Deliver(t.Context(), letter(text), []lda.Recipient{rcpt("ana@buzon.test", "ana@buzon.test")}))
	const trace = "Return-Path: <\"x y\"@remote.test>\r\nDelivered-To: ana@buzon.test\r\nReceived: by us\r\n"
	if got := o.files("ana", ".Letters.Weekly/cur"); len(got) != 1 || got[0] != trace+text {
		t.Errorf("in the new mailbox: %q", got)
	}
	if names := o.names("ana", ".Letters.Weekly/cur"); len(names) != 1 || !strings.HasSuffix(names[0], ":2,Sa") {
		t.Errorf("flags: %q", names)
	}
	// A mailbox that is missing loses nothing.
	want := strings.Replace(trace, "Received: by us\r\n", "Received: by us\r\nX-Filed: yes\r\n", 1) + text
	if got := o.files("ana", "new"); len(got) != 1 || got[0] != want {
		t.Errorf("in INBOX: %q", got)
	}
}

func TestFilterThatDiscardsOrIsBroken(t *testing.T) {
	o := newOffice(t)
	ana := []lda.Recipient{rcpt("ana@buzon.test", "ana@buzon.test")}
	o.filter("ana", `if header "subject" "weekly" { discard; }`)
	o.must(o.Deliver(t.Context(), letter(text), ana))
	if got := o.files("ana", "new"); len(got) != 0 {
		t.Errorf("%q", got)
	}
	o.filter("ana", `require ["variables", "fileinto"]; set "a" ""; fileinto "${a}";`)
	o.must(o.Deliver(t.Context(), letter(text), ana))
	if got := o.files("ana", "new"); len(got) != 1 || !strings.Contains(o.log.String(), "filter failed, message is kept") {
		t.Errorf("%q\n%s", got, o.log.String())
	}
}

// Junk is where a user's default is, whatever else the filter does.
func TestFilterKeepsJunkApart(t *testing.T) {
	o := newOffice(t)
	o.filter("ana", `require ["fileinto", "copy"]; fileinto :copy "Archive";`)
	m := letter(text)
	m.Junk = true
	o.must(o.Deliver(t.Context(), m, []lda.Recipient{rcpt("ana@buzon.test", "ana@buzon.test")}))
	if junk, inbox := o.files("ana", ".Junk/new"), o.files("ana", "new"); len(junk) != 1 || len(inbox) != 0 || len(o.files("ana", ".Archive/new")) != 1 {
		t.Errorf("junk %q, inbox %q", junk, inbox)
	}
}

func TestFilterRefuses(t *testing.T) {
	o := newOffice(t)
	o.filter("ana", `require "reject"; reject "Please use
the other address.";`)
	ana, luis := rcpt("ana@buzon.test", "ana@buzon.test"), rcpt("luis@buzon.test", "luis@buzon.test")
	if !o.Alone("ana@buzon.test") || o.Alone("luis@buzon.test") {
		t.Error("Alone")
	}
	m := letter(text)
	m.Refusable = true
	var reply *smtp.Reply
	if err := o.Deliver(t.Context(), m, []lda.Recipient{ana}); !errors.As(err, &reply) || reply.Code != 550 || reply.Text != "Please use\nthe other address." {
		t.Errorf("%v", err)
	}
	if got := o.files("ana", "tmp"); len(got) != 0 {
		t.Errorf("left behind: %q", got)
	}
	// One answer cannot speak for two, and a notice has nobody to answer to.
	o.must(o.Deliver(t.Context(), m, []lda.Recipient{ana, luis}))
	m.Refusable = false
	o.must(o.Deliver(t.Context(), m, []lda.Recipient{ana}))
	if got := o.files("ana", "new"); len(got) != 2 {
		t.Errorf("%q", got)
	}
}

func TestFilterRedirects(t *testing.T) {
	o := newOffice(t)
	o.filter("ana", `require "copy"; redirect :copy "out@far.test"; redirect "luis@buzon.test";`)
	m := letter(text)
	m.Onward = func(by smtp.Address) ([]byte, error) { return []byte("ARC-Seal: " + by.Path() + "\r\n"), nil }
	o.must(o.Deliver(t.Context(), m, []lda.Recipient{rcpt("ana@buzon.test", "ana@buzon.test")}))
	const kept = "Return-Path: <\"x y\"@remote.test>\r\nDelivered-To: ana@buzon.test\r\nReceived: by us\r\n" + text
	if want := []string{"forward <\"x y\"@remote.test> by <ana@buzon.test> to <out@far.test>\nARC-Seal: <ana@buzon.test>\r\n" +
		strings.TrimPrefix(kept, "Return-Path: <\"x y\"@remote.test>\r\n")}; !slices.Equal(o.sent.mail, want) {
		t.Errorf("%q", o.sent.mail)
	}
	if got := o.files("luis", "new"); len(got) != 1 || !strings.HasSuffix(got[0], "Delivered-To: luis@buzon.test\r\n"+kept) {
		t.Errorf("%q", got)
	}
	if got := o.files("ana", "new"); len(got) != 0 {
		t.Errorf("%q", got)
	}
	// What may not be sent on is kept.
	m.Onward = func(smtp.Address) ([]byte, error) { return nil, errors.New("it may be forged") }
	o.must(o.Deliver(t.Context(), m, []lda.Recipient{rcpt("ana@buzon.test", "ana@buzon.test")}))
	if got := o.files("ana", "new"); len(got) != 1 || len(o.sent.mail) != 1 {
		t.Errorf("%q", got)
	}
	// When it cannot be sent on, nothing is visible and the sender tries again.
	o.sent.err = errors.New("the disk is full")
	if err := o.Deliver(t.Context(), letter(text), []lda.Recipient{rcpt("ana@buzon.test", "ana@buzon.test")}); err == nil {
		t.Error("delivered")
	}
	if got := o.files("luis", "new"); len(got) != 2 {
		t.Errorf("%q", got)
	}
}

// Two filters that send to each other end where they began.
func TestFilterCircle(t *testing.T) {
	o := newOffice(t)
	o.filter("ana", `redirect "luis@buzon.test";`)
	o.filter("luis", `redirect "ana@buzon.test";`)
	o.must(o.Deliver(t.Context(), letter(text), []lda.Recipient{rcpt("ana@buzon.test", "ana@buzon.test")}))
	if ana, luis := o.files("ana", "new"), o.files("luis", "new"); len(ana)+len(luis) != 1 {
		t.Errorf("ana %q, luis %q", ana, luis)
	}
}

func TestVacation(t *testing.T) {
	o := newOffice(t)
	o.filter("ana", `require "vacation"; vacation "I am away.";`)
	ana := []lda.Recipient{rcpt("ana@buzon.test", "ana@buzon.test")}
	for range 2 {
		o.must(o.Deliver(t.Context(), letter(text), ana))
	}
	if len(o.sent.mail) != 1 || !strings.HasPrefix(o.sent.mail[0], "submit <> <\"x y\"@remote.test>\nFrom: ana@buzon.test\r\n") {
		t.Errorf("%q", o.sent.mail)
	}
	local := letter(text)
	local.From = smtp.Address{Local: "luis", Domain: "buzon.test"}
	o.must(o.Deliver(t.Context(), local, ana))
	if got := o.files("luis", "new"); len(got) != 1 || !strings.Contains(got[0], "I am away.") || !strings.HasPrefix(got[0], "Return-Path: <>\r\n") {
		t.Errorf("%q", got)
	}
	null := letter(text)
	null.From = smtp.Address{}
	o.must(o.Deliver(t.Context(), null, ana))
	if len(o.sent.mail) != 1 || len(o.files("ana", "new")) != 4 {
		t.Errorf("%q", o.sent.mail)
	}
}
