package queue

import (
	"strconv"
	"strings"
	"time"

	"buzon/internal/smtp"
)

// A state file says how far a message has come, one block a recipient, in the
// envelope's order:
//
//	buzon-state 1
//	queued 2026-11-22T03:17:18.123Z
//	held
//	recipient <luis@example.org>
//	status waiting
//	attempts 3
//	next 2026-11-22T05:17:18.000Z
//	warned
//	last 2026-11-22T04:37:02.000Z
//	host mx.example.org
//	reply 451 4.3.0 "try later"
//
// A message without a state file has never been attempted to the end.
const stateMagic = "buzon-state 1"

// Status is where a recipient of a queued message stands.
type Status string

// The states of a recipient. Delivered and bounced are final; a message whose
// recipients are all final leaves the spool.
const (
	Waiting   Status = "waiting"   // for the next attempt
	Delivered Status = "delivered" // the host took the message
	Relayed   Status = "relayed"   // delivered, and the sender's notice is not made yet
	Failed    Status = "failed"    // for good, and the sender's notice is not made yet
	Bounced   Status = "bounced"   // failed, and the notice is in the spool or not wanted
)

// state is the contents of a state file.
type state struct {
	// Queued is the head's, repeated so that a start need not read the head of
	// what was attempted before; zero in files of an earlier version.
	Queued     time.Time
	By         smtp.DeliverBy // the head's, for the same reason
	saved      bool           // it is on the disk, in this form or an earlier one
	Held       bool
	Recipients []recipient // as in the head, in the same order
}

// recipient is one recipient's progress.
type recipient struct {
	Address  smtp.Address
	Status   Status
	Attempts int       // that have ended
	Next     time.Time // of the next one; zero: at once
	Warned   bool      // the sender was told that it takes long
	Last     outcome
}

// outcome is how the latest attempt ended for a recipient.
type outcome struct {
	At    time.Time   // zero: there was none
	Host  string      // that was tried, or ""
	Reply *smtp.Reply // what it said, or where Cause is given, the Sender's words for that; or nil
	Cause string      // why the host has not answered; "" when it has
}

// answered reports whether the reply is a host's.
func (o *outcome) answered() bool { return o.Reply != nil && o.Cause == "" }

// String is the outcome on one line.
func (o *outcome) String() string {
	switch {
	case o.Reply == nil:
		return o.Cause
	case o.Cause == "":
		return o.Reply.Error()
	}
	return o.Reply.Error() + ": " + o.Cause
}

// newState is the state of a message that was never attempted.
func newState(h head) *state {
	st := &state{Queued: h.Queued, By: h.Envelope.By, Held: h.Envelope.Held, Recipients: make([]recipient, len(h.Envelope.To))}
	for i, r := range h.Envelope.To {
		st.Recipients[i] = recipient{Address: r.Address, Status: Waiting, Next: h.Envelope.NotBefore}
	}
	return st
}

// settled reports whether every recipient is final.
func (st *state) settled() bool {
	for i := range st.Recipients {
		if s := st.Recipients[i].Status; s != Delivered && s != Bounced {
			return false
		}
	}
	return true
}

// owes reports whether a notice has still to be made.
func (st *state) owes() bool {
	for i := range st.Recipients {
		if s := st.Recipients[i].Status; s == Failed || s == Relayed {
			return true
		}
	}
	return false
}

// matches reports whether st belongs to h.
func (st *state) matches(h head) bool {
	if len(st.Recipients) != len(h.Envelope.To) || !st.Queued.IsZero() && !st.Queued.Equal(h.Queued) {
		return false
	}
	for i, r := range h.Envelope.To {
		if st.Recipients[i].Address != r.Address {
			return false
		}
	}
	return true
}

func (st *state) format() []byte {
	var w lineWriter
	w.line(stateMagic)
	if !st.Queued.IsZero() {
		w.field("queued", st.Queued.Format(timeFormat))
	}
	if !st.By.IsZero() {
		w.field("deliver-by", formatBy(st.By))
	}
	if st.Held {
		w.line("held")
	}
	for i := range st.Recipients {
		st.Recipients[i].format(&w)
	}
	return w.buf
}

func (r *recipient) format(w *lineWriter) {
	w.field("recipient", r.Address.Path())
	w.field("status", string(r.Status))
	if r.Attempts > 0 {
		w.field("attempts", strconv.Itoa(r.Attempts))
	}
	if !r.Next.IsZero() {
		w.field("next", r.Next.Format(timeFormat))
	}
	if r.Warned {
		w.line("warned")
	}
	if !r.Last.At.IsZero() {
		w.field("last", r.Last.At.Format(timeFormat))
	}
	if r.Last.Host != "" {
		w.field("host", strconv.Quote(r.Last.Host))
	}
	if a := r.Last.Reply; a != nil {
		w.field("reply", strconv.Itoa(a.Code)+" "+formatEnhanced(a.Enhanced)+" "+strconv.Quote(a.Text))
	}
	if r.Last.Cause != "" {
		w.field("cause", strconv.Quote(r.Last.Cause))
	}
}

func parseState(text string) (*state, error) {
	st := new(state)
	err := eachField(text, stateMagic, "\n", func(key, value string) (err error) {
		switch r := last(st.Recipients); {
		case key == "recipient":
			a, err := smtp.ParsePath(value)
			st.Recipients = append(st.Recipients, recipient{Address: a})
			return err
		case r != nil:
			return r.parse(key, value)
		case key == "queued":
			st.Queued, err = time.Parse(timeFormat, value)
			return err
		case key == "deliver-by":
			st.By, err = parseBy(value)
			return err
		case key == "held":
			st.Held = true
			return nil
		}
		return damaged("unknown key %q", key)
	})
	switch {
	case err != nil:
		return nil, err
	case len(st.Recipients) == 0:
		return nil, damaged("no recipient")
	case string(st.format()) != text:
		return nil, damaged("fields are doubled, missing or out of order")
	}
	return st, nil
}

func (r *recipient) parse(key, value string) (err error) {
	switch key {
	case "status":
		r.Status = Status(value)
		switch r.Status {
		case Waiting, Delivered, Relayed, Failed, Bounced:
		default:
			err = damaged("status %q", value)
		}
	case "attempts":
		r.Attempts, err = strconv.Atoi(value)
	case "next":
		r.Next, err = time.Parse(timeFormat, value)
	case "warned":
		r.Warned = true
	case "last":
		r.Last.At, err = time.Parse(timeFormat, value)
	case "host":
		r.Last.Host, err = strconv.Unquote(value)
	case "reply":
		r.Last.Reply, err = parseReply(value)
	case "cause":
		r.Last.Cause, err = strconv.Unquote(value)
	default:
		err = damaged("unknown key %q", key)
	}
	return err
}

func formatEnhanced(e [3]int) string {
	return strconv.Itoa(e[0]) + "." + strconv.Itoa(e[1]) + "." + strconv.Itoa(e[2])
}

func parseReply(s string) (*smtp.Reply, error) {
	code, rest, _ := strings.Cut(s, " ")
	enhanced, text, _ := strings.Cut(rest, " ")
	var r smtp.Reply
	var err error
	if r.Code, err = strconv.Atoi(code); err != nil {
		return nil, err
	}
	parts := strings.Split(enhanced, ".")
	if len(parts) != len(r.Enhanced) {
		return nil, damaged("reply %q", s)
	}
	for i, p := range parts {
		if r.Enhanced[i], err = strconv.Atoi(p); err != nil {
			return nil, err
		}
	}
	if r.Text, err = strconv.Unquote(text); err != nil {
		return nil, err
	}
	return &r, nil
}
