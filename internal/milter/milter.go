// Package milter asks filters about messages while they come in, in the
// language that Sendmail gave to the world: rspamd, ClamAV, OpenDKIM and many
// others speak it. It knows the protocol (version 6, and down to 2), the order
// of several filters, what is done when one fails, and how a message looks
// after a filter has changed it. It does not know who sends a message, or where
// it goes.
//
// The protocol has no standard; the files milter-protocol.txt of Sendmail's
// and libmilter's mfdef.h are what everybody follows. Filters are programs of
// the house, and yet nothing that they say is believed: each answer has a
// time, a size and a form.
package milter

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"time"
)

// Failure says what becomes of mail when a filter cannot be asked.
type Failure string

// The failure policies.
const (
	AcceptOnFailure   Failure = "accept"   // as if the filter were not there
	TempfailOnFailure Failure = "tempfail" // the sender tries again later
	RejectOnFailure   Failure = "reject"
)

// Config describes one filter.
type Config struct {
	Name      string // for the log
	Network   string // "unix" or "tcp"
	Address   string
	Timeout   time.Duration // for each answer; 30 s when zero
	OnFailure Failure       // TempfailOnFailure when ""
	MaxSize   int64         // larger messages are not shown to it; 0: no limit
}

// A Filter is a program that has an opinion on messages. It is safe for
// concurrent use.
type Filter struct{ cfg Config }

const defaultTimeout = 30 * time.Second

// New returns a Filter that nobody has connected to.
func New(cfg Config) *Filter {
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.OnFailure == "" {
		cfg.OnFailure = TempfailOnFailure
	}
	return &Filter{cfg}
}

// Commands (SMFIC_).
const (
	cmdNegotiate = 'O'
	cmdMacros    = 'D'
	cmdConnect   = 'C'
	cmdHelo      = 'H'
	cmdMail      = 'M'
	cmdRcpt      = 'R'
	cmdData      = 'T'
	cmdHeader    = 'L'
	cmdEndHeader = 'N'
	cmdBody      = 'B'
	cmdEnd       = 'E'
	cmdAbort     = 'A'
	cmdQuit      = 'Q'
)

// What a filter says it may do (SMFIF_).
const (
	mayAddHeaders = 1 << iota
	mayChangeBody
	mayAddRcpt
	mayDeleteRcpt
	mayChangeHeaders
	mayQuarantine
	mayChangeFrom
	mayAddRcptWithArgs

	allActions = 1<<iota - 1
)

// What a filter does not want to see, and where it does not answer (SMFIP_).
const (
	noConnect = 1 << iota
	noHelo
	noMail
	noRcpt
	noBody
	noHeaders
	noEndOfHeader
	silentHeader
	noUnknown
	noData
	canSkip
	wantsRefusedRcpt
	silentConnect
	silentHelo
	silentMail
	silentRcpt
	silentData
	silentUnknown
	silentEndOfHeader
	silentBody
	leadingSpace

	allSteps = (1<<iota - 1) &^ wantsRefusedRcpt
)

const (
	version      = 6
	leastVersion = 2 // of Sendmail 8.12
	dataVersion  = 4 // the first that knows DATA
)

// session is one connection to a filter, which has seen one of ours.
type session struct {
	*wire
	version, actions, steps uint32
}

// open connects to the filter and agrees with it on what is said. An end of
// ctx ends the session.
func (f *Filter) open(ctx context.Context) (*session, error) {
	dialer := net.Dialer{Timeout: f.cfg.Timeout}
	conn, err := dialer.DialContext(ctx, f.cfg.Network, f.cfg.Address)
	if err != nil {
		return nil, err
	}
	s := &session{wire: newWire(ctx, conn, f.cfg.Timeout)}
	if err := s.negotiate(); err != nil {
		s.close()
		return nil, fmt.Errorf("negotiate: %w", err)
	}
	return s, nil
}

func (s *session) negotiate() error {
	var offer [12]byte
	binary.BigEndian.PutUint32(offer[0:], version)
	binary.BigEndian.PutUint32(offer[4:], allActions)
	binary.BigEndian.PutUint32(offer[8:], allSteps)
	err := s.write(cmdNegotiate, offer[:])
	if err == nil {
		err = s.flush()
	}
	if err != nil {
		return err
	}
	code, data, err := s.answer(s.patience())
	switch {
	case err != nil:
		return err
	case code != cmdNegotiate || len(data) < len(offer):
		return nonsense("answer %q to the offer", code)
	}
	s.version = binary.BigEndian.Uint32(data[0:])
	s.actions = binary.BigEndian.Uint32(data[4:])
	// What was not offered is not done, whatever it asks for.
	s.steps = binary.BigEndian.Uint32(data[8:]) & allSteps
	switch {
	case s.version < leastVersion || s.version > version:
		return nonsense("version %d", s.version)
	case s.actions&^allActions != 0:
		return nonsense("it wants to do what was not offered: %#x", s.actions)
	}
	return nil
}

// quit ends the session politely; nobody waits for an answer.
func (s *session) quit() {
	if s.write(cmdQuit) == nil {
		s.flush()
	}
	s.close()
}
