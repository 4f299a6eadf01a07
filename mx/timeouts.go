package mx

import "time"

// Timeouts are the longest waits of each phase. A zero field has the default,
// which is the minimum of RFC 5321 4.5.3.2 where that gives one: giving up
// sooner makes duplicates.
type Timeouts struct {
	Connect  time.Duration // TCP, for one address: 30 s
	TLS      time.Duration // the handshake: 1 min
	Greeting time.Duration // the banner, and EHLO: 5 min
	Envelope time.Duration // MAIL, RCPT, RSET, AUTH, STARTTLS: 5 min
	Data     time.Duration // the answer to DATA: 2 min
	Block    time.Duration // the peer's taking of 32 KiB: 3 min
	End      time.Duration // the answer to the final dot: 10 min
	Attempt  time.Duration // everything together: 1 h
}

// quitWait is for a courtesy: the message is delivered or not by then.
const quitWait = 2 * time.Second

func (t Timeouts) withDefaults() Timeouts {
	for _, field := range []struct {
		d       *time.Duration
		without time.Duration
	}{
		{&t.Connect, 30 * time.Second},
		{&t.TLS, time.Minute},
		{&t.Greeting, 5 * time.Minute},
		{&t.Envelope, 5 * time.Minute},
		{&t.Data, 2 * time.Minute},
		{&t.Block, 3 * time.Minute},
		{&t.End, 10 * time.Minute},
		{&t.Attempt, time.Hour},
	} {
		if *field.d <= 0 {
			*field.d = field.without
		}
	}
	return t
}
