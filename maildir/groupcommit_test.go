package maildir

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// rush is deliveries that come while one before them is held up in its fsync.
type rush struct {
	*harness
	faults faults
	mu     sync.Mutex
	ops    []operation // what was done on the disk after that fsync
	// fail answers an operation with an error; nil: none.
	fail func(op operation) error
}

// deliver starts the first delivery and then one of each text, and returns the
// errors of these.
func (c *rush) deliver(t *testing.T, texts ...string) []error {
	t.Helper()
	reached, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	c.faults.on(func(op operation) error {
		if op.kind == "fsync" {
			once.Do(func() {
				close(reached)
				<-release
			})
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.ops = append(c.ops, op)
		if c.fail != nil {
			return c.fail(op)
		}
		return nil
	})
	var all sync.WaitGroup
	first := c.stage("Subject: first\r\n\r\n")
	all.Go(func() {
		defer first.Discard()
		if _, err := c.user.Deliver(c.ctx(), first, "INBOX", 0); err != nil {
			t.Error(err)
		}
	})
	<-reached
	errs := make([]error, len(texts))
	for i, text := range texts {
		st := c.stage(text)
		all.Go(func() {
			defer st.Discard()
			_, errs[i] = c.user.Deliver(c.ctx(), st, "INBOX", 0)
		})
	}
	for g := c.user.commits; ; runtime.Gosched() {
		g.mu.Lock()
		came := g.next != nil && len(g.next.all) == len(texts)
		g.mu.Unlock()
		if came {
			break
		}
	}
	close(release)
	all.Wait()
	c.faults.on(nil)
	return errs
}

func newRush(t *testing.T) *rush {
	c := &rush{}
	c.harness = faulty(t, &c.faults).open()
	return c
}

func texts(n int) (all []string) {
	for i := range n {
		all = append(all, testMessage(i))
	}
	return all
}

// Twenty who come while one is synced need one more fsync of the directory together,
// and it comes after every one of them was synced and got its place.
func TestGroupCommit(t *testing.T) {
	c := newRush(t)
	if err := errors.Join(c.deliver(t, texts(20)...)...); err != nil {
		t.Fatal(err)
	}
	synced, dirs, after := map[string]bool{}, 0, 0
	for _, op := range c.ops {
		switch {
		case op.kind == "fsync":
			synced[op.name] = true
		case op.kind == "rename" && !synced[op.name]:
			t.Errorf("%s got its place before it was synced", op.name)
		case op.kind == "rename":
			after++
		case op.kind == "syncdir" && strings.HasSuffix(op.dir, "/new"):
			dirs, after = dirs+1, 0
		}
	}
	if len(synced) != 21 || dirs != 2 || after != 0 {
		t.Errorf("%d files and %d directories were synced, %d names were not", len(synced), dirs, after)
	}
	if got := len(c.files("new")); got != 21 {
		t.Errorf("%d messages are there", got)
	}
}

// A message whose fsync fails is not delivered, and all others are.
func TestGroupCommitFileFails(t *testing.T) {
	c := newRush(t)
	broken, fsyncs := errors.New("broken"), 0
	c.fail = func(op operation) error {
		if op.kind == "fsync" {
			if fsyncs++; fsyncs == 3 {
				return broken
			}
		}
		return nil
	}
	errs := c.deliver(t, texts(5)...)
	failed := 0
	for _, err := range errs {
		if err != nil {
			failed++
		}
		if err != nil && !errors.Is(err, broken) {
			t.Error(err)
		}
	}
	if failed != 1 || fsyncs != 6 || len(c.files("new")) != 5 || len(c.files("tmp")) != 0 {
		t.Errorf("%d failed, %d fsyncs, new has %v, tmp has %v", failed, fsyncs, c.files("new"), c.files("tmp"))
	}
}

// When the directory cannot be synced nobody of the group is told otherwise, and
// nothing of it stays there; who came before is not concerned.
func TestGroupCommitDirectoryFails(t *testing.T) {
	c := newRush(t)
	broken, dirs := errors.New("broken"), 0
	c.fail = func(op operation) error {
		if op.kind == "syncdir" && strings.HasSuffix(op.dir, "/new") {
			if dirs++; dirs == 2 {
				return broken
			}
		}
		return nil
	}
	for _, err := range c.deliver(t, texts(5)...) {
		if !errors.Is(err, broken) {
			t.Errorf("delivered: %v", err)
		}
	}
	if got := c.files("new"); len(got) != 1 {
		t.Errorf("new has %v", got)
	}
	c.deliver(t, texts(1)...)
	if got := c.files("new"); len(got) != 3 {
		t.Errorf("new has %v after another one", got)
	}
}

// Who works on the folders of one user holds up his deliveries only, and these are
// made when he is done.
func TestGroupCommitBusyUser(t *testing.T) {
	c := newRush(t)
	other, err := c.store.User(c.ctx(), "eva@example.org")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Release()
	other.mu.Lock()
	var late sync.WaitGroup
	late.Go(func() {
		st, err := other.Stage(c.ctx(), strings.NewReader(testMessage(1)))
		if err != nil {
			t.Error(err)
			return
		}
		defer st.Discard()
		if into, err := other.Deliver(c.ctx(), st, "INBOX", 0); err != nil || into != "INBOX" {
			t.Errorf("delivered to %q: %v", into, err)
		}
	})
	for range 20 {
		c.harness.deliver(testMessage(2))
	}
	other.mu.Unlock()
	late.Wait()
	if got, _ := os.ReadDir(strings.Replace(c.root, "/ana/", "/eva/", 1) + "/new"); len(got) != 1 {
		t.Errorf("%d messages are there", len(got))
	}
}

// Each of a group goes where it shall: by mailbox, by flags, and to INBOX where there
// is no such mailbox.
func TestGroupCommitPlaces(t *testing.T) {
	h := newHarness(t).open()
	var all sync.WaitGroup
	for i := range 40 {
		mailbox := []string{"INBOX", "Junk", "None"}[i%3]
		st := h.stage(fmt.Sprintf("Subject: %s\r\n\r\n%d", mailbox, i))
		all.Go(func() {
			defer st.Discard()
			into, err := h.user.Deliver(h.ctx(), st, mailbox, []Flags{0, FlagSeen}[i%2])
			if want := strings.Replace(mailbox, "None", "INBOX", 1); err != nil || into != want {
				t.Errorf("delivered to %q: %v", into, err)
			}
		})
	}
	all.Wait()
	var got []int
	for _, dir := range []string{"new", "cur", ".Junk/new", ".Junk/cur"} {
		got = append(got, len(h.files(dir)))
	}
	if want := []int{14, 13, 6, 7}; !slices.Equal(got, want) {
		t.Errorf("new, cur, .Junk/new and .Junk/cur have %v messages, want %v", got, want)
	}
}
