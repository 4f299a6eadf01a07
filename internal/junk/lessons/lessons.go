// Package lessons watches what people do with their junk, and has it learned: what
// they put into their junk mailbox, take out of it, or mark with $Junk and $NotJunk,
// by IMAP or with any other program that works on the Maildir.
//
// It looks at the times of two directories of each account every few seconds, and
// at the mailboxes only when these changed. So nobody has to tell it anything, and
// nobody waits for it.
package lessons

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"buzon/internal/junk"
	"buzon/maildir"
)

const (
	defaultInterval = 2 * time.Second
	// saveEvery is how often an account's memory, of a few MB, is written for
	// nothing but new mail.
	saveEvery = time.Minute
	// accountsPerSecond bounds what the looks of a large host cost.
	accountsPerSecond = 200
	// mostLessons bounds what is learned at one look, so that an import of years
	// of junk does not keep everybody else waiting. The newest are learned.
	mostLessons = 1000
	// mostRead bounds how many messages are opened at one look to find some that
	// the user has read and kept.
	mostRead = 300
)

// Config is what a Teacher is made of.
type Config struct {
	Store    *maildir.Store
	Library  *junk.Library
	Accounts func() []string // everybody, "ana@example.org"
	Log      *slog.Logger
	Interval time.Duration // between two looks at an account; default 2 s
}

// Teacher has learned what users show. Run may be called once; Train and Known are
// safe for concurrent use.
type Teacher struct {
	cfg  Config
	seen map[string]*pupil // of Run
}

// pupil is what Run remembers of an account; all of it may be lost.
type pupil struct {
	junkMailbox string
	junk, inbox maildir.Stamp
	unsettled   bool
	searched    map[string]maildir.UID // by mailbox: read mail was looked for down to here
	saved       time.Time
	unsaved     bool // there was a look since
}

// New returns a Teacher that does nothing yet.
func New(cfg Config) *Teacher {
	if cfg.Interval == 0 {
		cfg.Interval = defaultInterval
	}
	return &Teacher{cfg: cfg, seen: map[string]*pupil{}}
}

// Run looks at everybody again and again, until ctx ends.
func (t *Teacher) Run(ctx context.Context) error {
	for {
		ids := t.cfg.Accounts()
		for id := range t.seen {
			if !slices.Contains(ids, id) {
				delete(t.seen, id)
			}
		}
		for _, id := range ids {
			if err := t.visit(ctx, id); err != nil && ctx.Err() == nil {
				t.cfg.Log.Warn("cannot learn from the user's junk", "user", id, "err", err)
			}
			if !sleep(ctx, time.Second/accountsPerSecond) {
				return nil
			}
		}
		if !sleep(ctx, t.cfg.Interval) {
			return nil
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// visit looks at an account when something changed there.
func (t *Teacher) visit(ctx context.Context, id string) error {
	p := t.seen[id]
	if p == nil {
		p = &pupil{junkMailbox: "Junk", unsettled: true, searched: map[string]maildir.UID{}}
		t.seen[id] = p
	}
	now := time.Now()
	inbox, err := t.cfg.Store.Stamp(id, "INBOX")
	if errors.Is(err, maildir.ErrNotFound) {
		return t.expect(id) // there was never any mail
	}
	if err != nil {
		return err
	}
	box, err := t.cfg.Store.Stamp(id, p.junkMailbox)
	if err != nil && !errors.Is(err, maildir.ErrNotFound) {
		return err
	}
	if box == p.junk && inbox == p.inbox && !p.unsettled {
		return t.save(id, p, false)
	}
	l := &look{teacher: t, id: id, pupil: p, everywhere: box != p.junk || p.unsettled}
	if err := l.do(ctx); err != nil {
		return err
	}
	p.junk, p.inbox, p.unsettled = box, inbox, !box.SettledAt(now) || !inbox.SettledAt(now)
	return nil
}

// save writes an account's memory after a look: at once when there were lessons.
// How far a mailbox was looked at, which every delivery changes, may wait: who
// forgets it looks again, and learns nothing twice.
func (t *Teacher) save(id string, p *pupil, atOnce bool) error {
	if !p.unsaved || !atOnce && time.Since(p.saved) < saveEvery {
		return nil
	}
	p.saved, p.unsaved = time.Now(), false
	return t.cfg.Library.Save(id)
}

// Known is how many messages were learned of an account.
func (t *Teacher) Known(id string) (good, bad int, err error) {
	err = t.cfg.Library.With(id, func(m *junk.Memory) error {
		good, bad = m.Counts()
		return nil
	})
	return good, bad, err
}

// Watched reports whether what the account's user does is a lesson from now on: the
// first look has to be over.
func (t *Teacher) Watched(id string) (yes bool, err error) {
	err = t.cfg.Library.With(id, func(m *junk.Memory) error {
		yes = m.Watched()
		return nil
	})
	return yes, err
}

// expect has all that comes into an account without mail taken for lessons.
func (t *Teacher) expect(id string) error {
	err := t.cfg.Library.With(id, func(m *junk.Memory) error {
		if _, known := m.Place("Junk"); !known {
			m.SetPlace("Junk", junk.Place{})
		}
		return nil
	})
	if err != nil {
		return err
	}
	return t.cfg.Library.Save(id)
}

// junkMailbox is the one for junk (RFC 6154).
func junkMailbox(list []maildir.Info) string {
	for _, info := range list {
		if info.SpecialUse == `\Junk` {
			return info.Name
		}
	}
	return "Junk"
}

// teaches reports whether a mailbox is one that people keep mail in.
func teaches(info maildir.Info) bool {
	switch info.SpecialUse {
	case `\Junk`, `\Trash`, `\Drafts`, `\Sent`, `\All`:
		return false
	}
	return !info.NoSelect && !strings.EqualFold(info.Name, "Trash")
}

// keywordBits finds the two keywords that say what the user thinks, whatever their
// case; IANA registered them, NonJunk and Junk are Thunderbird's.
func keywordBits(names []string) (isJunk, notJunk maildir.KeywordSet) {
	for i, name := range names {
		switch strings.ToLower(name) {
		case "$junk", "junk":
			isJunk |= 1 << i
		case "$notjunk", "notjunk", "nonjunk":
			notJunk |= 1 << i
		}
	}
	return isJunk, notJunk
}

// opinion is what the keywords of a message say.
func opinion(k, isJunk, notJunk maildir.KeywordSet) junk.Class {
	switch {
	case k&notJunk != 0:
		return junk.Good
	case k&isJunk != 0:
		return junk.Junk
	}
	return junk.Unknown
}

func describe(id, mailbox string, err error) error {
	return fmt.Errorf("%.80q of %s: %w", mailbox, id, err)
}
