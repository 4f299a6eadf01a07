package mx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"buzon/internal/smtp"
)

// What one attempt spends at most, as Postfix does: a domain with fifty dead
// hosts must not hold a place for hours, nor be asked fifty times.
const (
	maxAddresses = 5  // that are dialled
	maxSessions  = 2  // that are begun
	maxUnrouted  = 20 // that this machine has no way to
)

// attempt is the state of one Send.
type attempt struct {
	c       *Client
	env     smtp.Envelope
	content content
	results []smtp.Result // in the order of env.To
	pending []int         // of env.To, those without a result

	worst     *failure // what the pending ones get at the end
	addresses int      // dialled so far
	sessions  int      // begun so far
	unrouted  int      // without a way to them so far
}

func newAttempt(c *Client, env smtp.Envelope, msg io.ReaderAt, size int64) *attempt {
	a := &attempt{c: c, env: env, content: content{msg: msg, size: size}, results: make([]smtp.Result, len(env.To))}
	for i, to := range env.To {
		a.results[i].Recipient = to.Address
		a.pending = append(a.pending, i)
	}
	return a
}

// run goes from host to host until every recipient has an answer, or no host
// is left to ask.
func (a *attempt) run(ctx context.Context) {
	if len(a.env.To) == 0 {
		return
	}
	defer a.settlePending()
	start := time.Now()
	domain := a.env.To[0].Address.Domain
	for _, to := range a.env.To {
		if to.Address.Domain != domain {
			a.note(temporary(3, 0, "Temporary trouble here", fmt.Errorf("recipients at %s and %s in one attempt", domain, to.Address.Domain)))
			a.log(hop{host: domain}, netip.Addr{}, nil, a.worst, start)
			return
		}
	}
	hops, f := a.c.router.route(ctx, a.env.From, domain, a.env.TLS)
	if f != nil {
		a.note(f)
		a.log(hop{host: domain}, netip.Addr{}, nil, f, start)
		return
	}
	for _, h := range a.warmFirst(hops) {
		if len(a.pending) == 0 || a.spent() || a.host(ctx, h) {
			return
		}
	}
}

// spent reports whether the attempt has had its share.
func (a *attempt) spent() bool {
	return a.addresses >= maxAddresses || a.sessions >= maxSessions || a.unrouted >= maxUnrouted
}

// host tries the addresses of one host, and reports whether the attempt is
// over: because all is said, or because no other host may be tried.
func (a *attempt) host(ctx context.Context, h hop) (over bool) {
	start := time.Now()
	addrs, answer, f := a.c.router.addresses(ctx, h)
	if f == nil {
		h.policy, f = a.c.router.hostPolicy(ctx, h, answer, a.env.TLS)
		a.reportPolicy(h, f)
	}
	if f != nil {
		f.host, f.policy = h.host, h.policy.String()
		a.note(f)
		a.log(h, netip.Addr{}, nil, f, start)
		return f.stop || ctx.Err() != nil
	}
	for _, addr := range a.warmAddressFirst(h, addrs) {
		if a.spent() {
			return true
		}
		if f := a.address(ctx, h, addr); f != nil {
			a.note(f)
			if f.stop || ctx.Err() != nil {
				return true
			}
		}
		if len(a.pending) == 0 {
			return true
		}
	}
	return false
}

// address makes one session with one address. nil means that every recipient
// has its answer.
func (a *attempt) address(ctx context.Context, h hop, addr netip.Addr) *failure {
	if s := a.c.pool.take(ctx, h.place(addr)); s != nil {
		if f, stale := a.reuse(s, h, addr); !stale {
			return f
		}
	}
	f := a.session(ctx, h, addr, false)
	if f != nil && errors.Is(f, errHandshake) && h.opportunistic() && ctx.Err() == nil {
		a.sessions-- // the same session, as it were
		f = a.session(ctx, h, addr, true)
	}
	return f
}

func (a *attempt) session(ctx context.Context, h hop, addr netip.Addr, plain bool) *failure {
	start := time.Now()
	conn, f := a.c.connect(ctx, h, addr)
	if f != nil {
		if noRoute(f) || errors.Is(f, errDead) {
			a.unrouted++
		} else {
			a.addresses++
		}
		return a.ended(h, addr, nil, f, start)
	}
	a.addresses++
	a.sessions++
	s, f := a.c.open(ctx, conn, h, netip.AddrPortFrom(addr, h.port), plain)
	a.reportSession(h, addr, s, f)
	if f != nil {
		return a.ended(h, addr, nil, f, start)
	}
	f = a.deliver(s, h, addr)
	a.release(s, h, addr, f)
	return a.ended(h, addr, s, f, start)
}

// noRoute reports a connection that this machine cannot even try: one without
// IPv6 shall not lose its tries to it.
func noRoute(f *failure) bool {
	return errors.Is(f, syscall.ENETUNREACH) || errors.Is(f, syscall.EADDRNOTAVAIL) || errors.Is(f, syscall.EAFNOSUPPORT)
}

// ended logs what came of one address, and says in the failure whose it is.
func (a *attempt) ended(h hop, addr netip.Addr, s *session, f *failure, start time.Time) *failure {
	if f != nil {
		f.host, f.remote, f.policy = h.host, netip.AddrPortFrom(addr, h.port).String(), h.policy.String()
		if s != nil {
			f.tls = s.tlsName()
		}
	}
	a.log(h, addr, s, f, start)
	return f
}

