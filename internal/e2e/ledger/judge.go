package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"
)

// A Verdict is what became of all that a host answered for.
type Verdict struct {
	Messages, Operations int // that were answered for
	Missing, Torn        []string
	// Doubled counts copies that nobody was told of. They are the work of commands
	// that died with the host, or of a queue that did; those that are not, are in
	// Wrong.
	Doubled int
	// Wrong is everything else: a UID, a flag or a mailbox that is not what was
	// answered, half of what must be whole, litter.
	Wrong []string
}

// Kept tells whether the host kept its word.
func (v *Verdict) Kept() bool { return len(v.Missing)+len(v.Torn)+len(v.Wrong) == 0 }

func (v *Verdict) String() string {
	return fmt.Sprintf("missing=%d torn=%d doubled=%d (all in flight)", len(v.Missing), len(v.Torn), v.Doubled)
}

// Details says what is wrong, line by line.
func (v *Verdict) Details() string {
	var b strings.Builder
	for what, all := range map[string][]string{"missing": v.Missing, "torn": v.Torn, "wrong": v.Wrong} {
		for _, one := range all[:min(len(all), 20)] {
			fmt.Fprintf(&b, "%s: %s\n", what, one)
		}
	}
	return b.String()
}

// An Account is where the messages of one user are to be looked for.
type Account struct {
	Mailbox            // how to log in; its Name is not used
	Mailboxes []string // all that writers and keepers use
	Maildir   string   // "": its disk is not looked at
}

// sighting is one copy that was found.
type sighting struct {
	Place
	sum string
}

// Judge compares what was answered for with what a fresh session shows, and with
// the files. Nobody may be working any more, and the queues must be empty.
func (l *Ledger) Judge(ctx context.Context, accounts []Account) (*Verdict, error) {
	v := &Verdict{Messages: len(l.Entries()), Operations: l.Operations()}
	for _, a := range accounts {
		shown, err := a.look(ctx, v)
		if err != nil {
			return nil, err
		}
		l.judge(v, a, shown, true)
		if a.Maildir == "" {
			continue
		}
		files, err := a.files()
		if err != nil {
			return nil, err
		}
		on := &Verdict{}
		l.judge(on, a, files, false)
		v.merge(on, "on disk: ")
	}
	return v, nil
}

func (v *Verdict) merge(o *Verdict, where string) {
	add := func(to *[]string, all []string) {
		for _, one := range all {
			*to = append(*to, where+one)
		}
	}
	add(&v.Missing, o.Missing)
	add(&v.Torn, o.Torn)
	add(&v.Wrong, o.Wrong)
}

// look is what a fresh session shows of all mailboxes.
func (a Account) look(ctx context.Context, v *Verdict) (map[string][]sighting, error) {
	shown := map[string][]sighting{}
	for _, name := range a.Mailboxes {
		m := a.Mailbox
		m.Name = name
		last := imap.UID(0)
		err := m.fetch(ctx, &imap.FetchItemBodySection{Peek: true}, func(uid imap.UID, flags []imap.Flag, raw string) {
			if uid <= last {
				v.Wrong = append(v.Wrong, fmt.Sprintf("%s %s: UID %d comes after %d", a.User, name, uid, last))
			}
			last = uid
			id, sum := identify(raw)
			shown[id] = append(shown[id], sighting{Place{name, uid, flagText(flags)}, sum})
		})
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", a.User, name, err)
		}
	}
	return shown, nil
}

// files is what is on disk of all mailboxes, without UIDs and flags.
func (a Account) files() (map[string][]sighting, error) {
	found := map[string][]sighting{}
	for _, name := range a.Mailboxes {
		dir := a.Maildir
		if name != "INBOX" {
			dir = filepath.Join(dir, "."+name)
		}
		for _, sub := range []string{"new", "cur"} {
			entries, err := os.ReadDir(filepath.Join(dir, sub))
			if err != nil {
				return nil, err
			}
			for _, e := range entries {
				raw, err := os.ReadFile(filepath.Join(dir, sub, e.Name()))
				if err != nil {
					return nil, err
				}
				id, sum := identify(string(raw))
				found[id] = append(found[id], sighting{Place{Mailbox: name, Flags: "?"}, sum})
			}
		}
	}
	return found, nil
}

