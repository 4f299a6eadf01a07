package maildir

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// folderScenarios change the tree of folders.
var folderScenarios = []scenario{
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
