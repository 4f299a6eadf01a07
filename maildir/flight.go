package maildir

import (
	"context"

	"buzon/internal/durable"
)

// Nearly all the time of a large STORE is the kernel's, which renames one file after
// the other under the directory's lock. What there is to do besides is done meanwhile,
// by the goroutine that called: it works out the next names, publishes what has been
// renamed and reads the events of it.
//
// What it meets that is not usual (a file that is not where it should be, an event of
// somebody else, somebody who waits for the lock) it leaves until nothing is in flight
// any more, and deals with it as a small STORE does.

const (
	// flyLeast is the least number of messages that another goroutine is worth.
	flyLeast = 250
	// flockSize is how many messages fly together, flocks how many of those there are:
	// one that is renamed, one that is next, and one that is worked on.
	flockSize = 125
	flocks    = 3
)

// flight is what is renamed beside us, or was and is not published yet.
type flight struct {
	aloft    int   // flocks
	from, to UID   // their messages are above from, and at most to
	stray    []UID // messages whose files were not renamed
	foreign  bool  // there are events that are not of our making
}

// flock is some files that are renamed together.
type flock struct {
	moves []move
	cur   durable.Dir
	names []byte // of each file the old one and the new
	last  UID    // that was looked at for it
}

// move is one file of a flock.
type move struct {
	renamed
	dir      durable.Dir // where the file is; nil: it keeps its name
	mid, end int         // of its names
	err      error
}

// pilot renames flocks in turn.
type pilot struct {
	waiting, landed chan *flock
	spare           []*flock
}

func newPilot() *pilot {
	r := &pilot{waiting: make(chan *flock, flocks), landed: make(chan *flock, flocks)}
	for range flocks {
		r.spare = append(r.spare, &flock{})
	}
	return r
}

// run renames until close.
func (r *pilot) run() {
	var breath durable.Breath
	for f := range r.waiting {
		f.rename(&breath)
		r.landed <- f
	}
}

func (r *pilot) close() { close(r.waiting) }

func (f *flock) rename(breath *durable.Breath) {
	names, start := string(f.names), 0
	for k := range f.moves {
		mv := &f.moves[k]
		if mv.dir != nil {
			breath.Take()
			mv.err = mv.dir.Rename(names[start:mv.mid], f.cur, names[mv.mid:mv.end])
		}
		start = mv.end
	}
}

// fly changes messages, of which there are many, until all are done or somebody else
// has to have his turn. It returns how many it was through with.
func (st *storing) fly(ctx context.Context, uids []UID) (n int, err error) {
	m, fl := st.m, &st.flight
	stop := m.user.store.watch.burst(2 * len(uids))
	m.storing.Store(true)
	defer m.storing.Store(false)
	*fl = flight{from: uids[0] - 1, to: uids[0] - 1, stray: fl.stray[:0]}
	// Until all are back nobody must look at the disk, nor close the directories.
	for {
		for err == nil && n < len(uids) && fl.aloft < flocks-1 && !st.mustLand(ctx, n) {
			k := min(flockSize, len(uids)-n)
			st.takeOff(uids[n : n+k])
			n += k
		}
		if fl.aloft == 0 {
			break
		}
		f := <-st.pilot.landed
		fl.aloft--
		st.land(f)
		if len(st.done) >= storeChunk || fl.aloft == 0 {
			if e := st.settle(); err == nil {
				err = e
			}
			fl.from = f.last
			st.skim()
		}
	}
	stop()
	m.storing.Store(false) // before the look at what was not told meanwhile
	if err == nil && len(fl.stray) > 0 {
		err = st.renameAll(ctx, fl.stray)
		if e := st.settle(); err == nil {
			err = e
		}
	}
	if err == nil && m.disk.live {
		_, err = m.syncLocked(ctx)
	}
	return n, err
}

// mustLand reports that no more may take off, after n messages.
func (st *storing) mustLand(ctx context.Context, n int) bool {
	return ctx.Err() != nil || st.flight.foreign || len(st.flight.stray) > 0 || n >= storeChunk && st.m.lock.wanted()
}

// takeOff gives files to the pilot.
func (st *storing) takeOff(uids []UID) {
	m, r := st.m, st.pilot
	f := r.spare[len(r.spare)-1]
	r.spare = r.spare[:len(r.spare)-1]
	f.moves, f.names, f.cur, f.last = f.moves[:0], f.names[:0], m.dir.cur, uids[len(uids)-1]
	for _, uid := range uids {
		s, i, ok := st.find(uid)
		if !ok {
			continue
		}
		sl := s.slot(i)
		b, row := s.blocks[sl.block()], sl.row()
		was := b.where[row]
		raw := s.infos[was.number()].raw
		to := st.next(raw, b.keywords[row]&^letterMask, s.keywords)
		mv := move{renamed: renamed{uid: uid, was: was, raw: to.raw, overflow: to.overflow}}
		switch {
		case to.same && (was.isNew() || to.raw == raw):
			continue
		case was.isNew() || to.raw != raw:
			mv.dir = m.dir.of(was.isNew())
			base, _ := b.name(row)
			f.names = append(append(f.names, base...), raw...)
			mv.mid = len(f.names)
			f.names = append(append(f.names, base...), to.raw...)
		}
		mv.end = len(f.names)
		f.moves = append(f.moves, mv)
	}
	st.flight.aloft++
	st.flight.to = f.last
	r.waiting <- f
}

// land takes what became of a flock.
func (st *storing) land(f *flock) {
	for k := range f.moves {
		if mv := &f.moves[k]; mv.err == nil {
			st.done = append(st.done, mv.renamed)
		} else {
			st.flight.stray = append(st.flight.stray, mv.uid)
		}
	}
	st.pilot.spare = append(st.pilot.spare, f)
}

// skim takes the events of our own renames off the queue while others are made, before
// the kernel's is full.
func (st *storing) skim() {
	m := st.m
	if !m.disk.live {
		return
	}
	fl, s := &st.flight, m.State()
	fl.foreign = m.user.store.watch.skim(m, func(e event) (own, later bool) {
		base, raw := splitName(e.name)
		sl, known := m.names.find(s, borrowedBytes(base))
		if !known {
			return false, false
		}
		b, row := s.blocks[sl.block()], sl.row()
		if uid := b.uid[row]; uid > fl.from && uid <= fl.to {
			return false, true
		}
		w := b.where[row]
		return e.present == (w.isNew() == e.isNew && s.infos[w.number()].raw == raw), false
	})
}
