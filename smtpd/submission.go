package smtpd

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"buzon/internal/account"
	"buzon/internal/message"
	"buzon/internal/smtp"
	"buzon/smtpd/lda"
)

// Spool takes responsibility for messages to other domains.
type Spool interface {
	// Submit stores the message for the recipients of env. When it returns
	// without an error the message is durable and will be delivered or
	// reported to env.From; after an error nothing of it is left.
	Submit(ctx context.Context, env smtp.Envelope, msg io.Reader) (id string, err error)
	// Confirm tells the sender that the recipients of env have got the
	// message, which is delivered here; or, when expanded, that it is on its
	// way to everybody whom their addresses stand for.
	Confirm(ctx context.Context, env smtp.Envelope, expanded bool, msg io.ReaderAt) error
}

// Signing knows whether mail can be signed before it leaves.
type Signing interface {
	// Check returns why mail of a domain could not be signed; nil when it can,
	// or is not to be. It must be safe for concurrent use.
	Check(domain string) error
}

var (
	replyUnsigned  = smtp.NewReply(451, [3]int{4, 7, 0}, "The mail of this domain cannot be signed (DKIM), the administrator must look at its keys")
	replyNeedTLS   = smtp.NewReply(530, [3]int{5, 7, 0}, "Must issue a STARTTLS command first") // RFC 3207 4
	replyNeedLogin = smtp.NewReply(530, [3]int{5, 7, 0}, "Authentication required")             // RFC 4954 6
	replyLoggedOut = smtp.NewReply(421, [3]int{4, 7, 0}, "The account has changed, please log in again")
	replyNoFuture  = smtp.NewReply(550, [3]int{5, 7, 0}, "Only mail for other hosts can be released later")
	replyTooFast   = smtp.NewReply(450, [3]int{4, 7, 1}, "Too many recipients in an hour, please try again later")
)

// submission is the door for our users (RFC 6409): after a login under TLS it
// takes mail for everybody, from the addresses that the account owns.
type submission struct{ *Server }

func (sub *submission) mechanisms(c *client) []string { return sub.cfg.Logins.Mechanisms(c.login()) }

// sender wants the reverse-path to be the account's own. The null one is
// allowed: programs send read receipts with it (RFC 8098 3).
func (sub *submission) sender(t *transaction) error {
	switch id := t.s.account.ID; {
	case id == "" && t.s.c.tls == nil:
		return replyNeedTLS
	case id == "":
		return replyNeedLogin
	case sub.cfg.Directory.Generation(id) != t.s.account.Generation:
		return replyLoggedOut
	case !t.env.From.IsNull() && !sub.cfg.Directory.Owns(id, t.env.From):
		return notOwned(t.env.From)
	}
	return nil
}

func notOwned(a smtp.Address) *smtp.Reply {
	return smtp.NewReply(553, [3]int{5, 7, 1}, a.Path()+" is not an address of yours")
}

func (sub *submission) recipient(t *transaction, to smtp.Address) error {
	route, err := sub.cfg.Directory.Route(to)
	outside := route.Outside
	switch {
	case err == nil && len(route.Targets) > 0 && !t.env.NotBefore.IsZero():
		return replyNoFuture
	case err == nil:
	case errors.Is(err, account.ErrNoSuchUser):
		return smtp.NoSuchUser
	case errors.Is(err, account.ErrNotLocal):
		outside = []smtp.Address{to}
	default:
		return fmt.Errorf("resolve %s: %w", to, err)
	}
	if ok, _ := sub.cfg.Rate.Take(string(t.s.account.ID), len(outside)); len(outside) > 0 && !ok {
		t.s.c.log().Warn("account sends too much", "user", t.s.c.user)
		return replyTooFast
	}
	if err := t.addLocal(to, route.Targets); err != nil {
		return err
	}
	notify := t.s.rcpt.notify
	if len(route.Targets)+len(outside) > 1 && notify&smtp.NotifySuccess != 0 {
		// RFC 3461 5.2.7.2: the success is ours, when the message has gone to all.
		t.expanded = append(t.expanded, smtp.Recipient{Address: to, Original: t.s.rcpt.original, Notify: notify})
		if notify &^= smtp.NotifySuccess; notify == 0 {
			notify = smtp.NotifyNever
		}
	}
	for _, a := range outside {
		if r := sub.cfg.Recipients; r != nil && !r.usual(string(t.s.account.ID), a) {
			t.env.Held = true
		}
		t.away = append(t.away, away{smtp.Recipient{Address: a, Original: t.s.rcpt.original, Notify: notify}, to})
	}
	return nil
}

