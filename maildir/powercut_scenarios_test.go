package maildir

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

var scenarios = []scenario{
	{
		name:  "TestCase21Deliver",
		setup: func(w *world) error { return w.fill("INBOX", "a") },
		run: func(w *world) error {
			st, err := w.stage("new")
			if err != nil {
				return err
			}
			defer st.Discard()
			if _, err := w.user.Deliver(context.Background(), st, "INBOX", 0); err != nil {
				return err
			}
			w.kept["new"] = true
			return w.with("INBOX", w.learn)
		},
		check: func(w *world, done bool, ids map[string][]string) error { return noDoubles(ids["INBOX"]) },
	},
	{
		// One message for two accounts is answered for when both have it.
		name: "TestCase22TwoRecipients",
		setup: func(w *world) error {
			return w.withUser("luis@example.org", func(*User) error { return nil })
		},
		run: func(w *world) error {
			return w.withUser("luis@example.org", func(luis *User) error {
				ctx := context.Background()
				var staged []*Staged
				for _, u := range []*User{w.user, luis} { // all are written before the first is visible
					st, err := u.Stage(ctx, newText("both"))
					if err != nil {
						return err
					}
					defer st.Discard()
					if err := st.Sync(); err != nil {
						return err
					}
					staged = append(staged, st)
				}
				for i, u := range []*User{w.user, luis} {
					if _, err := u.Deliver(ctx, staged[i], "INBOX", 0); err != nil {
						return err
					}
				}
				return nil
			})
		},
		check: func(w *world, done bool, ids map[string][]string) error {
			return w.withUser("luis@example.org", func(luis *User) error {
				m, err := luis.Open(context.Background(), "INBOX")
				if err != nil {
					return err
				}
				defer m.Close()
				his, err := w.verifyMailbox(m)
				if err != nil {
					return err
				}
				if done && (len(his) != 1 || len(ids["INBOX"]) != 1) {
					return fmt.Errorf("ana has %q, luis has %q", ids["INBOX"], his)
				}
				return errors.Join(noDoubles(his), noDoubles(ids["INBOX"]))
			})
		},
	},
	{
		name:  "TestCase26Append",
		setup: func(w *world) error { return w.fill("INBOX", "a", "b") },
		run:   func(w *world) error { return w.appendAll("INBOX", "new") },
		check: func(w *world, done bool, ids map[string][]string) error { return noDoubles(ids["INBOX"]) },
	},
	{
		name:  "TestCase28MultiAppend",
		setup: func(w *world) error { return w.fill("INBOX", "a") },
		run:   func(w *world) error { return w.appendAll("INBOX", "n1", "n2", "n3", "n4") },
		check: func(w *world, done bool, ids map[string][]string) error {
			return allOrNone(ids["INBOX"], "n1", "n2", "n3", "n4")
		},
	},
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
		name: "RenameInbox",
		setup: func(w *world) error {
			return w.fill("INBOX", "a", "b", "c")
		},
		run: func(w *world) error {
			delete(w.told, "INBOX")
			return w.user.Rename(context.Background(), "INBOX", "Old")
		},
		check: func(w *world, done bool, ids map[string][]string) error {
			all := slices.Concat(ids["INBOX"], ids["Old"])
			if done && len(ids["Old"]) != 3 {
				return fmt.Errorf("the new mailbox has %q", ids["Old"])
			}
			slices.Sort(all)
			return same(all, "a", "b", "c")
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
	{
		name:  "TestCase36Create",
		setup: func(w *world) error { return nil },
		run: func(w *world) error {
			if err := w.user.Create(context.Background(), "New/Sub", `\Important`); err != nil {
				return err
			}
			w.validity["New/Sub"] = 0
			return w.fill("New/Sub", "n")
		},
		check: func(w *world, done bool, ids map[string][]string) error {
			boxes, err := w.user.Mailboxes(context.Background())
			if err != nil {
				return err
			}
			for _, b := range boxes {
				if b.Name == "New/Sub" && b.SpecialUse != `\Important` {
					return errors.New("the folder is not whole")
				}
			}
			if _, ok := ids["New/Sub"]; done && !ok {
				return errors.New("the folder is not there")
			}
			return nil
		},
	},
	{
		name: "TestCase36Rename",
		setup: func(w *world) error {
			for _, n := range []string{"A", "A/B", "A/B/C"} {
				if err := w.user.Create(context.Background(), n, ""); err != nil {
					return err
				}
				if err := w.fill(n, "in "+n); err != nil {
					return err
				}
			}
			return nil
		},
		run: func(w *world) error {
			for _, n := range []string{"A", "A/B", "A/B/C"} {
				delete(w.told, n)
				delete(w.validity, n)
				delete(w.modseq, n)
			}
			return w.user.Rename(context.Background(), "A", "Z/Y")
		},
		check: func(w *world, done bool, ids map[string][]string) error {
			old := len(ids["A"]) + len(ids["A/B"]) + len(ids["A/B/C"])
			now := len(ids["Z/Y"]) + len(ids["Z/Y/B"]) + len(ids["Z/Y/B/C"])
			if !(old == 3 && now == 0 && !done || old == 0 && now == 3) {
				return fmt.Errorf("%d folders have the old names, %d the new ones", old, now)
			}
			return nil
		},
	},
	{
		name: "TestCase36Delete",
		setup: func(w *world) error {
			if err := w.user.Create(context.Background(), "Gone", ""); err != nil {
				return err
			}
			return w.fill("Gone", "x", "y", "z")
		},
		run: func(w *world) error {
			for _, id := range []string{"x", "y", "z"} {
				w.inFlight[id] = true
			}
			return w.user.Delete(context.Background(), "Gone")
		},
		check: func(w *world, done bool, ids map[string][]string) error {
			if list, ok := ids["Gone"]; ok && (done || len(list) != 3) {
				return fmt.Errorf("the folder is there with %q", list)
			}
			return nil
		},
	},
	{
		// A mailbox goes, and its name stays for those below it, which lose nothing: not
		// where the next one goes as well.
		name: "TestCase36DeleteWithChildren",
		setup: func(w *world) error {
			for _, n := range []string{"A", "A/B", "A/B/C", "AB"} {
				if err := w.user.Create(context.Background(), n, ""); err != nil {
					return err
				}
				if err := w.fill(n, "1 in "+n, "2 in "+n); err != nil {
					return err
				}
			}
			return nil
		},
		run: func(w *world) error {
			for _, n := range []string{"A", "A/B"} {
				w.inFlight["1 in "+n], w.inFlight["2 in "+n] = true, true
				if err := w.user.Delete(context.Background(), n); err != nil {
					return err
				}
				if !w.fs.Dead() {
					w.deleted = append(w.deleted, n)
				}
			}
			return nil
		},
		check: func(w *world, done bool, ids map[string][]string) error {
			for _, n := range []string{"A/B/C", "AB"} {
				if err := same(ids[n], "1 in "+n, "2 in "+n); err != nil {
					return fmt.Errorf("%s: %w", n, err)
				}
			}
			for _, n := range []string{"A", "A/B"} {
				list, ok := ids[n]
				if ok && (len(list) != 2 || slices.Contains(w.deleted, n)) {
					return fmt.Errorf("%s is there with %q; deleted are %q", n, list, w.deleted)
				}
			}
			boxes, err := w.user.Mailboxes(context.Background())
			if err != nil {
				return err
			}
			for _, name := range []string{"A", "A/B"} {
				if !slices.ContainsFunc(boxes, func(b Info) bool { return b.Name == name }) {
					return fmt.Errorf("%s has mailboxes below it and is not listed", name)
				}
			}
			_, isA := ids["A"]
			if _, isB := ids["A/B"]; isA && !isB || done && isB {
				return fmt.Errorf("A is there: %v, A/B is there: %v", isA, isB)
			}
			return nil
		},
	},
	{
		name:  "Subscribe",
		setup: func(w *world) error { return nil },
		run:   func(w *world) error { return w.user.Subscribe(context.Background(), "Some/Where") },
		check: func(w *world, done bool, ids map[string][]string) error {
			names, err := w.user.Subscriptions(context.Background())
			if err != nil {
				return err
			}
			if len(names) < 6 || done && !slices.Contains(names, "Some/Where") {
				return fmt.Errorf("subscriptions %q", names)
			}
			return nil
		},
	},
	{
		name: "FirstUse",
		bare: true,
		run: func(w *world) error {
			if err := w.open(); err != nil {
				return err
			}
			st, err := w.stage("hello")
			if err != nil {
				return err
			}
			defer st.Discard()
			_, err = w.user.Deliver(context.Background(), st, "INBOX", 0)
			return err
		},
		check: func(w *world, done bool, ids map[string][]string) error {
			if len(ids) != 6 {
				return fmt.Errorf("%d mailboxes", len(ids))
			}
			if len(ids["INBOX"]) > 1 || done && len(ids["INBOX"]) != 1 {
				return fmt.Errorf("INBOX has %q", ids["INBOX"])
			}
			names, err := w.user.Subscriptions(context.Background())
			if err == nil && len(names) != 6 {
				err = fmt.Errorf("subscriptions %q", names)
			}
			return err
		},
	},
}

// withUser calls fn with another user's tree.
func (w *world) withUser(id string, fn func(*User) error) error {
	u, err := w.store.User(context.Background(), id)
	if err != nil {
		return err
	}
	defer u.Release()
	return fn(u)
}

func (w *world) appendAll(name string, ids ...string) error {
	return w.with(name, func(m *Mailbox) error {
		var all []Append
		for _, id := range ids {
			st, err := w.stage(id)
			if err != nil {
				return err
			}
			all = append(all, Append{Staged: st, Flags: FlagSeen})
		}
		if _, err := m.Append(context.Background(), all); err != nil {
			return err
		}
		return w.learn(m)
	})
}

// commit notes the modseq that a client was told.
func (w *world) commit(m *Mailbox) error {
	s := m.State()
	if err := m.Commit(context.Background(), s); err != nil || w.fs.Dead() {
		return err
	}
	w.modseq[m.Name()] = s.HighestModSeq()
	return nil
}

func noDoubles(ids []string) error {
	seen := map[string]bool{}
	for _, id := range ids {
		if seen[id] {
			return fmt.Errorf("%s is there twice", id)
		}
		seen[id] = true
	}
	return nil
}

func allOrNone(ids []string, group ...string) error {
	n := 0
	for _, id := range group {
		if slices.Contains(ids, id) {
			n++
		}
	}
	if n != 0 && n != len(group) {
		return fmt.Errorf("%d of %d are there: %q", n, len(group), ids)
	}
	return noDoubles(ids)
}

func same(ids []string, want ...string) error {
	if !slices.Equal(ids, want) {
		return fmt.Errorf("found %q, want %q", ids, want)
	}
	return nil
}
