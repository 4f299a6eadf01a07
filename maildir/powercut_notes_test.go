package maildir

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// noteScenarios are those about the small files beside the messages, and about
// control files that are written anew.
var noteScenarios = []scenario{
	{
		name: "TestCase36RenameOne",
		setup: func(w *world) error {
			if err := w.user.Create(context.Background(), "A", ""); err != nil {
				return err
			}
			return w.fill("A", "a")
		},
		run: func(w *world) error {
			delete(w.told, "A")
			delete(w.validity, "A")
			return w.user.Rename(context.Background(), "A", "Z/Y")
		},
		check: func(w *world, done bool, ids map[string][]string) error {
			if old, now := len(ids["A"]), len(ids["Z/Y"]); old+now != 1 || done && now != 1 {
				return fmt.Errorf("%d messages under the old name, %d under the new one", old, now)
			}
			return nil
		},
	},
	{
		// The 27th keyword has no letter.
		name: "TestCase33KeywordWithoutLetter",
		setup: func(w *world) error {
			if err := w.fill("INBOX", "a", "b"); err != nil {
				return err
			}
			return w.with("INBOX", func(m *Mailbox) error {
				var names []string
				for i := range letterKeywords {
					names = append(names, fmt.Sprint("Letter", i))
				}
				if _, err := m.Store(context.Background(), []UID{1}, Change{Op: Add, Keywords: names}); err != nil {
					return err
				}
				return w.commit(m)
			})
		},
		run: func(w *world) error {
			return w.with("INBOX", func(m *Mailbox) error {
				if _, err := m.Store(context.Background(), []UID{2}, Change{Op: Add, Keywords: []string{"Extra"}}); err != nil {
					return err
				}
				return w.commit(m)
			})
		},
		check: func(w *world, done bool, ids map[string][]string) error {
			return w.with("INBOX", func(m *Mailbox) error {
				s := m.State()
				i, _ := s.Find(2)
				if has := slices.Contains(s.keywords.names(s.Message(i).Keywords), "Extra"); done && !has {
					return errors.New("the keyword is lost")
				}
				return same(ids["INBOX"], "a", "b")
			})
		},
	},
	{
		// They are taken away from one, given to another, and nobody waits until it is durable.
		name: "TestCase33KeywordsWithoutLetterAtOnce",
		setup: func(w *world) error {
			if err := w.fill("INBOX", "a", "b", "c"); err != nil {
				return err
			}
			return w.with("INBOX", func(m *Mailbox) error {
				var names []string
				for i := range letterKeywords + 2 {
					names = append(names, fmt.Sprint("Keyword", i))
				}
				if _, err := m.Store(context.Background(), []UID{1, 3}, Change{Op: Add, Keywords: names}); err != nil {
					return err
				}
				return w.commit(m)
			})
		},
		run: func(w *world) error {
			return w.with("INBOX", func(m *Mailbox) error {
				for _, c := range []struct {
					uid UID
					op  Op
				}{{1, Remove}, {2, Add}, {2, Remove}, {2, Add}} {
					if _, err := m.Store(context.Background(), []UID{c.uid}, Change{Op: c.op, Keywords: []string{"Keyword27", "Fresh"}}); err != nil {
						return err
					}
				}
				s := m.State()
				base, in, _ := s.file(2)
				if err := m.dir.cur.Rename(base+in.raw, m.dir.cur, base+",U=7"+in.raw); err != nil {
					return err
				}
				if err := m.dir.cur.Sync(); err != nil {
					return err
				}
				if _, err := m.Sync(context.Background()); err != nil {
					return err
				}
				return w.commit(m)
			})
		},
		check: func(w *world, done bool, ids map[string][]string) error {
			return w.with("INBOX", func(m *Mailbox) error {
				s := m.State()
				var has [4][]string
				for i := range s.Len() {
					if uid := s.uids[i]; uid < 4 {
						_, has[uid] = s.overflowOf(i)
					}
				}
				if done && (!slices.Equal(has[1], []string{"Keyword26"}) || !slices.Equal(has[2], []string{"Keyword27", "Fresh"}) ||
					s.Len() == 3 && s.uids[2] == 3 && !slices.Equal(has[3], []string{"Keyword26", "Keyword27"})) {
					return fmt.Errorf("keywords %q", has)
				}
				return nil // what the other program did is its own
			})
		},
	},
	{
		name:  "SpecialUse",
		setup: func(w *world) error { return nil },
		run: func(w *world) error {
			return w.user.SetSpecialUse(context.Background(), "Archive", `\Important`)
		},
		check: func(w *world, done bool, ids map[string][]string) error {
			use, err := w.user.SpecialUse("Archive")
			if err == nil && use != `\Important` && (done || use != `\Archive`) {
				err = fmt.Errorf("its use is %q", use)
			}
			return err
		},
	},
	{
		name: "Annotate",
		setup: func(w *world) error {
			_, err := w.user.Annotate(context.Background(), "Archive", note("old"))
			return err
		},
		run: func(w *world) error {
			_, err := w.user.Annotate(context.Background(), "Archive", note("new"))
			return err
		},
		check: func(w *world, done bool, ids map[string][]string) error {
			notes, err := w.user.Annotations(context.Background(), "Archive")
			if err == nil && (len(notes) != 1 || notes[0].Value != "new" && (done || notes[0].Value != "old")) {
				err = fmt.Errorf("notes %q", notes)
			}
			return err
		},
	},
	{
		// A right that was taken away stays away.
		name:  "TakeRight",
		setup: func(w *world) error { return w.giveRights("lrs") },
		run:   func(w *world) error { return w.giveRights("l") },
		check: func(w *world, done bool, ids map[string][]string) error {
			a, err := w.user.ACL(context.Background(), "Archive")
			if rights := a.Rights("luis@example.org", false).String(); err == nil && rights != "l" && (done || rights != "lrs") {
				err = fmt.Errorf("rights %q", rights)
			}
			return err
		},
	},
	{
		// A key that was given up stays away, and the others stay.
		name: "ResetURLKey",
		setup: func(w *world) error {
			if _, err := w.user.URLKey(context.Background(), urlMailbox, true); err != nil {
				return err
			}
			key, err := w.user.URLKey(context.Background(), otherURLMailbox, true)
			w.urlKey = string(key)
			return err
		},
		run: func(w *world) error { return w.user.ResetURLKey(context.Background(), urlMailbox) },
		check: func(w *world, done bool, ids map[string][]string) error {
			key, err := w.user.URLKey(context.Background(), urlMailbox, false)
			if err == nil && done && key != nil {
				err = errors.New("the key is back")
			}
			return errors.Join(err, w.hasURLKey(otherURLMailbox))
		},
	},
	{
		name:  "NewURLKey",
		setup: func(w *world) error { return nil },
		run: func(w *world) error {
			key, err := w.user.URLKey(context.Background(), urlMailbox, true)
			w.urlKey = string(key)
			return err
		},
		check: func(w *world, done bool, ids map[string][]string) error {
			if !done {
				return nil
			}
			return w.hasURLKey(urlMailbox)
		},
	},
	{
		// Somebody removes the list; we write it again as it was.
		name:  "ListRestored",
		setup: func(w *world) error { return w.fill("INBOX", "a", "b", "c") },
		run: func(w *world) error {
			return w.with("INBOX", func(m *Mailbox) error {
				if err := m.dir.folder.Remove(uidlistFile); err != nil {
					return err
				}
				if err := m.dir.folder.Sync(); err != nil {
					return err
				}
				return w.appendAll("INBOX", "d")
			})
		},
		check: func(w *world, done bool, ids map[string][]string) error { return noDoubles(ids["INBOX"]) },
	},
}

func note(value string) []AnnotationChange {
	return []AnnotationChange{{Annotation: Annotation{Owner: "ana@example.org", Name: "/comment", Value: value}}}
}

// Two mailboxes whose URLs are signed.
var urlMailbox, otherURLMailbox = strings.Repeat("0", 32), strings.Repeat("1", 32)

func (w *world) hasURLKey(mailbox string) error {
	key, err := w.user.URLKey(context.Background(), mailbox, false)
	if err == nil && string(key) != w.urlKey {
		err = errors.New("a key is lost")
	}
	return err
}

// giveRights gives luis these rights on Archive.
func (w *world) giveRights(letters string) error {
	rights, _ := ParseRights(letters)
	return w.user.EditACL(context.Background(), "Archive", func(a *ACL) error {
		a.Set(ACLUser("luis@example.org"), false, rights, false)
		return nil
	})
}
