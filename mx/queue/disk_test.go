package queue

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"buzon/internal/durable/crashfs"
	"buzon/internal/smtp"
)

// A disk that fails at any step of Submit: the client is told, nothing of the
// message is left, and it is never sent. The next one is taken.
func TestSubmitOnBadDisk(t *testing.T) {
	const first, next, large = "the first", "the next", "a large" // message
	for _, tt := range []struct {
		message    string
		op, prefix string
		err        error
		want       error
	}{
		{first, "create", "/tmp/", syscall.ENOSPC, smtp.DiskFull},
		{first, "write", "/tmp/", syscall.EDQUOT, smtp.DiskFull},
		{first, "fdatasync", "/tmp/", syscall.EIO, syscall.EIO},
		{first, "rename", "/tmp/", syscall.ENOSPC, smtp.DiskFull},
		{first, "fsync", "/journal/", syscall.EIO, syscall.EIO},
		{next, "write", "/tmp/1", syscall.ENOSPC, smtp.DiskFull}, // where writing in place needs room
		{next, "fdatasync", "/tmp/1", syscall.EIO, syscall.EIO},
		{large, "create", "/tmp/", syscall.ENOSPC, smtp.DiskFull},
		{large, "write", "/tmp/", syscall.ENOSPC, smtp.DiskFull},
		{large, "write", "/tmp/", syscall.EDQUOT, smtp.DiskFull},
		{large, "fsync", "/tmp/", syscall.EIO, syscall.EIO},
		{large, "rename", "/tmp/", syscall.ENOSPC, smtp.DiskFull},
		{large, "fsync", "/message/", syscall.EIO, syscall.EIO},
	} {
		t.Run(tt.message+" "+tt.op+" "+tt.err.Error(), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				w, disk := newWorld(t), crashfs.New(time.Now())
				var broken atomic.Bool
				disk.Fail = func(op, name string) error {
					if broken.Load() && op == tt.op && strings.HasPrefix(name, tt.prefix) {
						return tt.err
					}
					return nil
				}
				cfg := w.config("")
				cfg.Limits.Segment = 64 << 10
				q := w.open(cfg, disk.Root())
				content := text
				switch tt.message {
				case next:
					w.submit(q.Queue, "eva@far.test")
					pass(time.Second)
				case large:
					content += strings.Repeat("x", 64<<10/maxShare)
				}
				broken.Store(true)
				_, err := q.Submit(t.Context(), envelope("luis@far.test"), stringsReader(content))
				if !errors.Is(err, tt.want) {
					t.Errorf("Submit: %v", err)
				}
				broken.Store(false)
				w.submit(q.Queue, "ana@far.test")
				pass(time.Hour)
				q.stop()
				w.open(cfg, disk.Root())
				pass(time.Hour)
				left := append(journalled(t, disk), slices.DeleteFunc(disk.Tree(), isSegment)...)
				if w.triesOf("luis@far.test") != 0 || len(left) > 0 {
					t.Errorf("%d attempts; left: %v", w.triesOf("luis@far.test"), left)
				}
				if w.copiesOf("ana@far.test") != 1 {
					t.Errorf("the message after it has come %d times", w.copiesOf("ana@far.test"))
				}
			})
		})
	}
}

// An outcome that cannot be written is kept until it can be: who has got the
// message does not get it again.
func TestOutcomeOnFullDisk(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, disk := newWorld(t), crashfs.New(time.Now())
		w.delay = func(string) time.Duration { return time.Second } // the disk is full when it ends
		w.answer = func(to smtp.Address, n int) smtp.Result {
			switch {
			case to.Local == "refused":
				return refused()
			case to.Local == "grey" && n == 0:
				return later()
			}
			return ok(to)
		}
		var full atomic.Bool
		disk.Fail = func(op, name string) error {
			if full.Load() && (op == "write" || op == "create") && !strings.HasPrefix(name, "/active/") && name != "/tmp/1" { // written in place
				return syscall.ENOSPC
			}
			return nil
		}
		q := w.open(w.config(""), disk.Root())
		w.submit(q.Queue, "plain@live.test")
		w.submit(q.Queue, "luis@live.test", "grey@live.test", "refused@live.test")
		full.Store(true)
		pass(time.Hour)
		if w.copiesOf("luis@live.test") != 1 || w.triesOf("grey@live.test") != 1 || w.logged("outcome of an attempt is not written yet") < 50 {
			t.Errorf("%d copies, %d attempts; log:\n%s", w.copiesOf("luis@live.test"), w.triesOf("grey@live.test"), w.logText())
		}
		full.Store(false)
		pass(time.Hour)
		if w.copiesOf("luis@live.test") != 1 || w.copiesOf("grey@live.test") != 1 || w.noticesOf("failed", "refused@live.test") != 1 || w.copiesOf("plain@live.test") != 1 {
			t.Errorf("%d, %d copies, %d notices", w.copiesOf("luis@live.test"), w.copiesOf("grey@live.test"), w.noticesOf("failed", "refused@live.test"))
		}
		if left := append(journalled(t, disk), slices.DeleteFunc(disk.Tree(), isSegment)...); len(left) > 0 {
			t.Errorf("left in the spool: %v", left)
		}
	})
}
