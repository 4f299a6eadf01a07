package maildir

import (
	"context"
	"errors"
	"fmt"
)

// deliveryScenarios are the ways in which a message comes: delivery and APPEND.
var deliveryScenarios = []scenario{
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
}
