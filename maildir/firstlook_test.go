package maildir

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A crowd is numbered, read and kept as single files are: by the uidlist where it
// knows them, else in order of arrival.
func TestFirstLookAtCrowd(t *testing.T) {
	h := newHarness(t)
	const n = 3 * crowdLeast
	for _, d := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(h.root, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	text := testMessage(1)
	rng := rand.New(rand.NewPCG(1, 2))
	var list []string
	want := map[string]UID{} // by base
	next := UID(5)
	type file struct {
		base      string
		sec, usec int
	}
	var late []file
	bytes := int64(0)
	for i := range n {
		f := file{sec: 1700000000 + rng.IntN(100), usec: rng.IntN(1e6)}
		f.base = fmt.Sprintf("%d.M%dP1Q%d.host", f.sec, f.usec, i)
		if i%3 == 0 {
			f.base += fmt.Sprintf(",S=%d,W=%[1]d", len(text))
		}
		path := filepath.Join("cur", f.base+":2,"+[]string{"", "S", "FS"}[i%3])
		if i%7 == 0 {
			path = filepath.Join("new", f.base)
		}
		h.put(path, text)
		bytes += int64(len(text))
		if i%2 == 0 {
			keys := []string{"", fmt.Sprintf("S%d ", len(text)), "Gguid" + f.base + " "}[i/2%3]
			list = append(list, fmt.Sprintf("%d %s:%s", next, keys, f.base))
			want[f.base] = next
			next += UID(1 + i%4/2)
		} else {
			late = append(late, f)
		}
	}
	slices.SortFunc(late, func(a, b file) int {
		return arrivalTime{int64(a.sec), int64(a.usec)}.compare(arrivalTime{int64(b.sec), int64(b.usec)}, a.base, b.base)
	})
	last := UID(0)
	fmt.Sscan(list[len(list)-1], &last)
	for i, f := range late {
		want[f.base] = last + 1 + UID(i)
	}
	// Two names of one base, a name that no list can hold, and what is no message.
	h.put("cur/"+late[0].base+":2,T", text)
	bytes += int64(len(text))
	h.put("cur/odd\nname:2,F", text)
	bytes += int64(len(text))
	h.put("cur/.hidden", text)
	if err := os.Mkdir(filepath.Join(h.root, "cur", "directory"), 0o700); err != nil {
		t.Fatal(err)
	}
	h.put(uidlistFile, "3 V7 N5\n"+strings.Join(list, "\n")+"\n3000000 :gone.long.ago\n")
	for base := range want {
		if want[base] > last {
			want[base] += 3000000 - last
		}
	}
	check := func(when string) {
		t.Helper()
		s := h.inbox.State()
		if s.Len() != n+2 || s.UIDValidity() != 7 {
			t.Fatalf("%s: %d messages, UIDVALIDITY %d", when, s.Len(), s.UIDValidity())
		}
		wrong := 0
		for i, uid := range s.UIDs() {
			base, in, isNew := s.file(i)
			if want[base] != uid && want[base] != 0 && base != late[0].base {
				wrong++
				t.Errorf("%s: %s has UID %d, not %d", when, base, uid, want[base])
			}
			if _, err := os.Stat(filepath.Join(h.root, map[bool]string{true: "new", false: "cur"}[isNew], base+in.raw)); err != nil {
				t.Errorf("%s: %v", when, err)
			}
			if flags := s.Message(i).Flags; flags != in.flags {
				t.Errorf("%s: UID %d has flags %v, its name %v", when, uid, flags, in.flags)
			}
			if guid := s.GUID(i); guid != base && guid != "guid"+base {
				t.Errorf("%s: UID %d has GUID %q", when, uid, guid)
			}
			if wrong > 5 {
				t.FailNow()
			}
		}
		if s.Bytes() != bytes {
			t.Errorf("%s: %d bytes, not %d", when, s.Bytes(), bytes)
		}
		if n, err := s.Size(s.Len() / 2); err != nil || n != int64(len(text)) {
			t.Errorf("%s: size %d, %v", when, n, err)
		}
		unseen := 0
		for i := range s.UIDs() {
			if s.Message(i).Flags&FlagSeen == 0 {
				if unseen == 0 && s.FirstUnseen() != i {
					t.Errorf("%s: first unseen %d, not %d", when, s.FirstUnseen(), i)
				}
				unseen++
			}
		}
		if s.Unseen() != unseen {
			t.Errorf("%s: %d unseen, not %d", when, s.Unseen(), unseen)
		}
	}
	h.open()
	check("first look")
	uids := h.inbox.State().UIDs()
	same := func(when string) {
		t.Helper()
		check(when)
		if !slices.Equal(uids, h.inbox.State().UIDs()) {
			t.Errorf("%s: other UIDs", when)
		}
	}
	h.restart()
	same("restarted")
	h.close()
	if err := os.RemoveAll(h.cfg.State); err != nil {
		t.Fatal(err)
	}
	h.open()
	same("without the index")
	h.close()
	if err := os.RemoveAll(h.cfg.State); err != nil {
		t.Fatal(err)
	}
	h.cfg.State = ""
	h.open()
	same("without any index")
}

// Where the whole snapshot cannot be written a crowd is served from memory.
func TestFirstLookWithoutRoom(t *testing.T) {
	h := newHarness(t, quiet)
	h.fillTree(crowdLeast)
	f := &faults{}
	f.on(func(op operation) error {
		if op.changes && strings.HasPrefix(op.name, snapshotPrefix) {
			return unix.ENOSPC
		}
		return nil
	})
	h.before = func(c *Config) {
		state, err := makeAndOpen(c.State)
		if err != nil {
			t.Fatal(err)
		}
		c.StateDir = &faultDir{Dir: state, faults: f}
	}
	h.open()
	if n := h.inbox.State().Len(); n != crowdLeast {
		t.Fatal(n)
	}
	if uids := h.inbox.State().UIDs(); uids[0] != 1 || uids[crowdLeast-1] != crowdLeast {
		t.Error(uids[0], uids[crowdLeast-1])
	}
}
