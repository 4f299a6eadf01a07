package maildir

import (
	"context"
	"errors"
	"io/fs"
	"sync"

	"buzon/internal/durable"
)

// groupCommit makes the deliveries of all users on one disk durable in groups. Who
// comes while others are at it waits, and is taken along next: by one of those who
// wait, in one go. Many files are then written with few waits, and a directory is
// fsynced once for all that came into it; nobody fights for its lock. A group goes
// through two rooms, so that the next one's files are written while its directories
// are.
type groupCommit struct {
	files *contextLock // the room where files are synced
	names *contextLock // the room where they get their places

	mu   sync.Mutex
	next *commitGroup // who waits for the first room; nil: nobody
}

func newGroupCommit() *groupCommit {
	return &groupCommit{files: newContextLock(), names: newContextLock()}
}

type commitGroup struct {
	all  []*delivery
	done chan struct{} // closed when each has its result
}

// delivery is a message on its way from tmp/ into a mailbox.
type delivery struct {
	user    *User
	staged  *Staged
	mailbox string
	flags   Flags

	into string // its name there, and in the end the mailbox; "" when it is not there
	err  error
}

var (
	// errUnfinished is left to the others of a group by a bug of ours.
	errUnfinished = errors.New("the commit came to no end")
	// errUserBusy: somebody works on the user's folders, and may do so for long.
	errUserBusy = errors.New("the user's folders are busy")
)

// bulky is the size from which on a message is synced for itself: it keeps the disk
// busy, and the others should not have to wait for all of it.
const bulky = 1 << 20

// commit returns when d is durable in its place, or why it is not.
func (g *groupCommit) commit(d *delivery) {
	d.err = errUnfinished
	if d.staged.count.total >= bulky {
		_ = d.staged.Sync() // placeAll asks how it ended
	}
	g.mu.Lock()
	group := g.next
	first := group == nil
	if first {
		group = &commitGroup{done: make(chan struct{})}
		g.next = group
	}
	group.all = append(group.all, d)
	g.mu.Unlock()
	if first {
		g.lead(group)
	}
	<-group.done
	if d.err == errUserBusy { // now nobody else has to wait
		d.user.mu.Lock()
		t := d.findTarget()
		t.take(d)
		t.finish(t.sync())
	}
}

// lead takes a group through both rooms.
func (g *groupCommit) lead(group *commitGroup) {
	defer close(group.done)
	g.begin(group)
	_ = g.names.lock(context.Background())
	defer g.names.unlock()
	placeAll(group.all)
}

func (g *groupCommit) begin(group *commitGroup) {
	_ = g.files.lock(context.Background())
	defer g.files.unlock()
	g.mu.Lock()
	g.next = nil // who comes from now on is of the next one
	g.mu.Unlock()
	syncAll(group.all)
}

// syncAll makes the contents of the messages durable.
func syncAll(all []*delivery) {
	var open []*Staged
	var files []durable.File
	for _, d := range all {
		if st := d.staged; st.file != nil && st.failed == nil {
			open, files = append(open, st), append(files, st.file)
		}
	}
	for i, err := range durable.SyncAll(files) {
		open[i].sealed(err)
	}
}

// target is a directory that some of a group go to.
type target struct {
	place *place // nil: there is none
	err   error  // why
	some  []*delivery
}

// placeAll moves the messages that are durable to their mailboxes, and syncs each
// directory once.
func placeAll(all []*delivery) {
	var targets []*target
	for _, d := range all {
		if d.err = d.staged.Sync(); d.err != nil { // tells what became of it
			continue
		}
		t := d.targetAmong(targets)
		if t == nil {
			if !d.user.mu.TryLock() {
				d.err = errUserBusy
				continue
			}
			t = d.findTarget()
			targets = append(targets, t)
		}
		t.take(d)
	}
	syncs := make([]func() error, len(targets))
	for i, t := range targets {
		syncs[i] = t.sync
	}
	for i, err := range durable.AtOnce(syncs) {
		targets[i].finish(err)
	}
}

// targetAmong returns the target that d goes to, too; nil when there is none.
func (d *delivery) targetAmong(targets []*target) *target {
	for _, t := range targets {
		if first := t.some[0]; first.user == d.user && first.mailbox == d.mailbox && (first.flags == 0) == (d.flags == 0) {
			return t
		}
	}
	return nil
}

// findTarget looks for the directory that d goes to, and unlocks the user, who is
// locked.
func (d *delivery) findTarget() *target {
	defer d.user.mu.Unlock()
	place, err := d.user.deliveryPlace(d.mailbox, d.flags)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrBadName) {
		place, err = d.user.deliveryPlace(inbox, d.flags)
	}
	return &target{place: place, err: err}
}

// take puts d into the target's directory.
func (t *target) take(d *delivery) {
	t.some = append(t.some, d)
	if d.err = t.err; d.err != nil {
		return
	}
	name := d.staged.base()
	if d.flags != 0 {
		name += parseInfo("").with(d.flags, 0)
	}
	if d.err = d.staged.move(t.place.dir, name); d.err != nil {
		if errors.Is(d.err, fs.ErrNotExist) {
			d.user.forgetInboxNew() // the directory is gone, and its inode may be another one's now
		}
		return
	}
	d.into = name
}

// sync makes what was put there durable.
func (t *target) sync() error {
	for _, d := range t.some {
		if d.into != "" {
			return t.place.dir.Sync()
		}
	}
	return nil
}

// finish tells everybody how the directory's fsync ended, and the sessions that have
// the mailbox selected of what is there.
func (t *target) finish(err error) {
	if t.place == nil {
		return
	}
	defer t.place.close()
	for _, d := range t.some {
		switch {
		case d.into == "":
		case err != nil:
			// Not known to be durable: it must not be there when the sender is
			// told to come again.
			_ = t.place.dir.Remove(d.into)
			d.into, d.err = "", err
		default:
			d.into = t.place.name
		}
	}
	if m := t.place.mailbox; m != nil && err == nil {
		m.kick()
	}
}
