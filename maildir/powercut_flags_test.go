package maildir

import (
	"context"
	"fmt"
)

// flagScenarios change the names of messages' files: STORE, keywords, and what other programs rename.
var flagScenarios = []scenario{
	{
		name:  "NewBase", // another program renames, we write the list again
		setup: func(w *world) error { return w.fill("INBOX", "a", "b", "c") },
		run: func(w *world) error {
			return w.with("INBOX", func(m *Mailbox) error {
				s := m.State()
				base, in, _ := s.file(1)
				if err := m.dir.cur.Rename(base+in.raw, m.dir.cur, base+",U=7"+in.raw); err != nil {
					return err
				}
				if err := m.dir.cur.Sync(); err != nil { // as mbsync does
					return err
				}
				return w.learn(m)
			})
		},
		check: func(w *world, done bool, ids map[string][]string) error {
			if err := same(ids["INBOX"], "a", "b", "c"); !done {
				// Cut between the rename and the list the UID may be lost, not the message.
				return noDoubles(ids["INBOX"])
			} else {
				return err
			}
		},
	},
	{
		name:  "TestCase32Store",
		setup: func(w *world) error { return w.fill("INBOX", "a", "b", "c") },
		run: func(w *world) error {
			return w.with("INBOX", func(m *Mailbox) error {
				if _, err := m.Store(context.Background(), []UID{1, 2}, Change{Op: Add, Flags: FlagFlagged}); err != nil {
					return err
				}
				err := w.commit(m)
				w.flagged = w.modseq["INBOX"]
				return err
			})
		},
		check: func(w *world, done bool, ids map[string][]string) error {
			// The client was told F with a modseq. If the rename was lost, the old
			// flags must come with a higher one.
			return w.with("INBOX", func(m *Mailbox) error {
				s := m.State()
				for i := range s.Len() {
					msg := s.Message(i)
					if done && msg.UID != 3 && msg.Flags&FlagFlagged == 0 && msg.ModSeq <= w.flagged {
						return fmt.Errorf("UID %d lost its flag under modseq %d", msg.UID, msg.ModSeq)
					}
				}
				return same(ids["INBOX"], "a", "b", "c")
			})
		},
	},
	{
		name:  "TestCase33NewKeyword",
		setup: func(w *world) error { return w.fill("INBOX", "a", "b") },
		run: func(w *world) error {
			return w.with("INBOX", func(m *Mailbox) error {
				_, err := m.Store(context.Background(), []UID{1, 2}, Change{Op: Add, Keywords: []string{"One", "Two"}})
				return err
			})
		},
		check: func(w *world, done bool, ids map[string][]string) error {
			return w.with("INBOX", func(m *Mailbox) error {
				s := m.State()
				for i := range s.Len() {
					if _, in, _ := s.file(i); in.letters&^s.keywords.named() != 0 {
						return fmt.Errorf("letters %b without a name", in.letters)
					}
				}
				return same(ids["INBOX"], "a", "b")
			})
		},
	},
}
