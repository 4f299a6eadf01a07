package maildir

import (
	"context"
	"fmt"
	"slices"
)

// scenarios are all operations that a power cut may meet.
var scenarios = slices.Concat(deliveryScenarios, transferScenarios, flagScenarios, folderScenarios, noteScenarios)

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