// deliver runs transactions in a session until every recipient has its answer
// or the session fails. A host may take fewer recipients at once than there
// are (RFC 5321 4.5.3.1.10): the others follow in the next transaction.
func (a *attempt) deliver(s *session, h hop, addr netip.Addr) *failure {
	if f := a.fits(s); f != nil {
		return f
	}
	for len(a.pending) > 0 {
		batch := a.pending[:min(len(a.pending), maxRecipients)]
		t := newTransaction(s, a.env, batch, &a.content)
		f := t.run()
		if t.stale(f) {
			return errStale
		}
		var again []int
		for k, i := range batch {
			switch reply := t.replies[k]; {
			case reply == nil, f == nil && t.taken && tooMany(reply):
				again = append(again, i)
			default:
				a.settle(i, smtp.Result{
					Reply: reply, Host: h.host, Remote: netip.AddrPortFrom(addr, h.port).String(), TLS: s.tlsName(), Policy: h.policy.String(), Notifies: s.ext.dsn, KnowsBy: s.ext.deliverBy,
				})
			}
		}
		a.pending = append(again, a.pending[len(batch):]...)
		if f != nil {
			return f
		}
		if s.broken && len(a.pending) > 0 {
			return temporary(4, 2, "The connection to the mail host was lost", errors.New("closed between two transactions"))
		}
	}
	return nil
}

// fits checks the message against what the host can do. Where it does not fit
// another host of the domain may be better, and only when none is the message
// goes back.
func (a *attempt) fits(s *session) *failure {
	if a.content.octets == 0 { // not inspected yet
		switch err := a.content.inspect(); {
		case errors.Is(err, errBareLineEnd):
			f := permanent(554, 6, 0, "The message has broken line ends", err)
			f.stop = true
			return f
		case err != nil:
			f := temporary(3, 0, "The message cannot be read at the moment", err)
			f.stop, f.ours = true, true
			return f
		}
	}
	switch {
	case s.ext.maxSize > 0 && a.content.octets > s.ext.maxSize: // RFC 1870 6.1
		return permanent(552, 3, 4, fmt.Sprintf("The message of %d bytes is larger than the %d that the mail host takes",
			a.content.octets, s.ext.maxSize), errors.New("SIZE"))
	case a.env.TLS == smtp.TLSRequired && !s.ext.requireTLS: // RFC 8689 4.2.1
		return permanent(550, 7, 30, "The message requires TLS, and the mail host does not promise to pass that on", errors.New("no REQUIRETLS"))
	case a.env.By.Return && !s.ext.deliverBy: // RFC 2852 4.1.4.2
		return permanent(550, 4, 7, "The mail host does not promise to deliver in time (DELIVERBY)", errors.New("no DELIVERBY"))
	case a.env.By.Return && bySeconds(a.env.By, time.Now()) < s.ext.minBy: // RFC 2852 4.1.4.1
		return permanent(550, 4, 7, fmt.Sprintf("The mail host wants %d seconds to deliver, and there are less", s.ext.minBy), errors.New("DELIVERBY"))
	case needsUTF8(a.env, &a.content) && !s.ext.utf8: // RFC 6531 3.2
		return permanent(550, 6, 7, "The mail host takes no international addresses and headers", errors.New("no SMTPUTF8"))
	case a.content.eightBit && !s.ext.eightBit && !a.c.assumeEightBit: // RFC 6152 3
		return permanent(554, 6, 3, "The mail host takes no 8-bit messages", errors.New("no 8BITMIME"))
	}
	return nil
}

// needsUTF8 reports whether the message really is international: some clients
// say SMTPUTF8 with everything that they send.
func needsUTF8(env smtp.Envelope, c *content) bool {
	return env.From.NeedsUTF8() || env.UTF8 && c.utf8 ||
		slices.ContainsFunc(env.To, func(to smtp.Recipient) bool { return to.Address.NeedsUTF8() })
}

func (a *attempt) settle(i int, r smtp.Result) {
	r.Recipient = a.env.To[i].Address
	a.results[i] = r
}

func (a *attempt) note(f *failure) {
	if f.outweighs(a.worst) {
		a.worst = f
	}
}

// settlePending gives those without an answer what was learned on the way.
func (a *attempt) settlePending() {
	f := a.worst
	if f == nil {
		f = temporary(4, 1, "No mail host could be tried", errors.New("no host left"))
	}
	for _, i := range a.pending {
		a.settle(i, smtp.Result{Reply: f.reply, Host: f.host, Remote: f.remote, TLS: f.tls, Policy: f.policy, Err: f.cause})
	}
	a.pending = nil
}

// log writes the one line of an attempt with one address, or of one that came
// to none.
func (a *attempt) log(h hop, addr netip.Addr, s *session, f *failure, start time.Time) {
	args := []any{"id", a.env.ID, "from", a.env.From.String(), "to", a.recipients(), "host", h.host}
	if addr.IsValid() {
		args = append(args, "ip", addr.String())
	}
	if h.policy.kind != "" {
		args = append(args, "policy", h.policy.String())
	}
	if s != nil {
		args = append(args, "tls", s.tlsName(), "verified", s.verified)
		if s.reused {
			args = append(args, "message", s.messages) // over this connection
		}
	}
	level := slog.LevelInfo
	if f != nil {
		args = append(args, "code", f.reply.Code, "err", f)
		if f.ours {
			level = slog.LevelError
		}
	} else {
		args = append(args, "code", a.code())
	}
	a.c.log.Log(context.Background(), level, "delivery attempt", append(args, "dur", since(start))...)
}

// recipients names the recipients for the log, the first few of many.
func (a *attempt) recipients() string {
	const most = 5
	var names []string
	for _, to := range a.env.To[:min(len(a.env.To), most)] {
		names = append(names, to.Address.String())
	}
	if more := len(a.env.To) - most; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ",")
}

// code is the worst reply among the recipients' results.
func (a *attempt) code() int {
	code := 0
	for _, r := range a.results {
		if r.Reply != nil {
			code = max(code, r.Reply.Code)
		}
	}
	return code
}
