// Package sieve runs the filters that a user writes for incoming mail: the
// Sieve language (RFC 5228) and the extensions that Extensions lists.
//
// A script is compiled once and run for each message. Running it does nothing
// but say what is to be done: the Outcome. Scripts are foreign input: compiling
// and running hold to the limits of limits.go, and end.
package sieve

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"buzon/internal/smtp"
)

// Extensions are the names that a script may require, sorted. A ManageSieve
// server shows them as its SIEVE capability (RFC 5804 1.7).
func Extensions() []string {
	return slices.Clone(extensions)
}

var extensions = []string{
	"body", "comparator-i;ascii-casemap", "comparator-i;ascii-numeric", "comparator-i;octet", "comparator-i;unicode-casemap",
	"copy", "date", "duplicate", "editheader", "encoded-character", "envelope", "environment", "ereject", "fileinto", "imap4flags",
	"index", "mailbox", "regex", "reject", "relational", "spamtest", "spamtestplus", "special-use", "subaddress", "vacation",
	"vacation-seconds", "variables",
}

// Error says what is wrong with a script, and where. Its text is for the
// person who wrote it.
type Error struct {
	Line int // from 1
	Text string
}

func (e *Error) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Text) }

// Script is a compiled script. It may be run by several goroutines.
type Script struct {
	requires map[string]bool
	steps    []step
}

// Compile reads a script in UTF-8. The error is an *Error.
func Compile(source []byte) (*Script, error) {
	nodes, err := parse(source)
	if err != nil {
		return nil, err
	}
	c := &compiler{requires: map[string]bool{}}
	steps, err := c.program(nodes)
	if err != nil {
		return nil, err
	}
	return &Script{requires: c.requires, steps: steps}, nil
}

// Requires reports whether the script requires an extension.
func (s *Script) Requires(extension string) bool { return s.requires[extension] }

// Refuses reports whether the script may reject messages. One message for
// several such recipients cannot be answered with one reply.
func (s *Script) Refuses() bool { return s.requires["reject"] || s.requires["ereject"] }

// Mailboxes answers what a script may ask about the user's mailboxes.
type Mailboxes interface {
	// Exists reports whether messages can be put into the mailbox.
	Exists(ctx context.Context, name string) bool
	// WithUse returns the mailbox that has the special use (RFC 6154), as
	// `\Junk`, or "".
	WithUse(ctx context.Context, use string) string
}

// Environment is what a script may know beside the message.
type Environment struct {
	From smtp.Address // reverse-path
	To   smtp.Address // forward-path, as in RCPT
	Auth string       // who authenticated to send the message, or ""

	Owns      func(smtp.Address) bool // whether an address is the user's own; nil: only To
	Separator string                  // between user and detail; "" is "+"
	Mailboxes Mailboxes               // nil: every mailbox exists and none has a use
	// Known reports whether key is still remembered from an earlier message:
	// see Outcome.Remember. nil: nothing is.
	Known func(key string) bool

	Spam Spam
	Host string // our name
	// RemoteIP and RemoteHost are the client's, "" where unknown (RFC 5183).
	RemoteIP, RemoteHost string

	Now time.Time // with the zone of the user
}

// Spam is what a spam filter thinks of the message (RFC 5235).
type Spam struct {
	Tested  bool
	Percent int // 0, surely not, to 100, surely
}

// Outcome is what a script wants done, in the order in which it said so. A
// message that is neither filed nor redirected nor rejected is to be thrown away.
type Outcome struct {
	Filings   []Filing
	Redirects []Redirect
	Rejection *Rejection // then there is nothing else
	Vacation  *Vacation
	// Remember are keys that Environment.Known must report from now on, and
	// for how long: messages seen by the duplicate test (RFC 7352), vacation
	// notices sent (RFC 5230 4.2).
	Remember []Memory
}

// Memory is a key and how long it is to be known.
type Memory struct {
	Key string
	For time.Duration
}

// Filing puts a copy into a mailbox.
type Filing struct {
	Mailbox string // in UTF-8 as the script has it; "" is where mail goes by default
	Create  bool   // make it where it is missing (RFC 5490 3.2)
	Flags   []string
	Header  []byte // what stands up to and with the first empty line (RFC 5293); nil: as it came
}

// Redirect sends the message on (RFC 5228 4.2).
type Redirect struct {
	To     smtp.Address
	Header []byte // see Filing
}

// Rejection refuses the message (RFC 5429).
type Rejection struct {
	Reason string
	// Extended is ereject: the refusal must be an SMTP reply where it can be.
	Extended bool
}

// ErrLimit is wrapped by the error of a run that asked for too much.
var ErrLimit = errors.New("script exceeds a limit")

// Run runs the script for one message. After an error the Outcome is the one
// that loses nothing: the message is kept (RFC 5228 2.10.6).
func (s *Script) Run(ctx context.Context, m Message, env Environment) (Outcome, error) {
	r, err := newRun(ctx, s, m, env)
	if err == nil {
		err = r.do(s.steps)
	}
	if errors.Is(err, errStop) {
		err = nil
	}
	if err == nil {
		err = r.finish()
	}
	if err != nil {
		return Outcome{Filings: []Filing{{}}}, err
	}
	return r.outcome, nil
}
