package maildir

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// SortKey is what messages can be put in order by that stands in their headers (RFC
// 5256 3, RFC 5957 3).
type SortKey uint8

// SortDate is the date of the Date field, or where there is none the internal date.
const (
	SortSubject SortKey = iota
	SortFrom
	SortTo
	SortCc
	SortDisplayFrom
	SortDisplayTo
	SortDate
	sortKeys
)

// of returns the key of a message as bytes in order.
func (k SortKey) of(keys *SortKeys, sent int64) []byte {
	switch k {
	case SortSubject:
		return keys.Subject
	case SortFrom:
		return keys.From
	case SortTo:
		return keys.To
	case SortCc:
		return keys.Cc
	case SortDisplayFrom:
		return keys.DisplayFrom
	case SortDisplayTo:
		return keys.DisplayTo
	}
	return binary.BigEndian.AppendUint64(nil, uint64(sent)+1<<63)
}

// Places are where the messages of a State stand in the order of a SortKey: those
// with equal keys in one place. They are shared and must not be written to.
type Places []uint32

// sortOrders remember Places, so that the next SORT needs no keys but those of
// messages that came meanwhile: 4 bytes for each message and key that was asked for.
type sortOrders struct {
	mu    sync.Mutex
	known [sortKeys]struct {
		validity uint32
		uids     []UID
		places   Places
	}
	threads struct {
		validity uint32
		uids     []UID
		facts    *ThreadFacts
	}
}

// Places puts the messages of s in order by key. A message that cannot be read any
// more has an empty key.
func (m *Mailbox) Places(ctx context.Context, s *State, key SortKey) (Places, error) {
	m.orders.mu.Lock()
	defer m.orders.mu.Unlock()
	known := &m.orders.known[key]
	if known.validity != s.validity {
		known.uids, known.places = nil, nil
	}
	if known.places != nil && sameUIDs(known.uids, s.uids) {
		return known.places, nil
	}
	o := orderer{m: m, s: s, key: key}
	places, err := o.update(ctx, known.uids, known.places)
	if err != nil {
		return nil, err
	}
	known.validity, known.uids, known.places = s.validity, s.uids, places
	return places, nil
}

func sameUIDs(a, b []UID) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}

// orderer makes Places.
type orderer struct {
	m   *Mailbox
	s   *State
	key SortKey
}

// keyed is a row with its key.
type keyed struct {
	row int
	key []byte
}

// update makes places of those that an older state had. They cost no keys; what is new
// is put between them.
func (o *orderer) update(ctx context.Context, oldUIDs []UID, old Places) (Places, error) {
	places := make(Places, o.s.Len())
	last := uint32(0)
	for _, p := range old {
		last = max(last, p)
	}
	holder := make([]int, last+1) // a row in each place, + 1
	var fresh []int
	j := 0
	for i, uid := range o.s.uids {
		for j < len(oldUIDs) && oldUIDs[j] < uid {
			j++
		}
		if j == len(oldUIDs) || oldUIDs[j] != uid {
			fresh = append(fresh, i)
			continue
		}
		places[i] = old[j]
		holder[old[j]] = i + 1
	}
	added, err := o.keys(ctx, fresh)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(added, func(a, b keyed) int { return bytes.Compare(a.key, b.key) })
	var taken []uint32 // places that have messages
	for p, row := range holder {
		if row > 0 {
			taken = append(taken, uint32(p))
		}
	}
	return places, o.insert(ctx, places, taken, holder, added)
}

// insert numbers the places anew, with the added rows, which are sorted, among them.
func (o *orderer) insert(ctx context.Context, places Places, taken []uint32, holder []int, added []keyed) error {
	moved := make([]uint32, len(holder)) // the new number of each old place
	next := uint32(0)
	at := 0 // in taken
	advance := func(to int) {
		for ; at < to; at++ {
			moved[taken[at]] = next
			next++
		}
	}
	isNew := make([]bool, len(places))
	for k := 0; k < len(added); {
		same := k + 1
		for same < len(added) && bytes.Equal(added[same].key, added[k].key) {
			same++
		}
		var failed error
		i, found := slices.BinarySearchFunc(taken[at:], added[k].key, func(p uint32, want []byte) int {
			key, err := o.keyOf(ctx, holder[p]-1)
			failed = cmp.Or(failed, err)
			return bytes.Compare(key, want)
		})
		if failed != nil {
			return failed
		}
		advance(at + i)
		for _, x := range added[k:same] {
			places[x.row], isNew[x.row] = next, true
		}
		if found {
			moved[taken[at]] = next
			at++
		}
		next++
		k = same
	}
	advance(len(taken))
	for i := range places {
		if !isNew[i] {
			places[i] = moved[places[i]]
		}
	}
	return nil
}

// keys reads the keys of rows, on all processors.
func (o *orderer) keys(ctx context.Context, rows []int) ([]keyed, error) {
	uids := make([]UID, len(rows))
	for k, i := range rows {
		uids[k] = o.s.uids[i]
	}
	o.m.parseAhead(ctx, uids, parseGoal{keys: true})
	out := make([]keyed, len(rows))
	return out, eachPart(ctx, len(rows), func(k int) error {
		key, err := o.keyOf(ctx, rows[k])
		out[k] = keyed{rows[k], key}
		return err
	})
}

// keyOf reads the key of a row.
func (o *orderer) keyOf(ctx context.Context, row int) ([]byte, error) {
	keys, err := o.m.sortKeys(ctx, o.s, row)
	if err != nil || o.key != SortDate {
		return o.key.of(&keys, 0), err
	}
	sent, err := o.s.sent(row, &keys)
	return o.key.of(&keys, sent), err
}

// sortKeys are those of a row, empty where the message is gone or cannot be read.
func (m *Mailbox) sortKeys(ctx context.Context, s *State, row int) (SortKeys, error) {
	p, err := m.Parsed(ctx, s.uids[row], ParseFields, nil)
	if errors.Is(err, ErrExpunged) || errors.Is(err, ErrUnreadable) {
		return SortKeys{}, nil
	}
	if err != nil {
		return SortKeys{}, err
	}
	return p.SortKeys(), nil
}

// sent is the sent date of RFC 5256 2.2: the Date field, or where that is no date, the
// internal date.
func (s *State) sent(row int, keys *SortKeys) (int64, error) {
	if keys.HasSent {
		return keys.Sent, nil
	}
	t, err := s.InternalDate(row)
	if errors.Is(err, ErrExpunged) {
		return 0, nil
	}
	return t.Unix(), err
}

// partRows is how many rows a goroutine takes at a time.
const partRows = 256

// eachPart calls do for 0 to n-1, on all processors. The error is the first of do's; a
// panic in another goroutine is one here.
func eachPart(ctx context.Context, n int, do func(i int) error) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var crash atomic.Pointer[any]
	work := func() {
		defer func() {
			if v := recover(); v != nil {
				crash.CompareAndSwap(nil, &v)
				next.Store(int64(n))
			}
		}()
		for failed.Load() == nil {
			from := int(next.Add(partRows)) - partRows
			if from >= n {
				return
			}
			err := ctx.Err()
			for i := from; i < min(from+partRows, n) && err == nil; i++ {
				err = do(i)
			}
			if err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		}
	}
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), maxParsers, (n+partRows-1)/partRows) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
	if v := crash.Load(); v != nil {
		panic(*v)
	}
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}
