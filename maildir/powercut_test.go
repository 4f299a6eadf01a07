package maildir

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"buzon/internal/durable/crashfs"
)

// The power-cut test runs an operation on a file system that forgets what was not
// synced, cuts the power before each of the operation's steps, with several choices
// of what survives, opens the store again and checks what was promised.

// world is a store on such a file system, and the ledger of what clients know.
type world struct {
	t     *testing.T
	fs    *crashfs.FS
	store *Store
	user  *User

	told     map[string]map[UID]string // mailbox → UID → text, as acknowledged
	gone     map[string]map[UID]bool   // acknowledged as expunged or moved away
	validity map[string]uint32
	modseq   map[string]ModSeq // committed
	kept     map[string]bool   // texts that must be somewhere, whatever happens
	inFlight map[string]bool   // texts that may be there or not
	flagged  ModSeq            // of the last STORE that was committed
	urlKey   string            // that URLs are signed with
	deleted  []string          // mailboxes, acknowledged

	undeleteDays int
}

func newWorld(t *testing.T) *world {
	w := &world{
		t: t, fs: crashfs.New(time.Unix(1_800_000_000, 0)), told: map[string]map[UID]string{}, gone: map[string]map[UID]bool{},
		validity: map[string]uint32{}, modseq: map[string]ModSeq{}, kept: map[string]bool{}, inFlight: map[string]bool{},
	}
	root := w.fs.Root()
	for _, d := range []string{"mail", "state"} {
		if err := root.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := root.Sync(); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) open() error {
	root := w.fs.Root()
	mail, err := root.OpenDir("mail")
	if err != nil {
		return err
	}
	state, err := root.OpenDir("state")
	if err != nil {
		return err
	}
	w.store, err = Open(Config{
		MailDir: mail, StateDir: state, Host: "test", Now: w.fs.Now, UndeleteDays: w.undeleteDays, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		return err
	}
	w.store.boot = "boot" // no power cut is survived by it: the stamps must not be believed
	w.store.namer.random = "0123456789abcdef"
	w.user, err = w.store.User(context.Background(), "ana@example.org")
	return err
}

func (w *world) close() {
	if w.user != nil {
		w.user.Release()
		w.user = nil
	}
	if w.store != nil {
		_ = w.store.Close()
	}
}

func (w *world) mailbox(name string) (*Mailbox, error) {
	return w.user.Open(context.Background(), name)
}

// text is a message whose size says whether it is whole.
func text(id string) string { return "X-Id: " + id + "\r\n\r\n" + strings.Repeat(id, 20) + "\r\n" }

func (w *world) stage(id string) (*Staged, error) {
	return w.user.Stage(context.Background(), strings.NewReader(text(id)))
}

// learn notes what a client of a mailbox knows after an acknowledged operation.
func (w *world) learn(m *Mailbox) error {
	s, err := m.Sync(context.Background())
	if err != nil {
		return err
	}
	name := w.key(m)
	if w.told[name] == nil {
		w.told[name], w.gone[name] = map[UID]string{}, map[UID]bool{}
	}
	for _, uid := range s.UIDs() {
		id, err := w.read(m, uid)
		if err != nil {
			return err
		}
		w.told[name][uid] = id
		w.kept[id] = true
		delete(w.inFlight, id)
	}
	w.validity[name] = s.UIDValidity()
	if err := m.Commit(context.Background(), s); err != nil {
		return err
	}
	if !w.fs.Dead() {
		w.modseq[name] = s.HighestModSeq()
	}
	return nil
}

// read returns the id of a message after checking that it is whole.
func (w *world) read(m *Mailbox, uid UID) (string, error) {
	f, err := m.OpenMessage(context.Background(), uid)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b := make([]byte, f.Size())
	if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		return "", err
	}
	id, _, _ := strings.Cut(strings.TrimPrefix(string(b), "X-Id: "), "\r\n")
	if string(b) != text(id) {
		return "", fmt.Errorf("message %d is torn: %q", uid, b)
	}
	return id, nil
}

// a scenario is an operation and what it promises.
type scenario struct {
	name  string
	setup func(w *world) error
	run   func(w *world) error
	// check looks at the recovered store; ids says which texts each mailbox has.
	check func(w *world, done bool, ids map[string][]string) error

	undeleteDays int
	bare         bool // run opens the tree, for the first time
}

func TestPowerCut(t *testing.T) {
	samples := 1 // POWERCUT_SAMPLES=20 looks closer
	if n, err := strconv.Atoi(os.Getenv("POWERCUT_SAMPLES")); err == nil {
		samples = n
	}
	cuts := 0
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			for after := 0; ; after++ {
				finished := false
				// Two are always the same, the others differ each time.
				for sample := range 2 + samples*(len(crashfs.Modes)-2) {
					mode := crashfs.Modes[min(sample, 2+(sample-2)%(len(crashfs.Modes)-2))]
					done, err := runCut(t, sc, after, mode, uint64(sample), nil)
					cuts++
					if err != nil {
						t.Fatalf("power cut before step %d (mode %d, sample %d): %v", after, mode, sample, err)
					}
					finished = done
				}
				if finished {
					return
				}
			}
		})
	}
	fmt.Printf("%d power cuts survived\n", cuts)
}

