package maildir

import (
	"os"
	"strings"
	"testing"
	"time"
)

// Cases 9 and 18: two who work on the same file at the same moment.

// Two servers find two names of one message, and their time is up for both. Each
// prefers the name that it knows, and wants to remove the other's.
func TestCase09TwoServersDropADouble(t *testing.T) {
	clock := newTestClock()
	f := &faults{}
	h := faulty(t, f, func(c *Config) { c.Now = clock.time }).open()
	h.put("cur/1700000001.M1P1.x:2,", testMessage(1))
	h.check(h.sync(h.inbox), "1 -")
	// The other server knows the message under its second name only.
	h.rename("cur/1700000001.M1P1.x:2,", "cur/1700000001.M1P1.x:2,S")
	other := &harness{t: t, dir: t.TempDir(), root: h.root, cfg: h.cfg}
	other.cfg.State, other.cfg.MailDir, other.cfg.Host = other.dir, nil, "other"
	t.Cleanup(func() { other.close() })
	other.open()
	other.check(other.sync(other.inbox), "1 S")
	h.link("cur/1700000001.M1P1.x:2,S", "cur/1700000001.M1P1.x:2,")
	// Ours hears of both events at once, and keeps the name that it had.
	h.sync(h.inbox)
	other.sync(other.inbox)
	clock.add(doubleWait + time.Second)
	dropped := make(chan struct{})
	f.on(func(op operation) error {
		if op.kind == "remove" && strings.HasPrefix(op.name, "1700000001.") {
			f.on(nil)
			go func() {
				defer close(dropped)
				other.sync(other.inbox)
			}()
			select {
			case <-dropped:
			case <-time.After(300 * time.Millisecond): // it waits for us
			}
		}
		return nil
	})
	h.sync(h.inbox)
	select {
	case <-dropped:
	case <-time.After(time.Minute):
		t.Fatal("the other server does not come to its end")
	}
	if names := h.files("cur"); len(names) != 1 {
		t.Fatalf("%q are left of two names", names)
	}
	for _, x := range []*harness{h, other} {
		var s *State
		x.eventually("the name that is left", func() bool { s = x.sync(x.inbox); return s.Len() == 1 && x.inbox.quiet() })
		x.agrees(s)
	}
}

// STORE and another program's rename of the same file, in every order of their steps:
// the other looks for the name at one step of ours, renames at the same one or a later
// one, and looks again when its name is gone. Both changes are there in the end.
func TestCase18AllInterleavings(t *testing.T) {
	steps := ifLong(8, 4)
	orders := 0
	for _, blind := range []bool{false, true} {
		for look := range steps {
			for act := look; act < steps; act++ {
				for _, again := range ifLong([]int{0, 1, 2, 3, 4}, []int{0}) {
					f := &faults{blind: blind}
					h := faulty(t, f, quiet).open()
					h.put("cur/1700000001.M1P1.x:2,T", testMessage(1))
					h.check(h.sync(h.inbox), "1 T")
					// One more turn toggles D again times: an even number leaves it.
					other := &renamer{h: h, look: look, act: act, left: 1 + again}
					f.on(func(op operation) error {
						if op.changes || op.kind == "open" || op.kind == "scan" || op.kind == "stat" && strings.HasPrefix(op.name, "17") {
							other.step()
						}
						return nil
					})
					res, err := h.inbox.Store(h.ctx(), []UID{1}, Change{Op: Add, Flags: FlagFlagged})
					f.on(nil)
					if err != nil || len(res.Gone) > 0 {
						t.Fatalf("look %d, act %d, again %d, blind %v: %+v %v", look, act, again, blind, res, err)
					}
					for other.left > 0 {
						other.finish()
					}
					want := "1 FRT"
					if again%2 == 1 {
						want = "1 FT"
					}
					h.check(h.sync(h.inbox), want)
					h.agrees(h.inbox.State())
					if t.Failed() {
						t.Fatalf("look %d, act %d, again %d, blind %v", look, act, again, blind)
					}
					h.close()
					orders++
				}
			}
		}
	}
	t.Logf("%d orders", orders)
}

// renamer toggles \Answered as another program does: it looks for the name, and
// renames it some steps later.
type renamer struct {
	h         *harness
	look, act int
	left      int // turns
	at        int
	name      string
}

func (r *renamer) step() {
	if r.left == 0 {
		return
	}
	if r.at == r.look {
		r.find()
	}
	if r.at == r.act {
		r.rename()
		r.at = -1
	}
	r.at++
}

// finish does what is left of a turn, after STORE.
func (r *renamer) finish() {
	if r.name == "" {
		r.find()
	}
	r.rename()
}

func (r *renamer) find() { r.name = r.h.files("cur")[0] }

func (r *renamer) rename() {
	base, info := splitName(r.name)
	in := parseInfo(info)
	to := base + in.with(in.flags^FlagAnswered, in.letters)
	if err := r.h.tryRename("cur/"+r.name, "cur/"+to); err != nil { // its name is gone: it looks again
		r.find()
		r.rename()
		return
	}
	r.name = ""
	r.left--
}

func (h *harness) tryRename(from, to string) error {
	return os.Rename(h.path(from), h.path(to))
}

// The name that is served goes, and the second one stays: as neomutt renames, by link
// and unlink, and somebody looks between the two.
func TestCase09FirstNameGoes(t *testing.T) {
	h := newHarness(t).open()
	h.put("cur/1700000001.M1P1.x:2,", testMessage(1))
	h.check(h.sync(h.inbox), "1 -")
	before := h.inbox.State()
	h.link("cur/1700000001.M1P1.x:2,", "cur/1700000001.M1P1.x:2,S")
	h.sync(h.inbox)
	h.remove("cur/1700000001.M1P1.x:2,")
	h.check(h.sync(h.inbox), "1 S")
	if c := h.inbox.Changes(before, h.inbox.State()); len(c.Vanished)+len(c.Added) > 0 {
		t.Errorf("changes %+v", c)
	}
	h.agrees(h.sync(h.inbox))
}
