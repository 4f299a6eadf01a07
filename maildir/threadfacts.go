package maildir

import "context"

// ThreadFacts are what THREAD looks at in each row of a State, but for the subjects,
// which are Places. They are shared and must not be written to.
type ThreadFacts struct {
	// Sent is the sent date in Unix seconds. Flags are those below.
	Sent  []int64
	Flags []ThreadFlags
	// ID has the number of each message's id; 0 is none. Equal ids have one number.
	ID []uint32

	refs   []uint32 // of all rows
	refEnd []uint32
	hashes []MessageID // by number
}

// ThreadFlags tell of a message's subject.
type ThreadFlags uint8

// The subject is that of a reply or a forward; it has no base subject.
const (
	ThreadReply ThreadFlags = 1 << iota
	ThreadNoSubject
)

// Refs are the numbers of the ids that row i refers to, the oldest first.
func (f *ThreadFacts) Refs(i int) []uint32 {
	start := uint32(0)
	if i > 0 {
		start = f.refEnd[i-1]
	}
	return f.refs[start:f.refEnd[i]]
}

// IDs is above every number of an id.
func (f *ThreadFacts) IDs() int { return len(f.hashes) }

// ThreadFacts collects them for the messages of s. They are remembered, so that the
// next THREAD reads only messages that came meanwhile.
func (m *Mailbox) ThreadFacts(ctx context.Context, s *State) (*ThreadFacts, error) {
	m.orders.mu.Lock()
	defer m.orders.mu.Unlock()
	known := &m.orders.threads
	if known.validity != s.validity {
		known.uids, known.facts = nil, nil
	}
	if known.facts != nil && sameUIDs(known.uids, s.uids) {
		return known.facts, nil
	}
	f, err := m.threadFacts(ctx, s, known.uids, known.facts)
	if err != nil {
		return nil, err
	}
	known.validity, known.uids, known.facts = s.validity, s.uids, f
	return f, nil
}

// maxDeadIDs is how many times more ids than messages are remembered: those of
// messages that are gone are among them.
const maxDeadIDs = 16

// threadFacts takes what is known of an older state, and reads the rest.
func (m *Mailbox) threadFacts(ctx context.Context, s *State, oldUIDs []UID, old *ThreadFacts) (*ThreadFacts, error) {
	if old == nil || len(old.hashes) > maxDeadIDs*s.Len() {
		oldUIDs, old = nil, &ThreadFacts{hashes: []MessageID{0}}
	}
	from := make([]int, s.Len()) // row in old, or -1
	var fresh []int
	j := 0
	for i, uid := range s.uids {
		for j < len(oldUIDs) && oldUIDs[j] < uid {
			j++
		}
		if from[i] = j; j == len(oldUIDs) || oldUIDs[j] != uid {
			from[i] = -1
			fresh = append(fresh, i)
		}
	}
	keys, sent, err := m.threadKeys(ctx, s, fresh)
	if err != nil {
		return nil, err
	}
	f := &ThreadFacts{
		Sent: make([]int64, s.Len()), Flags: make([]ThreadFlags, s.Len()), ID: make([]uint32, s.Len()),
		refEnd: make([]uint32, s.Len()), hashes: old.hashes[:len(old.hashes):len(old.hashes)],
	}
	numbers := make(map[MessageID]uint32, len(f.hashes)+2*len(fresh))
	for n, h := range f.hashes {
		numbers[h] = uint32(n)
	}
	number := func(h MessageID) uint32 {
		n, ok := numbers[h]
		if !ok {
			n = uint32(len(f.hashes))
			numbers[h] = n
			f.hashes = append(f.hashes, h)
		}
		return n
	}
	next := 0
	for i, k := range from {
		if k >= 0 {
			f.Sent[i], f.Flags[i], f.ID[i] = old.Sent[k], old.Flags[k], old.ID[k]
			f.refs = append(f.refs, old.Refs(k)...)
		} else {
			x := &keys[next]
			f.Sent[i], f.Flags[i], f.ID[i] = sent[next], x.threadFlags(), number(x.ID)
			for r := range x.Refs() {
				f.refs = append(f.refs, number(x.Ref(r)))
			}
			next++
		}
		f.refEnd[i] = uint32(len(f.refs))
	}
	return f, nil
}

func (k *SortKeys) threadFlags() (f ThreadFlags) {
	if k.Reply {
		f |= ThreadReply
	}
	if len(k.Subject) == 0 {
		f |= ThreadNoSubject
	}
	return f
}

// threadKeys reads the keys and sent dates of rows.
func (m *Mailbox) threadKeys(ctx context.Context, s *State, rows []int) ([]SortKeys, []int64, error) {
	uids := make([]UID, len(rows))
	for k, i := range rows {
		uids[k] = s.uids[i]
	}
	m.parseAhead(ctx, uids, parseGoal{keys: true})
	keys, sent := make([]SortKeys, len(rows)), make([]int64, len(rows))
	err := eachPart(ctx, len(rows), func(k int) (err error) {
		if keys[k], err = m.sortKeys(ctx, s, rows[k]); err == nil {
			sent[k], err = s.sent(rows[k], &keys[k])
		}
		return err
	})
	return keys, sent, err
}
