package mx

import (
	"fmt"

	"buzon/internal/smtp"
)

// failure is why an attempt, or one host's part of it, came to nothing. It
// speaks for every recipient that has no answer of its own.
type failure struct {
	reply *smtp.Reply // the peer's, or our words for the cause
	cause error       // nil when the peer gave the reply
	// stop: no other host shall be tried, because it could not do better or
	// because the message may have been taken already.
	stop bool
	// ours: the cause is on this side, and someone must act.
	ours bool

	host, remote, tls, policy string // as in smtp.Result
}

func (f *failure) Error() string {
	if f.cause == nil {
		return f.reply.Error()
	}
	return fmt.Sprintf("%s: %s", f.reply.Text, f.cause)
}

func (f *failure) Unwrap() error { return f.cause }

// temporary is a failure of ours to get an answer: status is its enhanced code
// (RFC 3463), the first digit apart.
func temporary(subject, detail int, text string, cause error) *failure {
	return &failure{reply: smtp.NewReply(451, [3]int{4, subject, detail}, text), cause: cause}
}

// permanent is a verdict of ours: trying again is of no use.
func permanent(code, subject, detail int, text string, cause error) *failure {
	return &failure{reply: smtp.NewReply(code, [3]int{5, subject, detail}, text), cause: cause}
}

// refused is the peer's no. A reply that is neither yes nor no is a breach of
// protocol, and only temporary.
func refused(r *smtp.Reply, phase string) *failure {
	if r.Temporary() || r.Permanent() {
		return &failure{reply: r}
	}
	return temporary(5, 0, "Protocol error of the other host", fmt.Errorf("%s answered with %s", phase, r))
}

// outweighs reports whether f says more about the attempt as a whole than
// before: as long as one host failed for the moment only, the message may
// still arrive; of equals the last one counts.
func (f *failure) outweighs(before *failure) bool {
	return before == nil || before.reply.Permanent() || f.reply.Temporary()
}
