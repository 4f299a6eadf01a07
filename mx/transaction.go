package mx

import (
	"fmt"
	"strings"
	"time"

	"buzon/internal/smtp"
)

const (
	// maxRecipients of one transaction: what every host takes, RFC 5321 4.5.3.1.8.
	maxRecipients = 100
	// maxGroup bounds the commands that are sent without reading, so that they
	// and their replies fit what lies between two sockets: a host that does not
	// read before its replies are read cannot lock us up. RFC 2920 3.1.
	maxGroup = 4 << 10
)

// transaction is one MAIL, its RCPTs and one DATA.
type transaction struct {
	s       *session
	content *content
	waited  bool // the session has waited for this
	reset   bool // RSET comes first
	mail    string
	rcpts   []string

	mailReply, dataReply *smtp.Reply
	accepted             []int // of rcpts: a yes to RCPT is worth nothing without the message

	// replies has each recipient's last word: nil where there is none, and
	// another host may be asked.
	replies []*smtp.Reply
	// taken says that the host took the message for somebody.
	taken bool
	// begun says that the message itself was sent, or a part of it.
	begun bool
}

func newTransaction(s *session, env smtp.Envelope, batch []int, c *content) *transaction {
	t := &transaction{s: s, content: c, mail: mailCommand(s, env, c), replies: make([]*smtp.Reply, len(batch))}
	// After a message that was taken none is due, but where a connection has
	// gone while it waited it is better to hear of it by this.
	t.waited, t.reset = s.waited, s.dirty || s.waited
	for _, i := range batch {
		t.rcpts = append(t.rcpts, "RCPT TO:<"+env.To[i].Address.String()+">"+rcptParams(s, env.To[i]))
	}
	return t
}

func mailCommand(s *session, env smtp.Envelope, c *content) string {
	var b strings.Builder
	b.WriteString("MAIL FROM:<" + env.From.String() + ">")
	if s.ext.size {
		fmt.Fprintf(&b, " SIZE=%d", c.octets)
	}
	if s.ext.eightBit && c.eightBit {
		b.WriteString(" BODY=8BITMIME")
	}
	if s.ext.utf8 && needsUTF8(env, c) {
		b.WriteString(" SMTPUTF8")
	}
	if s.ext.dsn && env.Return != "" {
		b.WriteString(" RET=" + env.Return)
	}
	if s.ext.dsn && env.EnvelopeID != "" {
		b.WriteString(" ENVID=" + xtext(env.EnvelopeID))
	}
	if s.ext.deliverBy && !env.By.IsZero() {
		fmt.Fprintf(&b, " BY=%d;%s", bySeconds(env.By, time.Now()), env.By.Mode())
	}
	if env.TLS == smtp.TLSRequired { // only to hosts that know it: attempt.fits
		b.WriteString(" REQUIRETLS")
	}
	return b.String()
}

// bySeconds is what is left of the time to deliver in, as the parameter takes it
// (RFC 2852 4): nine digits, and with R never less than one.
func bySeconds(by smtp.DeliverBy, now time.Time) int64 {
	const most = 999_999_999
	left := int64(by.At.Sub(now) / time.Second)
	if by.Return {
		left = max(left, 1)
	}
	return min(max(left, -most), most)
}

// rcptParams are what RFC 3461 4.1 and 4.2 want handed on.
func rcptParams(s *session, to smtp.Recipient) string {
	if !s.ext.dsn {
		return ""
	}
	var b strings.Builder
	if to.Notify != 0 {
		b.WriteString(" NOTIFY=" + to.Notify.String())
	}
	kind, address, ok := strings.Cut(to.Original, ";")
	switch {
	case ok && strings.EqualFold(kind, "utf-8"): // RFC 6533 3: it has an encoding of its own
		b.WriteString(" ORCPT=" + to.Original)
	case ok:
		b.WriteString(" ORCPT=" + kind + ";" + xtext(address))
	}
	return b.String()
}

