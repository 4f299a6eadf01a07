package maildir

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"buzon/internal/e2e/child"

	"golang.org/x/sys/unix"
)

// The cases of this file cut the power on file systems of the kernel: they are on an
// image whose state is copied before each step of an operation, so that what was not
// written to the device by then is lost. BUZON_STORE_IMAGES names the file systems
// ("btrfs ext4 xfs"); only root can mount them.

// image is a mounted image, and its copies.
type image struct {
	t          *testing.T
	kind       string
	dir, mount string
	copies     []string // files
	before     []string // the step that each was made before
}

func onImages(t *testing.T, fn func(t *testing.T, im *image)) {
	kinds := strings.Fields(os.Getenv("BUZON_STORE_IMAGES"))
	if len(kinds) == 0 {
		t.Skip("BUZON_STORE_IMAGES is not set")
	}
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			im := &image{t: t, kind: kind, dir: t.TempDir()}
			im.mount = filepath.Join(im.dir, "mounted")
			if out, err := im.run("mkdir mounted; truncate -s 512M disk; mkfs." + kind + " -q disk; mount -o loop disk mounted; umount mounted"); err != nil {
				if os.Getenv("CI") == "true" {
					t.Fatalf("no image: %v\n%s", err, out)
				}
				t.Skipf("no image: %v\n%s", err, out)
			}
			fn(t, im)
		})
	}
}

func (im *image) run(script string) ([]byte, error) {
	cmd := child.Command(im.t, time.Minute, "sh", "-ec", script)
	cmd.Dir = im.dir
	return cmd.CombinedOutput()
}

