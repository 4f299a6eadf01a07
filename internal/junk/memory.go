package junk

import (
	"cmp"
	"slices"
)

// Limits of a memory. They bound its file to some 4 MB.
const (
	maxWords   = 200_000 // distinct ones; beyond it the rarest are forgotten
	maxLessons = 40_000  // messages that are remembered, so that none counts twice
	maxPlaces  = 2000    // mailboxes
	maxCounted = 20_000  // messages of a kind; beyond it all counts are halved, and the old fade
)

// Class is what a message is taken for.
type Class uint8

// What a message may be.
const (
	Unknown Class = iota // never seen, or forgotten
	Good                 // learned as something the account keeps
	Junk                 // learned as junk
	Filed                // put into the junk mailbox by us, which teaches nothing
)

// Memory is what was learned of one account.
type Memory struct {
	good, junk int // messages
	words      []word
	fresh      map[uint64]word // newer than words
	lessons    map[MessageID]lesson
	serial     uint32 // of the newest lesson
	places     map[string]Place
	dirty      bool
}

// word is in how many messages a word was.
type word struct {
	hash       uint64
	good, junk uint16
}

// lesson is a message that is remembered.
type lesson struct {
	class  Class
	size   uint32 // octets, of the message; cut to 32 bits
	serial uint32 // the order in which they came
}

// Place is how far a mailbox was looked at.
type Place struct {
	Validity, Next uint32
	ModSeq         uint64
}

// mergeAt is how many fresh words are merged into the others.
const mergeAt = 50_000

func newMemory() *Memory {
	return &Memory{fresh: map[uint64]word{}, lessons: map[MessageID]lesson{}, places: map[string]Place{}}
}

// Counts is how many messages were learned of either kind.
func (m *Memory) Counts() (good, junk int) { return m.good, m.junk }

// Class is what the message was learned as.
func (m *Memory) Class(id MessageID) Class { return m.lessons[id].class }

// Sizes are those of the messages that are taken for junk, each with true.
func (m *Memory) Sizes() map[int64]bool {
	sizes := map[int64]bool{}
	for _, l := range m.lessons {
		if l.class == Junk || l.class == Filed {
			sizes[int64(l.size)] = true
		}
	}
	return sizes
}

// Place returns how far a mailbox was looked at; ok is false for one that never was.
func (m *Memory) Place(mailbox string) (p Place, ok bool) {
	p, ok = m.places[mailbox]
	return p, ok
}

// SetPlace keeps how far a mailbox was looked at.
func (m *Memory) SetPlace(mailbox string, p Place) {
	if old, ok := m.places[mailbox]; old == p && ok || !ok && len(m.places) >= maxPlaces {
		return
	}
	m.places[mailbox] = p
	m.dirty = true
}

// Watched reports whether any mailbox was looked at.
func (m *Memory) Watched() bool { return len(m.places) > 0 }

// KeepPlaces forgets the mailboxes for which keep is false.
func (m *Memory) KeepPlaces(keep func(mailbox string) bool) {
	for name := range m.places {
		if !keep(name) {
			delete(m.places, name)
			m.dirty = true
		}
	}
}

// Reset forgets all words and messages, and keeps the places.
func (m *Memory) Reset() {
	places := m.places
	*m = *newMemory()
	m.places, m.dirty = places, true
}

// Learn takes a message for what it is said to be, and no more for what it was
// taken for before. It reports whether that is new.
func (m *Memory) Learn(s Sample, c Class) bool {
	old := m.lessons[s.ID].class
	if old == c || c == Unknown && old == Unknown {
		return false
	}
	m.dirty = true
	m.count(s, old, -1)
	m.count(s, c, +1)
	if c == Unknown {
		delete(m.lessons, s.ID)
		return true
	}
	m.serial++
	m.lessons[s.ID] = lesson{c, uint32(min(s.Size, 1<<32-1)), m.serial}
	if len(m.lessons) > maxLessons {
		m.forgetLessons()
	}
	if m.good > maxCounted || m.junk > maxCounted {
		m.fade()
	}
	if len(m.fresh) > mergeAt {
		m.merge()
	}
	return true
}

// count adds to what is known of the words of a message.
func (m *Memory) count(s Sample, c Class, n int) {
	add := func(to *uint16) { *to = uint16(min(max(int(*to)+n, 0), 1<<16-1)) }
	switch c {
	case Good:
		m.good = max(m.good+n, 0)
	case Junk:
		m.junk = max(m.junk+n, 0)
	default:
		return
	}
	for _, hash := range s.Words {
		w := m.word(hash)
		if c == Good {
			add(&w.good)
		} else {
			add(&w.junk)
		}
		m.fresh[hash] = w
	}
}

// word returns what is known of a word.
func (m *Memory) word(hash uint64) word {
	if w, ok := m.fresh[hash]; ok {
		return w
	}
	if i, ok := slices.BinarySearchFunc(m.words, hash, byHash); ok {
		return m.words[i]
	}
	return word{hash: hash}
}

func byHash(w word, hash uint64) int { return cmp.Compare(w.hash, hash) }

// merge puts the fresh words among the others, and forgets the rarest where there
// are too many.
func (m *Memory) merge() {
	all := make([]word, 0, len(m.words)+len(m.fresh))
	for _, w := range m.words {
		if _, newer := m.fresh[w.hash]; !newer {
			all = append(all, w)
		}
	}
	for _, w := range m.fresh {
		if w.good > 0 || w.junk > 0 {
			all = append(all, w)
		}
	}
	for rare := uint16(1); len(all) > maxWords; rare++ {
		// To three quarters, so that not every lesson has to; those of the lowest
		// hashes go, which is as good as any.
		slices.SortFunc(all, func(a, b word) int { return cmp.Compare(a.hash, b.hash) })
		surplus := len(all) - maxWords*3/4
		all = slices.DeleteFunc(all, func(w word) bool {
			if surplus > 0 && w.good <= rare && w.junk <= rare {
				surplus--
				return true
			}
			return false
		})
	}
	slices.SortFunc(all, func(a, b word) int { return cmp.Compare(a.hash, b.hash) })
	m.words = all
	clear(m.fresh)
}

// fade halves all counts.
func (m *Memory) fade() {
	m.merge()
	m.good, m.junk = m.good/2, m.junk/2
	for i := range m.words {
		w := &m.words[i]
		w.good, w.junk = w.good/2, w.junk/2
	}
	m.words = slices.DeleteFunc(m.words, func(w word) bool { return w.good == 0 && w.junk == 0 })
}

// forgetLessons forgets the older half of the messages. Their words stay.
func (m *Memory) forgetLessons() {
	serials := make([]uint32, 0, len(m.lessons))
	for _, l := range m.lessons {
		serials = append(serials, l.serial)
	}
	slices.Sort(serials)
	oldest := serials[len(serials)/2]
	for id, l := range m.lessons {
		if l.serial < oldest {
			delete(m.lessons, id)
		}
	}
}
