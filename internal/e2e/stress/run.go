// Package stress holds an IMAP server to what RFC 9051 and RFC 7162 promise each client, while many connections do everything at random in
// the same mailboxes, and a program beside the server renames, adds and deletes files. It knows nothing of the server but its protocol and,
// for the program beside it, its Maildir: any server can be put to it.
package stress

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// Config says what is tested, and for how long.
type Config struct {
	Dial           func() (net.Conn, error) // the greeting not read yet
	User, Password string
	Tree           string // the account's Maildir; "" leaves the disk alone
	Connections    int    // at least 2
	Duration       time.Duration
	Seed           uint64
}

// Report is what a run has done and found.
type Report struct {
	Commands   int // answered
	Outside    int // changes that the program beside the server made
	Messages   int // in the end, in all mailboxes
	Violations []string
}

// boxes are the mailboxes where everything happens. With two, messages can be copied and moved.
var boxes = []string{"INBOX", "Stress"}

type run struct {
	Config
	facts facts
}

// Run puts the server under stress and returns what it did wrong. The error is about the run itself.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	r := &run{Config: cfg, facts: newFacts()}
	sessions := make([]*session, cfg.Connections)
	for i := range sessions {
		s, err := r.session(i)
		if err != nil {
			return nil, fmt.Errorf("connection %d: %w", i, err)
		}
		defer func() { s.conn.Close() }()
		sessions[i] = s
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Duration)
	defer cancel()
	report := &Report{}
	var working, beside sync.WaitGroup
	for _, s := range sessions {
		working.Go(func() { s.work(ctx) })
	}
	outside := &outside{run: r, random: rand.New(rand.NewPCG(cfg.Seed, 1<<32))}
	if cfg.Tree != "" {
		beside.Go(func() { report.Outside = outside.work(ctx) })
	}
	working.Wait()
	beside.Wait()
	if !r.facts.failed() {
		report.Messages = r.compare(sessions)
	}
	for _, s := range sessions {
		report.Commands += s.commands
	}
	report.Violations = r.facts.violations
	return report, nil
}

// work does things at random until ctx ends.
func (s *session) work(ctx context.Context) {
	for ctx.Err() == nil && !s.facts.failed() {
		if err := s.step(); err != nil {
			s.report(err)
			return
		}
	}
}

// compare lets everyone look once more when nothing moves: what each session was told bit by bit, what a fresh one sees, and the disk must
// be the same.
func (r *run) compare(sessions []*session) (messages int) {
	truth := map[string]*view{}
	last, err := r.session(len(sessions))
	if err != nil {
		r.facts.violate("last connection: %v", err)
		return 0
	}
	defer last.conn.Close()
	for _, box := range boxes {
		if err := errors.Join(last.open(box, false), last.fetchBodies()); err != nil {
			last.report(err)
			return 0
		}
		truth[box] = last.view
		messages += len(last.view.uids)
		if r.Tree != "" {
			r.compareDisk(last)
		}
	}
	for _, s := range sessions {
		if err := s.settle(); err != nil {
			s.report(err)
			continue
		}
		if diff := s.view.differs(truth[s.view.box]); diff != "" {
			s.report(violation("in the end: %s", diff))
		}
		if err := s.compareRecent(); err != nil {
			s.report(err)
		}
		for _, box := range boxes {
			s.compareOwn(truth[box])
		}
	}
	return messages
}

// compareRecent holds the last RECENT against the messages that are \Recent (RFC 3501 7.3.2).
func (s *session) compareRecent() error {
	v := s.view
	if v.readOnly || len(v.uids) == 0 {
		return nil
	}
	s.search = nil
	if err := s.must("SEARCH RECENT"); err != nil {
		return err
	}
	if len(s.search) != v.recent {
		return violation("RECENT was %d last, and %d messages are \\Recent", v.recent, len(s.search))
	}
	return nil
}

// compareOwn holds the flags that only s sets and takes away against the truth.
func (s *session) compareOwn(v *view) {
	for uid, set := range s.own[v.box] {
		flags, live := v.flags[uid]
		if live && set != slices.Contains(strings.Fields(flags), s.keyword()) {
			s.report(violation("%s %d: keyword %s was set to %v, the flags are %s", v.box, uid, s.keyword(), set, flags))
		}
	}
}

func (r *run) compareDisk(s *session) {
	files, err := readTree(r.Tree, s.view.box)
	if err != nil {
		r.facts.violate("read the disk: %v", err)
		return
	}
	var served [][sha256.Size]byte
	for _, uid := range s.view.uids {
		served = append(served, r.facts.content[message{s.view.box, s.view.validity, uid}])
	}
	byBytes := func(a, b [sha256.Size]byte) int { return slices.Compare(a[:], b[:]) }
	slices.SortFunc(files, byBytes)
	slices.SortFunc(served, byBytes)
	if !slices.Equal(files, served) {
		s.report(violation("%s: %d messages are served, and not the same %d are on the disk", s.view.box, len(served), len(files)))
	}
}