// xtext encodes as RFC 3461 4 has it.
func xtext(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// run sends the transaction. A failure means that the session is of no more
// use and that recipients without a reply may be tried elsewhere.
func (t *transaction) run() *failure {
	t.s.dirty, t.s.waited, t.s.welcome = true, false, false
	t.s.messages++
	if f := t.envelope(); f != nil {
		return f
	}
	began := t.dataReply != nil && t.dataReply.Code == 354
	switch {
	case !t.mailReply.Is2xx():
		t.s.broken = began // with a message that would have no sender
		return t.answer(t.everyone(), t.mailReply, "MAIL")
	case len(t.accepted) == 0 && began:
		return t.sendNothing()
	case len(t.accepted) == 0:
		return nil
	case !began:
		return t.answer(t.accepted, t.dataReply, "DATA")
	}
	return t.body()
}

// stale reports whether the transaction has failed, with f, because of what
// became of its session while that waited. Then nothing has happened, and a
// new session tells more: whoever has had enough of one says so by 421, by
// closing, or by a passing no to MAIL.
func (t *transaction) stale(f *failure) bool {
	return t.waited && !t.begun && (f != nil || t.mailReply != nil && t.mailReply.Temporary())
}

// envelope sends RSET where it is due, MAIL, RCPT and DATA, in groups where the
// host pipelines, and reads all their replies.
func (t *transaction) envelope() *failure {
	var commands []string
	if t.reset {
		commands = append(commands, "RSET")
	}
	commands = append(append(append(commands, t.mail), t.rcpts...), "DATA")
	for first := 0; first < len(commands); {
		end := t.group(commands, first)
		if commands[first] == "DATA" && len(t.accepted) == 0 {
			return nil
		}
		for _, line := range commands[first:end] {
			if err := t.s.put(line); err != nil {
				return t.s.lost("envelope", err)
			}
		}
		if err := t.s.flush(); err != nil {
			return t.s.lost("envelope", err)
		}
		for n := first; n < end; n++ {
			if f := t.readReply(n, len(commands)); f != nil {
				return f
			}
		}
		if t.mailReply != nil && !t.mailReply.Is2xx() {
			return nil
		}
		first = end
	}
	return nil
}

// group returns the end of the group of commands that begins with first.
func (t *transaction) group(commands []string, first int) int {
	end := first + 1
	if !t.s.ext.pipelining {
		return end
	}
	for size := len(commands[first]); end < len(commands); end++ {
		if size += len(commands[end]) + 2; size > maxGroup {
			break
		}
	}
	return end
}

// readReply reads the reply to command n of total: RSET, MAIL, recipients, DATA.
func (t *transaction) readReply(n, total int) *failure {
	wait, phase := t.s.times.Envelope, "MAIL"
	rcpt := n - (total - len(t.rcpts) - 1)
	switch {
	case n == total-1:
		wait, phase = t.s.times.Data, "DATA"
	case rcpt >= 0:
		phase = "RCPT"
	case n == 0 && t.reset:
		phase = "RSET"
	}
	raw, err := t.s.read(wait)
	if err != nil {
		return t.s.lost(phase, err)
	}
	reply := raw.reply()
	if reply.Code == 421 {
		return refused(reply, phase)
	}
	switch phase {
	case "RSET":
		if !reply.Is2xx() {
			return refused(reply, phase)
		}
	case "MAIL":
		t.mailReply, t.s.welcome = reply, reply.Is2xx()
	case "DATA":
		t.dataReply = reply
	default:
		if reply.Code == 552 {
			// RFC 5321 4.5.3.1.10: hosts of old mean 452, too many recipients.
			reply = smtp.NewReply(452, [3]int{4, reply.Enhanced[1], reply.Enhanced[2]}, reply.Text)
		}
		switch {
		case reply.Is2xx():
			t.accepted = append(t.accepted, rcpt)
		case reply.Code/100 == 3:
			return t.s.lost(phase, fmt.Errorf("%w: %s", errProtocol, reply))
		default:
			t.replies[rcpt] = reply
		}
	}
	return nil
}

// tooMany reports a recipient that the host takes in another transaction.
func tooMany(r *smtp.Reply) bool {
	return r.Code == 452 && (r.Enhanced == [3]int{4, 5, 3} || r.Enhanced[1] == 0)
}

// everyone is every recipient, whatever a pipelining host said to their RCPT.
func (t *transaction) everyone() []int {
	list := make([]int, len(t.replies))
	for k := range list {
		list[k] = k
	}
	return list
}

// answer gives recipients the reply that ended the transaction.
func (t *transaction) answer(list []int, reply *smtp.Reply, phase string) *failure {
	if !reply.Temporary() && !reply.Permanent() {
		return t.s.lost(phase, fmt.Errorf("%w: %s", errProtocol, reply))
	}
	for _, k := range list {
		t.replies[k] = reply
	}
	return nil
}

// sendNothing ends a DATA that a pipelining host began without a recipient:
// RFC 2920 3.1 asks for an empty message, of which nothing can come.
func (t *transaction) sendNothing() *failure {
	t.begun = true
	if _, err := t.s.exchange(t.s.times.End, "."); err != nil {
		t.s.broken = true
	}
	return nil
}

// body sends the message and gives the accepted recipients the final reply.
func (t *transaction) body() *failure {
	const phase = "the end of the message"
	t.begun = true
	out := dotWriter{w: t.s.w}
	if err := t.s.flush(); err != nil { // nothing is buffered: only what came too early is found
		return t.s.lost("DATA", err)
	}
	if err := t.content.blocks(out.write); err != nil {
		return t.cut(err)
	}
	err := out.end() // from here on the host may have all of it
	var raw rawReply
	if err == nil {
		raw, err = t.s.read(t.s.times.End)
	}
	if err != nil {
		f := t.s.lost(phase, err)
		f.reply = smtp.NewReply(451, [3]int{4, 4, 2}, "The mail host did not say whether it took the message; it may arrive twice")
		f.stop = true // another host would make two of it for certain
		return f
	}
	reply := raw.reply()
	if reply.Code == 421 {
		return refused(reply, phase)
	}
	t.taken, t.s.dirty = reply.Is2xx(), false
	if t.taken {
		for _, k := range t.accepted {
			t.replies[k] = reply
		}
		return nil
	}
	f := t.answer(t.accepted, reply, phase)
	if f != nil {
		f.stop = true
	}
	return f
}

// cut ends the session in the middle of the message. A host that has heard
// enough may have said so before it closed.
func (t *transaction) cut(err error) *failure {
	t.s.broken = true // no final dot: half a message must not look like a whole one
	if t.s.writeErr == nil {
		f := temporary(3, 0, "The message cannot be read at the moment", err)
		f.stop, f.ours = true, true
		return f
	}
	raw, readErr := t.s.read(time.Second)
	if reply := raw.reply(); readErr == nil && reply.Code != 421 && (reply.Temporary() || reply.Permanent()) {
		return t.answer(t.accepted, reply, "the message")
	}
	return t.s.lost("the message", err)
}
