package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"buzon/internal/account"
	"buzon/internal/milter"
	"buzon/internal/sieve"
	"buzon/internal/smtp"
	"buzon/smtpd/lda"
)

// Names tells what the DNS calls a client. It must be safe for concurrent use.
type Names interface {
	// ClientName returns the name of ip that has ip among its addresses, and
	// the first name that is only claimed; "" where there is none.
	ClientName(ctx context.Context, ip netip.Addr) (verified, claimed string)
}

// nameTime bounds what the DNS may cost a session before its first message.
const nameTime = 5 * time.Second

// filterSender tells the milters of a new message, and of the client when it
// is not the one that they know: TLS or a login have come since, or another EHLO.
func (s *session) filterSender(t *transaction) error {
	if s.c.srv.cfg.Milters == nil {
		return nil
	}
	client := s.milterClient(t)
	if s.filters != nil && s.filters.Client() != client {
		s.filters.Close()
		s.filters = nil
	}
	if s.filters == nil {
		s.filters = s.c.srv.cfg.Milters.Begin(s.c.ctx, s.c.log(), client)
	}
	return s.filters.Mail(milter.Envelope{ID: t.id, From: t.env.From, Args: mailArgs(t.env)})
}

// milterClient is what milters are told of a client.
func (s *session) milterClient(t *transaction) milter.Client {
	c := s.c
	m := milter.Client{IP: c.ip, Port: portOf(c.nc.RemoteAddr()), Helo: t.helo, User: c.user, Mechanism: s.mechanism}
	if c.local.IsValid() {
		m.Local = netip.AddrPortFrom(c.local, portOf(c.nc.LocalAddr()))
	}
	if c.names == nil && c.srv.cfg.Names != nil && c.ip.IsValid() {
		ctx, cancel := context.WithTimeout(t.ctx, nameTime)
		verified, claimed := c.srv.cfg.Names.ClientName(ctx, c.ip)
		cancel()
		c.names = &[2]string{verified, claimed}
	}
	if c.names != nil {
		m.Name, m.PTR = c.names[0], c.names[1]
	}
	if c.tls != nil {
		m.TLSVersion = strings.ReplaceAll(strings.ReplaceAll(tls.VersionName(c.tls.Version), "TLS 1.", "TLSv1."), " ", "")
		m.Cipher, m.CipherBits = tls.CipherSuiteName(c.tls.CipherSuite), cipherBits(c.tls.CipherSuite)
	}
	return m
}

// cipherBits is the length of a suite's key, as its name tells.
func cipherBits(suite uint16) int {
	switch name := tls.CipherSuiteName(suite); {
	case strings.Contains(name, "AES_128"):
		return 128
	case strings.Contains(name, "AES_256"), strings.Contains(name, "CHACHA20"):
		return 256
	}
	return 0
}

func portOf(a net.Addr) uint16 {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return uint16(tcp.Port)
	}
	return 0
}

// mailArgs are the parameters of MAIL that say something about the message.
func mailArgs(env smtp.Envelope) (args []string) {
	if env.Size > 0 {
		args = append(args, "SIZE="+strconv.FormatInt(env.Size, 10))
	}
	if env.EightBit {
		args = append(args, "BODY=8BITMIME")
	}
	if env.UTF8 {
		args = append(args, "SMTPUTF8")
	}
	return args
}

// away is a recipient in another domain, and the address of RCPT that led to it.
type away struct {
	smtp.Recipient
	by smtp.Address
}

// outside are the recipients in other domains.
func (t *transaction) outside() []smtp.Recipient {
	list := make([]smtp.Recipient, len(t.away))
	for i, a := range t.away {
		list[i] = a.Recipient
	}
	return list
}

// filtered is what the milters have made of a message.
type filtered struct {
	top     []byte     // fields that go above ours
	changed bool       // the message is not as it came, and
	bodyAt  int64      // its body begins here
	discard bool       // nobody gets it, and the client must not know
	junk    bool       // it goes to Junk, or waits for somebody to look at it
	spam    sieve.Spam // what users' filters are told
}

