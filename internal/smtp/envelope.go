package smtp

import (
	"strings"
	"time"
)

// Envelope is what MAIL and RCPT said of a message (RFC 5321 2.3.1).
type Envelope struct {
	ID       string // the queue's name for the message in logs; "" before it has one
	From     Address
	To       []Recipient
	UTF8     bool  // SMTPUTF8 was asked for (RFC 6531)
	EightBit bool  // BODY=8BITMIME was said (RFC 6152)
	Size     int64 // SIZE as announced (RFC 1870), 0: not said
	TLS      TLSNeed

	// Held messages wait in the queue until somebody releases them.
	Held bool
	// By is when the message should be where it goes (RFC 2852).
	By DeliverBy
	// NotBefore is when the message may leave (RFC 4865); zero: at once.
	NotBefore time.Time

	// RFC 3461 4.3 and 4.4, as given, decoded.
	EnvelopeID string // ENVID
	Return     string // RET: "FULL", "HDRS" or ""
}

// DeliverBy is what the sender wants to happen at a time if the message has not
// arrived by then (RFC 2852). Zero is no such wish.
type DeliverBy struct {
	At     time.Time // no fractions of a second
	Return bool      // mode R: give up. Otherwise mode N: tell the sender, and go on
	Trace  bool      // tell the sender of each host that it was handed to
}

// IsZero reports whether nothing was asked for.
func (d DeliverBy) IsZero() bool { return d.At.IsZero() }

// Passed reports whether the message is to be returned now.
func (d DeliverBy) Passed(now time.Time) bool { return d.Return && !d.IsZero() && !now.Before(d.At) }

// Mode is by-mode and by-trace as they stand in the parameter.
func (d DeliverBy) Mode() string {
	mode := "N"
	if d.Return {
		mode = "R"
	}
	if d.Trace {
		mode += "T"
	}
	return mode
}

// TLSNeed is what the sender of a message wants of TLS on its way (RFC 8689).
type TLSNeed string

const (
	TLSAsUsual  TLSNeed = ""         // what the recipient's domain wants
	TLSRequired TLSNeed = "require"  // REQUIRETLS was said: verified TLS on every hop, or no delivery
	TLSOptional TLSNeed = "optional" // "TLS-Required: No": rather without TLS than not at all
)

// Recipient is one forward-path with its delivery status parameters.
type Recipient struct {
	Address  Address
	Original string // ORCPT as given (RFC 3461 4.2): "rfc822;a@b", or ""
	Notify   Notify // NOTIFY (RFC 3461 4.1)
}

// Notify says when a sender wants to hear of a recipient. Zero is the
// default of RFC 3461: on failure, and on delay where we see fit.
type Notify uint8

// The values of NOTIFY; NotifyNever stands alone.
const (
	NotifySuccess Notify = 1 << iota
	NotifyFailure
	NotifyDelay
	NotifyNever
)

var notifyWords = [...]struct {
	notify Notify
	word   string
}{{NotifyNever, "NEVER"}, {NotifySuccess, "SUCCESS"}, {NotifyFailure, "FAILURE"}, {NotifyDelay, "DELAY"}}

// String is the value of NOTIFY as it stands on the wire.
func (n Notify) String() string {
	var words []string
	for _, w := range notifyWords {
		if n&w.notify != 0 {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, ",")
}

// Result is the outcome of one attempt for one recipient.
type Result struct {
	Recipient Address
	Reply     *Reply // what the host said; nil when it said nothing
	Host      string // name of the host that was spoken to, or ""
	Remote    string // its address and port, or ""
	TLS       string // version and cipher suite, or "" for none
	KnowsBy   bool   // the host obeys DELIVERBY
	Notifies  bool   // the host tells the sender what becomes of it, as NOTIFY asks
	Policy    string // the TLS policy that was in force: "none", "mta-sts", "dane", …; "" where it was not asked for
	Err       error  // the cause when there is no reply
}

// Done reports whether the recipient's host took the message.
func (r Result) Done() bool { return r.Reply != nil && r.Reply.Is2xx() }

// Permanent reports whether the attempt failed for good.
func (r Result) Permanent() bool { return r.Reply != nil && r.Reply.Permanent() }

// Temporary reports whether another attempt makes sense: everything that is
// neither done nor refused for good, silence included.
func (r Result) Temporary() bool { return !r.Done() && !r.Permanent() }