// accept writes the local copies, gives the message to the spool, and only
// then makes the copies visible: what fails in between leaves nothing behind,
// so that a client which tries again makes no duplicates.
func (sub *submission) accept(t *transaction, content io.Reader) (*smtp.Reply, error) {
	m, err := sub.receive(content, func(h *message.Header) (edit, error) { return sub.editOwn(t, h) })
	if err != nil {
		return nil, receiveError(err)
	}
	defer m.Close()
	f, err := t.filter(m)
	switch {
	case err != nil:
		return nil, err
	case f.discard:
		return accepted(t, "accepted as "+t.id), nil
	case f.junk: // somebody has to look at it before it leaves in our name
		t.env.Held = true
	}
	trace := append(f.top, received(t, sub.cfg.Hostname, t.s.c)...)
	id, done := t.id, "delivered as "
	var local *lda.Delivery
	if len(t.local) > 0 {
		local, err = sub.cfg.Local.Stage(t.ctx, lda.Message{ID: t.id, From: t.env.From, Trace: trace, Content: m, Size: m.Size(), Header: m.header}, t.local)
		if err != nil {
			return nil, err
		}
		defer local.Discard()
	}
	if len(t.away) > 0 {
		env := t.env
		env.To, env.Size = t.outside(), int64(len(trace))+m.Size()
		id, err = sub.cfg.Spool.Submit(t.ctx, env, io.MultiReader(bytes.NewReader(trace), io.NewSectionReader(m, 0, m.Size())))
		if err != nil {
			return nil, fmt.Errorf("queue: %w", err)
		}
		done = "queued as "
		t.s.c.log().Info("submitted", "user", t.s.c.user, "id", id, "received", t.id, "recipients", len(env.To))
		sub.watch(t, id)
	}
	if local != nil {
		if err := local.Commit(t.ctx); err != nil {
			return nil, err
		}
	}
	if err := sub.confirm(t, m); err != nil {
		t.s.c.log().Error("sender is not told of the delivery", "id", t.id, "err", err)
	}
	return accepted(t, done+id), nil
}

// watch learns from a message that was taken, or raises the alarm about it.
func (sub *submission) watch(t *transaction, id string) {
	r := sub.cfg.Recipients
	switch user := string(t.s.account.ID); {
	case r == nil:
	case !t.env.Held:
		r.remember(user, t.outside())
	default:
		t.s.c.log().Warn("message is held: the account writes to too many new recipients", "user", user, "id", id)
		if !r.alarm(user) {
			return
		}
		if err := sub.warn(t.ctx, user, id); err != nil {
			t.s.c.log().Error("postmaster is not told", "user", user, "err", err)
		}
	}
}

// warn tells postmaster of an account that may be stolen.
func (sub *submission) warn(ctx context.Context, user, id string) error {
	postmaster := smtp.Address{Local: "postmaster", Domain: sub.cfg.Hostname}
	targets, err := sub.cfg.Directory.Resolve(postmaster)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("Date: %s\r\nFrom: Buzon <postmaster@%s>\r\nTo: <%s>\r\nSubject: %s writes to many new recipients\r\nMessage-ID: <%s@%[2]s>\r\nAuto-Submitted: auto-generated\r\n\r\n"+
		"The account %[4]s has written to more recipients today that it never wrote to\r\nbefore than limits.new_recipients_per_day allows. Its password may be stolen.\r\n\r\n"+
		"Such messages are held in the queue, the first one is %[6]s:\r\n\r\n"+
		"  buzon queue list\r\n  buzon queue show %[6]s\r\n\r\n"+
		"If all is well:        buzon queue release --from ADDRESS\r\n"+
		"If it is stolen:       buzon account disable %[4]s\r\n                       buzon queue drop --from ADDRESS\r\n",
		time.Now().Format(time.RFC1123Z), sub.cfg.Hostname, postmaster, user, rand.Text(), id)
	var to []lda.Recipient
	for _, target := range targets {
		to = append(to, lda.Recipient{Target: target, To: postmaster})
	}
	return sub.cfg.Local.Deliver(ctx, lda.Message{ID: newID(), Content: strings.NewReader(text), Size: int64(len(text))}, to)
}