// filter shows the message to the milters and makes their changes in it.
func (t *transaction) filter(m *spooled) (filtered, error) {
	if t.s.filters == nil {
		return filtered{}, nil
	}
	srv := t.s.c.srv
	bodyAt := int64(len(m.header.Raw()))
	shown := &milter.Message{
		Header: milter.NewHeader(m.header), Body: io.NewSectionReader(m, bodyAt, m.Size()-bodyAt), BodySize: m.Size() - bodyAt,
		Size: m.Size(), MaxSize: srv.cfg.MaxSize, NewBody: func() milter.Body { return newSpooled(srv.cfg.Dir) },
	}
	out, err := t.s.filters.Message(shown)
	if err != nil || out.Discard {
		if shown.Replaced != nil {
			shown.Replaced.Close()
		}
		if out.Discard {
			t.s.c.log().Info("filtered", "id", t.id, "by", out.By, "verdict", "discard", "from", t.env.From.String())
		}
		return filtered{discard: out.Discard}, err
	}
	f := filtered{top: shown.Header.Top(), discard: t.readdress(out), changed: out.Changed}
	f.junk, f.spam = spamVerdict(out.Fields)
	f.junk = f.junk || out.Quarantine
	if out.Changed {
		head := shown.Header.Raw()
		f.bodyAt = int64(len(head))
		if body, ok := shown.Replaced.(*spooled); ok {
			m.Close()
			*m, bodyAt = *body, 0
		}
		m.replaceHead(head, bodyAt)
	}
	if out.Changed || f.junk || f.discard {
		t.s.c.log().Info("filtered", "id", t.id, "by", out.By, "verdict", f.verdict(), "score", f.spam.Percent, "changed", out.Changed, "err", out.Reason)
	}
	return f, nil
}

func (f filtered) verdict() string {
	switch {
	case f.discard:
		return "discard"
	case f.junk:
		return "junk"
	}
	return "accept"
}

// readdress changes the envelope as the milters want it. It reports whether
// nobody is left to deliver to.
func (t *transaction) readdress(out milter.Outcome) (empty bool) {
	if out.From != nil {
		t.env.From = *out.From
	}
	dropped := func(a smtp.Address) bool {
		return slices.ContainsFunc(out.Drop, func(d smtp.Address) bool { return strings.EqualFold(d.String(), a.String()) })
	}
	t.local = slices.DeleteFunc(t.local, func(r lda.Recipient) bool { return dropped(r.To) })
	t.away = slices.DeleteFunc(t.away, func(a away) bool { return dropped(a.by) })
	for _, a := range out.Add {
		if err := t.addRecipient(a); err != nil {
			t.s.c.log().Warn("a filter's recipient cannot be added", "id", t.id, "to", a.String(), "err", err)
		}
	}
	return len(t.local)+len(t.away) == 0
}

// addRecipient adds one that a milter wants: the administrator's program may
// write to everybody.
func (t *transaction) addRecipient(a smtp.Address) error {
	srv := t.s.c.srv
	route, err := srv.cfg.Directory.Route(a)
	switch {
	case errors.Is(err, account.ErrNotLocal):
		route.Outside = []smtp.Address{a}
	case err != nil:
		return err
	}
	if len(route.Outside) > 0 && !srv.submits() {
		if srv.cfg.Forward == nil || srv.cfg.Spool == nil {
			return replyNoForward
		}
		if t.alias.IsNull() { // it goes on in the name of who was written to
			t.alias = t.env.To[0].Address
		}
	}
	for _, o := range route.Outside {
		t.away = append(t.away, away{smtp.Recipient{Address: o}, a})
	}
	for _, target := range route.Targets {
		t.local = append(t.local, lda.Recipient{Target: target, To: a})
	}
	return nil
}