func (l *Ledger) judge(v *Verdict, a Account, found map[string][]sighting, exact bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	groups := map[*Operation][2]int{} // messages on which it is not done, and done
	for _, f := range l.fates {
		if f.Account == a.User {
			f.judge(v, found[f.ID], exact, groups)
		}
	}
	for op, n := range groups {
		if op.Whole && n[0] > 0 && n[1] > 0 {
			v.Wrong = append(v.Wrong, fmt.Sprintf("%s: a %s of %d messages is done on %d", a.User, op.Name, n[0]+n[1], n[1]))
		}
	}
	for _, e := range l.entries {
		if e.Account != a.User {
			continue
		}
		there := found[e.ID]
		if slices.ContainsFunc(there, func(s sighting) bool { return s.sum != e.Sum }) {
			v.Torn = append(v.Torn, e.ID)
		}
		if l.fates[e.ID] != nil {
			continue
		}
		in := 0
		for _, s := range there {
			if s.Mailbox == e.Mailbox {
				in++
			}
		}
		switch {
		case in == 0:
			v.Missing = append(v.Missing, fmt.Sprintf("%s in %s of %s", e.ID, e.Mailbox, e.Account))
		case len(there) > 1 && e.Queued:
			v.Doubled += len(there) - 1
		case len(there) > 1:
			v.Wrong = append(v.Wrong, fmt.Sprintf("%s is there %d times", e.ID, len(there)))
		}
	}
}

// judge compares one message's copies with its fate.
func (f *Fate) judge(v *Verdict, there []sighting, exact bool, groups map[*Operation][2]int) {
	var places []Place
	for _, s := range there {
		places = append(places, s.Place)
		if f.Sum != "" && s.sum != f.Sum {
			v.Torn = append(v.Torn, f.ID)
		}
	}
	expected, next := f.Places, f.Next
	if !exact {
		expected, next = mailboxesOf(expected), mailboxesOf(next)
	}
	before, after := placesMatch(expected, places), f.InFlight != nil && placesMatch(next, places)
	if f.InFlight != nil && before != after {
		n := groups[f.InFlight]
		if after {
			n[1]++
		} else {
			n[0]++
		}
		groups[f.InFlight] = n
	}
	least := len(expected)
	if f.InFlight != nil {
		least = min(least, len(next))
	}
	switch {
	case before:
	case after:
		v.Doubled += max(0, len(places)-len(expected))
	case len(places) < least:
		v.Missing = append(v.Missing, f.explain(places))
	default:
		v.Wrong = append(v.Wrong, f.explain(places))
	}
}

func mailboxesOf(places []Place) (all []Place) {
	for _, p := range places {
		all = append(all, Place{Mailbox: p.Mailbox, Flags: "?"})
	}
	return all
}

func (f *Fate) explain(there []Place) string {
	s := fmt.Sprintf("%s of %s is at %v, was told to be at %v", f.ID, f.Account, there, f.Places)
	if f.InFlight != nil {
		s += fmt.Sprintf(", or after the %s in flight at %v", f.InFlight.Name, f.Next)
	}
	return s
}

// Litter finds what must not be left in a tree of mail after a crash, once all
// mailboxes were looked at: half-written files, locks, and what stands for an
// operation that was not completed.
func Litter(root string) (found []string, err error) {
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		name, parent := d.Name(), filepath.Base(filepath.Dir(path))
		message := parent == "cur" || parent == "new"
		if parent == "tmp" || !message && (strings.HasPrefix(name, "..") || strings.Contains(name, ".lock") || strings.HasSuffix(name, ".tmp")) {
			found = append(found, path)
		}
		return nil
	})
	return found, err
}
