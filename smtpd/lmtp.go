package smtpd

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"buzon/internal/message"
	"buzon/internal/smtp"
	"buzon/mx"
)

// lmtpDeliveries bounds how many deliveries of one message run at the same
// time: enough to share the disk's syncs.
const lmtpDeliveries = 8

var (
	replySayLHLO = smtp.NewReply(500, [3]int{5, 5, 1}, "This is LMTP: say LHLO")
	replyNoLogin = smtp.NewReply(502, [3]int{5, 5, 1}, "Nobody logs in here")
)

// NewLMTP returns a Server for a mail host that stands in front of us and has
// taken responsibility for the messages that it hands over (RFC 2033). It has
// judged them, too: cfg.Judge is not asked, and nobody is kept waiting.
func NewLMTP(cfg Config) *Server {
	if cfg.MaxRecipients == 0 {
		cfg.MaxRecipients = defaultMaxIncoming
	}
	cfg.GreetingPause, cfg.TLS, cfg.Judge = -1, nil, nil
	cfg.Milters, cfg.Blocklists, cfg.Greylist = nil, nil, nil
	if cfg.Forward != nil {
		cfg.Forward = unsealed{cfg.Forward}
	}
	s := newServer(cfg)
	s.door = &lmtp{incoming{s}}
	return s
}

// lmtp is the door for the mail host in front of us: the one for strangers,
// but with an answer for each recipient.
type lmtp struct{ incoming }

// perRecipient reports whether the server answers for each recipient.
func (s *Server) perRecipient() bool {
	_, ok := s.door.(*lmtp)
	return ok
}

// unsealed forwards without a seal, which would vouch for a verdict that we
// have not reached.
type unsealed struct{ Forward }

func (unsealed) Fields(_ mx.Verdict, alias smtp.Address, _ io.ReaderAt, _ int64) ([]byte, error) {
	return fmt.Appendf(nil, "Delivered-To: %s\r\n", alias), nil
}

// recipient gives each its own transaction, which knows of no other.
func (l *lmtp) recipient(t *transaction, to smtp.Address) error {
	leg := *t
	leg.env.To = nil
	if err := l.incoming.recipient(&leg, to); err != nil {
		return err
	}
	leg.env.To = []smtp.Recipient{{Address: to}}
	t.legs = append(t.legs, &leg)
	return nil
}

// accept delivers to each recipient and sets t.answers, which go to the client
// in the order of the RCPT commands (RFC 2033 4.2).
func (l *lmtp) accept(t *transaction, content io.Reader) (*smtp.Reply, error) {
	m, err := l.receive(content, func(h *message.Header) (edit, error) {
		if h.Count("Received") > maxReceived {
			return edit{}, smtp.MailLoop // RFC 5321 6.3
		}
		for _, leg := range t.legs {
			leg.marks = h.Values("Delivered-To")
		}
		// Results of authentication are from the host in front, whose name is
		// often ours, too.
		return edit{drop: func(f message.Field) bool {
			return strings.EqualFold(f.Name, "Return-Path") || strings.EqualFold(f.Name, "X-Junk-Score")
		}}, nil
	})
	if err != nil {
		return nil, receiveError(err)
	}
	defer m.Close()
	answers := make([]*smtp.Reply, len(t.legs))
	var work errgroup.Group
	work.SetLimit(lmtpDeliveries)
	for _, group := range t.groups() {
		work.Go(func() error {
			reply := l.deliverGroup(t, group, m)
			for _, i := range group {
				answers[i] = reply
			}
			return nil
		})
	}
	_ = work.Wait() // what went wrong is in the answers
	t.answers = answers
	if slices.ContainsFunc(answers, (*smtp.Reply).Is2xx) {
		t.s.c.accepted()
	}
	return smtp.NewReply(250, [3]int{2, 0, 0}, t.id), nil
}

// deliverGroup delivers to recipients, by their places in t.legs, and answers
// for all of them.
func (l *lmtp) deliverGroup(t *transaction, group []int, m *spooled) *smtp.Reply {
	all := *t.legs[group[0]]
	for _, i := range group[1:] {
		leg := t.legs[i]
		all.env.To = append(all.env.To, leg.env.To...)
		all.local = append(all.local, leg.local...)
		all.away = append(all.away, leg.away...)
		if all.alias.IsNull() {
			all.alias = leg.alias
		}
	}
	done, err := l.deliver(&all, mx.Verdict{}, received(&all, l.cfg.Hostname, t.s.c), m)
	if err != nil {
		return t.s.replyTo(err, "DATA")
	}
	return smtp.NewReply(250, [3]int{2, 1, 5}, done)
}

// groups are the recipients that share no account with those of another
// group, by their places in t.legs. Two that do are one delivery with one
// fate, as on port 25: an account gets one copy.
func (t *transaction) groups() [][]int {
	var groups [][]int
	for i := range t.legs {
		group := []int{i}
		groups = slices.DeleteFunc(groups, func(other []int) bool {
			if !slices.ContainsFunc(other, func(j int) bool { return t.legs[i].meets(t.legs[j]) }) {
				return false
			}
			group = append(group, other...)
			return true
		})
		slices.Sort(group)
		groups = append(groups, group)
	}
	return groups
}

// meets reports whether two transactions lead to the same account, or through
// the same alias to others.
func (t *transaction) meets(other *transaction) bool {
	for _, a := range t.local {
		for _, b := range other.local {
			if a.Target.Account == b.Target.Account {
				return true
			}
		}
	}
	return len(t.away) > 0 && len(other.away) > 0 && strings.EqualFold(t.alias.String(), other.alias.String())
}

// appendAnswers appends the replies to a message, one for each recipient:
// those of the session, or the one that stands for all.
func (t *transaction) appendAnswers(dst []byte, one *smtp.Reply) []byte {
	for i, to := range t.env.To {
		reply := one
		if i < len(t.answers) {
			reply = t.answers[i]
		}
		named := *reply
		named.Text = to.Address.Path() + " " + reply.Text
		dst = appendReply(dst, &named)
	}
	return dst
}

// greetLMTP gives go-smtp the EHLO that it knows for LHLO, and refuses the two
// greetings that RFC 2033 4.1 forbids, and logins.
func (g *gate) greetLMTP(raw []byte) []byte {
	switch g.verb {
	case "LHLO":
		g.verb = "EHLO"
		return append([]byte("EHLO"), raw[len("LHLO"):]...)
	case "EHLO", "HELO":
		g.answer(replySayLHLO)
		return nil
	case "AUTH":
		g.answer(replyNoLogin)
		return nil
	}
	return raw
}

// inLMTP is a reply of go-smtp as LMTP has it.
func inLMTP(reply []byte) []byte {
	reply = bytes.Replace(reply, []byte(" ESMTP Service Ready"), []byte(" LMTP ready"), 1)
	return bytes.Replace(reply, []byte("say EHLO first"), []byte("say LHLO first"), 1)
}