// confirm tells the sender of those who have got the message here, where he
// asked for it (RFC 3461 4.1).
func (sub *submission) confirm(t *transaction, m *spooled) error {
	env := t.env
	env.To = nil
	for _, to := range t.env.To {
		expanded := slices.ContainsFunc(t.expanded, func(e smtp.Recipient) bool { return e.Address == to.Address })
		if to.Notify&smtp.NotifySuccess != 0 && !expanded && slices.ContainsFunc(t.local, func(l lda.Recipient) bool { return l.To == to.Address }) {
			env.To = append(env.To, to)
		}
	}
	var err error
	if len(env.To) > 0 {
		err = sub.cfg.Spool.Confirm(t.ctx, env, false, m)
	}
	if env.To = t.expanded; len(env.To) > 0 {
		err = errors.Join(err, sub.cfg.Spool.Confirm(t.ctx, env, true, m))
	}
	return err
}

// hidden are the fields that a submitted message must not carry further:
// recipients who are nobody's business (RFC 5322 3.6.3), and what only a
// delivery may say.
var hidden = []string{"Bcc", "Resent-Bcc", "Return-Path", "Content-Length", "Delivered-To", "X-Original-To"}

// editOwn checks that the account owns every address that a reader could be
// shown as the author, and adds what RFC 6409 8 lets us add.
func (sub *submission) editOwn(t *transaction, h *message.Header) (edit, error) {
	authors, err := message.Authors(h)
	if bad, ok := errors.AsType[*message.AuthorError](err); ok {
		return edit{}, smtp.NewReply(553, [3]int{5, 7, 1}, bad.Reason)
	} else if err != nil {
		return edit{}, err
	}
	for _, author := range authors {
		a, err := smtp.ParseAddress(author.String())
		if err != nil {
			return edit{}, smtp.NewReply(553, [3]int{5, 7, 1}, "The author's address is malformed")
		}
		if !sub.cfg.Directory.Owns(t.s.account.ID, a) {
			return edit{}, notOwned(a)
		}
	}
	if t.env.TLS == "" && tlsNotRequired(h) {
		t.env.TLS = smtp.TLSOptional
	}
	if sub.cfg.Signing != nil && len(t.away) > 0 {
		domain := t.env.From.Domain
		if len(authors) > 0 {
			domain = authors[0].Host
		}
		if err := sub.cfg.Signing.Check(domain); err != nil {
			return edit{}, fmt.Errorf("%w: %w", replyUnsigned, err)
		}
	}
	var add bytes.Buffer
	if h.Count("Date") == 0 {
		fmt.Fprintf(&add, "Date: %s\r\n", time.Now().Format(time.RFC1123Z))
	}
	if h.Count("Message-ID") == 0 {
		fmt.Fprintf(&add, "Message-ID: <%s@%s>\r\n", rand.Text(), sub.cfg.Hostname)
	}
	return edit{add: add.Bytes(), drop: func(f message.Field) bool {
		for _, name := range hidden {
			if strings.EqualFold(f.Name, name) {
				return true
			}
		}
		return false
	}}, nil
}

// tlsNotRequired reports whether the sender would rather have the message go
// without TLS than not at all: RFC 8689 5. REQUIRETLS goes before it.
func tlsNotRequired(h *message.Header) bool {
	for f := range h.Fields() {
		if strings.EqualFold(f.Name, "TLS-Required") {
			return strings.EqualFold(strings.TrimSpace(f.Value()), "No")
		}
	}
	return false
}