// runCut runs a scenario up to a cut and checks what is found afterwards. done
// says that the operation was finished before. An fsync that lie, where it is not nil,
// says true of is left out.
func runCut(t *testing.T, sc scenario, after int, mode crashfs.Mode, seed uint64, lie func(site string) bool) (done bool, err error) {
	w := newWorld(t)
	w.fs.Lie = guarded(lie)
	w.undeleteDays = sc.undeleteDays
	if !sc.bare {
		if err := w.open(); err != nil {
			return false, err
		}
		if err := sc.setup(w); err != nil {
			return false, fmt.Errorf("setup: %w", err)
		}
	}
	w.fs.CutAfter(after)
	err = sc.run(w)
	done = !w.fs.Dead()
	if done && err != nil {
		return true, fmt.Errorf("without a cut: %w", err)
	}
	rng := rand.New(rand.NewPCG(seed, uint64(after)))
	// The second cut comes right after clients have seen what the first one left.
	var before map[string][]string
	for round := range 2 {
		w.fs.CutAfter(0)
		w.close()
		w.fs = w.fs.Restart(mode, rng)
		ids, err := w.recovered(sc, done)
		if err == nil && round == 1 {
			for name := range before {
				if !slices.Equal(before[name], ids[name]) {
					err = fmt.Errorf("%s has %q, had %q before a second cut", name, ids[name], before[name])
				}
			}
		}
		if err != nil {
			err = fmt.Errorf("round %d: %w\n%s", round, err, strings.Join(w.fs.Tree(), "\n"))
			w.close()
			return done, err
		}
		before = ids
	}
	w.close()
	return done, nil
}

// recovered opens the store after a cut, checks what is there, and lets clients see
// it.
func (w *world) recovered(sc scenario, done bool) (map[string][]string, error) {
	if err := w.open(); err != nil {
		return nil, fmt.Errorf("open again: %w", err)
	}
	w.store.boot = "another boot"
	ids, err := w.verify()
	if err == nil && sc.check != nil {
		err = sc.check(w, done, ids)
	}
	for name := range ids {
		if err == nil {
			err = w.with(name, w.learn)
		}
	}
	return ids, err
}

// verify checks what is always true, and returns the texts of each mailbox.
func (w *world) verify() (map[string][]string, error) {
	ctx := context.Background()
	boxes, err := w.user.Mailboxes(ctx)
	if err != nil {
		return nil, err
	}
	found := map[string]int{}
	ids := map[string][]string{}
	for _, b := range boxes {
		if b.NoSelect {
			continue
		}
		m, err := w.mailbox(b.Name)
		if err != nil {
			return nil, err
		}
		list, err := w.verifyMailbox(m)
		m.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", b.Name, err)
		}
		ids[b.Name] = list
		for _, id := range list {
			found[id]++
		}
	}
	for id := range w.kept {
		if found[id] == 0 && !w.inFlight[id] {
			return nil, fmt.Errorf("message %s is lost", id)
		}
	}
	return ids, nil
}

func (w *world) verifyMailbox(m *Mailbox) ([]string, error) {
	s, name := m.State(), w.key(m)
	var ids []string
	for _, uid := range s.UIDs() {
		id, err := w.read(m, uid)
		if err != nil {
			return nil, err
		}
		if told, ok := w.told[name][uid]; ok && told != id && w.validity[name] == s.UIDValidity() {
			return nil, fmt.Errorf("UID %d was %s, is %s", uid, told, id)
		}
		if w.gone[name][uid] {
			return nil, fmt.Errorf("UID %d was expunged and is back", uid)
		}
		ids = append(ids, id)
	}
	if err := sameOverflow(m); err != nil {
		return nil, err
	}
	if v := w.validity[name]; v != 0 && v != s.UIDValidity() {
		return nil, fmt.Errorf("UIDVALIDITY %d was %d", s.UIDValidity(), v)
	}
	for uid := range w.told[name] {
		if uid >= s.UIDNext() {
			return nil, fmt.Errorf("UIDNEXT %d, but %d was told", s.UIDNext(), uid)
		}
	}
	if s.HighestModSeq() < w.modseq[name] {
		return nil, fmt.Errorf("HIGHESTMODSEQ %d, but %d was told", s.HighestModSeq(), w.modseq[name])
	}
	return ids, nil
}

// sameOverflow checks that the keywords without a letter would be the same without the
// index.
func sameOverflow(m *Mailbox) error {
	file, _, err := readOverflow(m.dir.folder)
	if err != nil {
		return err
	}
	s := m.State()
	for i := range s.Len() {
		if base, has := s.overflowOf(i); !slices.Equal(has, file[base]) {
			return fmt.Errorf("UID %d has the keywords %q, %s says %q", s.uids[i], has, overflowFile, file[base])
		}
	}
	return nil
}

// key is a mailbox in the ledger: its name, where it is ana's.
func (w *world) key(m *Mailbox) string {
	if m.User() == w.user {
		return m.Name()
	}
	return m.User().ID() + " " + m.Name()
}

// with calls fn with a mailbox.
func (w *world) with(name string, fn func(m *Mailbox) error) error {
	m, err := w.mailbox(name)
	if err != nil {
		return err
	}
	defer m.Close()
	return fn(m)
}

// fill appends messages and learns them.
func (w *world) fill(name string, ids ...string) error {
	return w.with(name, func(m *Mailbox) error {
		for _, id := range ids {
			st, err := w.stage(id)
			if err != nil {
				return err
			}
			if _, err := m.Append(context.Background(), []Append{{Staged: st, Flags: FlagSeen}}); err != nil {
				return err
			}
		}
		return w.learn(m)
	})
}

func newText(id string) io.Reader { return strings.NewReader(text(id)) }