func (im *image) shell(script string) {
	im.t.Helper()
	if out, err := im.run(script); err != nil {
		im.t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// on mounts a file while fn runs.
func (im *image) on(file string, fn func(h *harness)) {
	im.t.Helper()
	// The kernel's own minutes must not write what we did not sync.
	options := map[string]string{"ext4": ",commit=300", "btrfs": ",commit=300"}[im.kind]
	im.shell("mount -o loop" + options + " " + file + " mounted")
	defer im.shell("umount mounted")
	h := newHarness(im.t, quiet)
	h.dir = im.mount
	h.root = filepath.Join(h.dir, "mail", "example.org", "ana", "Maildir")
	h.cfg.Mail, h.cfg.State = filepath.Join(h.dir, "mail"), filepath.Join(h.dir, "state")
	defer h.close()
	fn(h)
}

// eachStep runs an operation on what setup made and copies the image before each of
// its steps, and when it is done.
func (im *image) eachStep(setup, run func(h *harness)) {
	im.t.Helper()
	im.on("disk", func(h *harness) {
		f := &faults{state: true}
		h.before = func(c *Config) {
			for at, dir := range map[string]*faultDir{c.Mail: {faults: f}, c.State: {faults: f}} {
				real, err := makeAndOpen(at)
				if err != nil {
					im.t.Fatal(err)
				}
				dir.Dir = real
				if at == c.Mail {
					c.MailDir = dir
				} else {
					c.StateDir = dir
				}
			}
		}
		h.open()
		setup(h)
		im.sync()
		f.on(func(op operation) error {
			if op.changes {
				im.copy(fmt.Sprintf("%s %s/%s", op.kind, op.dir, op.name))
			}
			return nil
		})
		run(h)
		im.copy("the answer was given")
		f.on(nil)
	})
}

// sync writes all that the mounted file system has to its device.
func (im *image) sync() {
	im.t.Helper()
	d, err := os.Open(im.mount)
	if err != nil {
		im.t.Fatal(err)
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		im.t.Fatal(err)
	}
}

func (im *image) copy(step string) {
	im.t.Helper()
	name := fmt.Sprint("copy", len(im.copies))
	im.shell("cp --sparse=always disk " + name)
	im.copies, im.before = append(im.copies, name), append(im.before, step)
}

// eachCopy mounts the copies one after the other: raw sees what the cut left, check the
// store that was opened on it. answered is true of the last one.
func (im *image) eachCopy(raw func(h *harness), check func(h *harness, when string, answered bool)) {
	im.t.Helper()
	for i, name := range im.copies {
		im.on(name, func(h *harness) {
			raw(h)
			h.reboot()
			check(h, fmt.Sprintf("%s: cut before step %d (%s)", im.kind, i, im.before[i]), i == len(im.copies)-1)
		})
		im.shell("rm " + name)
	}
}

// reboot opens the store in another run of the kernel, as far as it knows.
func (h *harness) reboot() {
	h.t.Helper()
	var err error
	if h.store, err = Open(h.cfg); err != nil {
		h.t.Fatal(err)
	}
	h.store.boot = "another boot"
	if h.user, err = h.store.User(h.ctx(), "ana@example.org"); err != nil {
		h.t.Fatal(err)
	}
	h.inbox = h.mailbox("INBOX")
}

// texts returns the messages of a mailbox by their UIDs.
func (h *harness) texts(m *Mailbox) map[UID]string {
	h.t.Helper()
	all := map[UID]string{}
	for _, uid := range h.sync(m).UIDs() {
		all[uid] = h.read(m, uid)
	}
	return all
}

// messageFiles returns the names of all messages' files in a folder, with its directory.
func (h *harness) messageFiles(folder string) (all []string) {
	h.t.Helper()
	for _, d := range []string{"new", "cur"} {
		names, err := filepath.Glob(filepath.Join(h.root, folder, d, "*"))
		if err != nil {
			h.t.Fatal(err)
		}
		all = append(all, names...)
	}
	return all
}

// Case 30: after a cut during MOVE each message is in exactly one folder, also where the
// target was on the device and the source's end was not.
func TestCase30ImageOfAMove(t *testing.T) {
	onImages(t, func(t *testing.T, im *image) {
		var all []string
		im.eachStep(func(h *harness) {
			h.append(h.inbox, 5, FlagSeen)
			dst := h.mailbox("Archive")
			defer dst.Close()
			h.sync(dst)
			for _, text := range h.texts(h.inbox) {
				all = append(all, text)
			}
			slices.Sort(all)
		}, func(h *harness) {
			dst := h.mailbox("Archive")
			defer dst.Close()
			if res, err := h.inbox.Move(h.ctx(), []UID{1, 2, 4}, dst); err != nil || len(res.Dst) != 3 {
				t.Errorf("MOVE: %+v, %v", res, err)
			}
		})
		cuts, both, between := len(im.copies), 0, 0
		im.eachCopy(func(h *harness) {
			if n := len(h.messageFiles("")) + len(h.messageFiles(".Archive")); n > len(all) {
				both++
			} else if n < len(all) {
				t.Errorf("%d files of %d", n, len(all))
			}
		}, func(h *harness, when string, answered bool) {
			dst := h.mailbox("Archive")
			defer dst.Close()
			here, there := h.texts(h.inbox), h.texts(dst)
			var got []string
			for _, texts := range []map[UID]string{here, there} {
				for _, text := range texts {
					got = append(got, text)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, all) {
				t.Errorf("%s: %d messages here and %d there, together %q", when, len(here), len(there), got)
			}
			if answered && len(there) != 3 {
				t.Errorf("%s: %d messages were moved", when, len(there))
			}
			if len(here) > 2 && len(there) > 0 {
				between++
			}
			if n := len(h.messageFiles("")) + len(h.messageFiles(".Archive")); n != len(all) {
				t.Errorf("%s: %d files of %d after the recovery", when, n, len(all))
			}
		})
		t.Logf("%s: %d power cuts, in %d of them messages had both names, %d left some here and some there", im.kind, cuts, both, between)
	})
}

// Case 31: what was told to be expunged stays gone; what was not is there under its
// UID, or gone; and a copy that is put back is a new message, which recovery leaves alone.
func TestCase31ImageOfAnExpunge(t *testing.T) {
	onImages(t, func(t *testing.T, im *image) {
		before := map[UID]string{}
		var saved, name string
		im.eachStep(func(h *harness) {
			h.append(h.inbox, 5, FlagSeen)
			before = h.texts(h.inbox)
			name = h.files("cur")[1]
			saved = filepath.Join(im.dir, "saved")
			im.shell("cp -p 'mounted/mail/example.org/ana/Maildir/cur/" + name + "' saved")
		}, func(h *harness) {
			s := h.inbox.State()
			if gone, err := h.inbox.Expunge(h.ctx(), []UID{2, 4}); err != nil || len(gone) != 2 {
				t.Errorf("EXPUNGE: %v, %v", gone, err)
			}
			if err := h.inbox.Commit(h.ctx(), h.inbox.State()); err != nil {
				t.Error(err)
			}
			if c := h.inbox.Changes(s, h.inbox.State()); len(c.Vanished) != 2 {
				t.Errorf("changes %+v", c)
			}
		})
		cuts, there := len(im.copies), 0
		im.eachCopy(func(h *harness) {
			if len(h.messageFiles("")) > 3 {
				there++
			}
		}, func(h *harness, when string, answered bool) {
			for uid, text := range h.texts(h.inbox) {
				if before[uid] != text {
					t.Errorf("%s: UID %d is %q", when, uid, text)
				}
			}
			s := h.sync(h.inbox)
			for uid := range before {
				_, ok := s.Find(uid)
				if mayGo := uid == 2 || uid == 4; !ok && !mayGo || ok && mayGo && answered {
					t.Errorf("%s: UID %d is there: %v", when, uid, ok)
				}
			}
			// Put back where the message is gone: another file of the same name.
			if _, ok := s.Find(2); ok {
				return
			}
			next := s.UIDNext()
			im.shell("cp -p " + saved + " 'mounted/mail/example.org/ana/Maildir/cur/" + name + "'")
			for range 2 {
				if got := h.texts(h.inbox); got[next] != before[2] || got[2] != "" {
					t.Errorf("%s: the restored message is not UID %d: %v", when, next, got)
				}
				h.close()
				h.reboot() // recovery again, from the same log
			}
		})
		t.Logf("%s: %d power cuts, %d of them left files of messages that were being expunged", im.kind, cuts, there)
	})
}
