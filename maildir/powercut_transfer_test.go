package maildir

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// transferScenarios are the ways in which messages come, go and come back within a host: COPY, MOVE,
// EXPUNGE, undelete.
var transferScenarios = []scenario{
	{
		name: "TestCase28Copy",
		setup: func(w *world) error {
			if err := w.fill("INBOX", "a", "b", "c", "d"); err != nil {
				return err
			}
			return w.fill("Archive", "z")
		},
		run: func(w *world) error {
			return w.with("INBOX", func(src *Mailbox) error {
				return w.with("Archive", func(dst *Mailbox) error {
					if _, err := src.Copy(context.Background(), []UID{1, 2, 4}, dst); err != nil {
						return err
					}
					return w.learn(dst)
				})
			})
		},
		check: func(w *world, done bool, ids map[string][]string) error {
			if err := allOrNone(ids["Archive"], "a", "b", "d"); err != nil {
				return err
			}
			return same(ids["INBOX"], "a", "b", "c", "d")
		},
	},
	{
		name: "TestCase30Move",
		setup: func(w *world) error {
			if err := w.fill("INBOX", "a", "b", "c", "d"); err != nil {
				return err
			}
			return w.fill("Archive", "z")
		},
		run: func(w *world) error {
			return w.with("INBOX", func(src *Mailbox) error {
				return w.with("Archive", func(dst *Mailbox) error {
					w.told["INBOX"] = map[UID]string{3: "c"} // the others may be in flight
					if _, err := src.Move(context.Background(), []UID{1, 2, 4}, dst); err != nil {
						return err
					}
					for _, uid := range []UID{1, 2, 4} {
						w.gone["INBOX"][uid] = true
					}
					return w.learn(dst)
				})
			})
		},
		check: func(w *world, done bool, ids map[string][]string) error {
			all := slices.Concat(ids["INBOX"], ids["Archive"])
			slices.Sort(all)
			return same(all, "a", "b", "c", "d", "z")
		},
	},
	{
		// Two trees have no log together: a message may be in both afterwards, and is never in none.
		name: "TestCase30MoveToAnotherAccount",
		setup: func(w *world) error {
			if err := w.fill("INBOX", "a", "b", "c", "d"); err != nil {
				return err
			}
			return w.withUser("luis@example.org", func(luis *User) error {
				dst, err := luis.Open(context.Background(), "INBOX")
				if err == nil {
					dst.Close()
				}
				return err
			})
		},
		run: func(w *world) error {
			return w.with("INBOX", func(src *Mailbox) error {
				return w.withUser("luis@example.org", func(luis *User) error {
					dst, err := luis.Open(context.Background(), "INBOX")
					if err != nil {
						return err
					}
					defer dst.Close()
					for _, id := range []string{"a", "b", "d"} {
						w.inFlight[id] = true
					}
					w.told["INBOX"] = map[UID]string{3: "c"}
					res, err := src.MoveUnlocked(context.Background(), []UID{1, 2, 4}, dst, LockedFlags{})
					if err == nil && len(res.Dst) != 3 {
						err = fmt.Errorf("%d messages were moved", len(res.Dst))
					}
					return err
				})
			})
		},
		check: func(w *world, done bool, ids map[string][]string) error {
			var there []string
			err := w.withUser("luis@example.org", func(luis *User) error {
				dst, err := luis.Open(context.Background(), "INBOX")
				if err != nil {
					return err
				}
				defer dst.Close()
				for _, uid := range dst.State().UIDs() {
					id, err := w.read(dst, uid)
					if err != nil {
						return err
					}
					there = append(there, id)
				}
				return nil
			})
			if err != nil {
				return fmt.Errorf("the other account: %w", err)
			}
			if done {
				return errors.Join(same(ids["INBOX"], "c"), same(there, "a", "b", "d"))
			}
			for _, id := range []string{"a", "b", "d"} {
				if !slices.Contains(ids["INBOX"], id) && !slices.Contains(there, id) {
					return fmt.Errorf("%s is lost; here %q, there %q", id, ids["INBOX"], there)
				}
			}
			return errors.Join(noDoubles(ids["INBOX"]), allOrNone(there, "a", "b", "d"))
		},
	},
	{
		name:  "TestCase31Expunge",
		setup: func(w *world) error { return w.fill("INBOX", "a", "b", "c") },
		run: func(w *world) error {
			return w.with("INBOX", func(m *Mailbox) error {
				w.inFlight["a"], w.inFlight["c"] = true, true
				if _, err := m.Expunge(context.Background(), []UID{1, 3}); err != nil {
					return err
				}
				delete(w.told["INBOX"], 1)
				delete(w.told["INBOX"], 3)
				w.gone["INBOX"][1], w.gone["INBOX"][3] = true, true
				return w.commit(m)
			})
		},
	},
	{
		name:         "TestCase31ExpungeKept",
		undeleteDays: 7,
		setup:        func(w *world) error { return w.fill("INBOX", "a", "b", "c") },
		run: func(w *world) error {
			return w.with("INBOX", func(m *Mailbox) error {
				w.inFlight["a"], w.inFlight["c"] = true, true
				_, err := m.Expunge(context.Background(), []UID{1, 3})
				return err
			})
		},
		check: func(w *world, done bool, ids map[string][]string) error {
			kept, err := w.user.Expunged(context.Background())
			if err != nil {
				return err
			}
			// Both names may be there, but never none.
			if n := len(kept) + len(ids["INBOX"]); n < 3 || done && len(kept) != 2 {
				return fmt.Errorf("%q, and %d are kept", ids["INBOX"], len(kept))
			}
			return nil
		},
	},
	{
		name:         "Undelete",
		undeleteDays: 7,
		setup: func(w *world) error {
			if err := w.fill("INBOX", "a", "b"); err != nil {
				return err
			}
			delete(w.told, "INBOX")
			return w.with("INBOX", func(m *Mailbox) error {
				_, err := m.Expunge(context.Background(), []UID{1})
				return err
			})
		},
		run: func(w *world) error {
			w.inFlight["a"] = true
			n, err := w.user.Undelete(context.Background(), func(Expunged) bool { return true })
			if err == nil && n != 1 {
				err = fmt.Errorf("%d put back", n)
			}
			return err
		},
		check: func(w *world, done bool, ids map[string][]string) error {
			kept, err := w.user.Expunged(context.Background())
			if err != nil {
				return err
			}
			if n := len(kept) + len(ids["INBOX"]); n < 2 || done && len(ids["INBOX"]) != 2 {
				return fmt.Errorf("%q, and %d are kept", ids["INBOX"], len(kept))
			}
			return noDoubles(ids["INBOX"])
		},
	},
}
