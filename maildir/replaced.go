package maildir

import (
	"errors"
	"io/fs"
	"slices"

	"buzon/internal/durable"
)

// A name can come back as another message's: an MH-style name, as procmail gives them,
// after its message was removed; any name when a backup is put back. Where nobody
// looked in between, the file alone tells.

// suspicion is a file under the name of a message that may be another one.
type suspicion struct {
	slot slot
	ino  uint64 // as the directory says
}

// isUniqueName reports that a base looks like one that is never given again: the
// Maildir convention begins it with the time in seconds, and more after a dot.
func isUniqueName(base []byte) bool {
	digits := 0
	for digits < len(base) && base[digits] >= '0' && base[digits] <= '9' {
		digits++
	}
	return digits >= 9 && digits < len(base) && base[digits] == '.'
}

// suspect notes the file of a known name, where it is on another inode than the
// message was, or the name is of the kind that is used again.
func (f *findings) suspect(sl slot, base []byte, ino uint64) {
	b, r := f.state.blocks[sl.block()], sl.row()
	if moved := ino != 0 && b.ino[r] != 0 && ino != b.ino[r]; moved || !isUniqueName(base) {
		f.suspicions = append(f.suspicions, suspicion{sl, ino})
	}
}

// resolveSuspicions looks at the files and makes findings of those that are other
// messages. The others' inodes are remembered: a tree that was copied from elsewhere
// has none of the old ones.
func (m *Mailbox) resolveSuspicions(f *findings) {
	for _, x := range f.suspicions {
		b, r := f.state.blocks[x.slot.block()], x.slot.row()
		file := f.knownFile(x.slot)
		base, _ := b.name(r)
		if _, live := f.state.rowOf(x.slot); !live || f.bases[string(base)] != nil {
			continue
		}
		in, err := m.dir.of(file.isNew).Stat(file.name)
		if err != nil || in.Mode.Type() != 0 {
			continue
		}
		if m.isReplaced(f.state, x.slot, in) {
			f.bases[string(base)] = &finding{base: string(base), slot: x.slot, known: true, names: []sighting{file}, replaced: true}
		} else if b.ino[r] != 0 {
			b.ino[r] = in.Ino
		}
	}
	f.suspicions = nil
}

// isReplaced reports that a file cannot be the one that the message had. A copy of it
// with the same time is the message, wherever it came from.
func (m *Mailbox) isReplaced(s *State, sl slot, in durable.Info) bool {
	b, r := s.blocks[sl.block()], sl.row()
	base, _ := b.name(r)
	if said, _ := (uidRecord{}).sizes(borrowed(base)); said >= 0 {
		return false // who writes such names gives each once
	}
	if stored := b.loadStored(r); stored >= 0 && stored != in.Size {
		return true
	}
	if isUniqueName(base) {
		return false
	}
	if date := b.loadDate(r); date != unknownDate {
		if off := timeOfZoned(date).Unix() - timeOfZoned(zonedTimeOf(in.Mtime)).Unix(); off < -clockRounding || off > clockRounding {
			return true
		}
	}
	return !m.replaced && m.isYounger(s, sl, in)
}

// clockRounding is how many seconds a backup may change a file's time by.
const clockRounding = 2

// isYounger reports that a file was made after the last look at the mailbox, by
// somebody else.
func (m *Mailbox) isYounger(s *State, sl slot, in durable.Info) bool {
	i, live := s.rowOf(sl)
	return live && in.Btime != 0 && m.lastConfirmed != 0 && in.Btime > m.lastConfirmed && in.Btime != m.young[s.uids[i]]
}

// wasReplaced reports that the one file of a known base is another message's. It was
// seen to be removed or made meanwhile, or not at all.
func (m *Mailbox) wasReplaced(s *State, x *finding) bool {
	if x.replaced || len(x.names) != 1 {
		return x.replaced
	}
	b, r := s.blocks[x.slot.block()], x.slot.row()
	file := x.names[0]
	moved := file.ino != 0 && b.ino[r] != 0 && file.ino != b.ino[r]
	if !x.remade && !moved {
		return false
	}
	in, err := m.dir.of(file.isNew).Stat(file.name)
	if err != nil || in.Mode.Type() != 0 || b.ino[r] == 0 {
		return false
	}
	if x.remade && in.Ino != b.ino[r] {
		return true
	}
	return x.remade && m.isYounger(s, x.slot, in) || moved && m.isReplaced(s, x.slot, in)
}

// asNew has files that took the place of messages looked at once more, now that the
// messages are gone.
func (m *Mailbox) asNew(all []*finding) *findings {
	f := m.newFindings()
	var events []event
	for _, x := range all {
		for _, s := range x.names {
			if _, err := m.dir.of(s.isNew).Stat(s.name); !errors.Is(err, fs.ErrNotExist) {
				events = append(events, event{isNew: s.isNew, name: s.name, present: true})
			}
		}
	}
	f.apply(slices.Values(events))
	return f
}
