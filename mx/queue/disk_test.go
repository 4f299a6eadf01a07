package queue

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"buzon/internal/durable/crashfs"
	"buzon/internal/smtp"
)

// A disk that fails at any step of Submit: the client is told, nothing of the
// message is left, and it is never sent.
func TestSubmitOnBadDisk(t *testing.T) {
	for _, tt := range []struct {
		op, prefix string
		err        error
		want       error
	}{
		{"create", "/tmp/", syscall.ENOSPC, smtp.DiskFull},
		{"write", "/tmp/", syscall.ENOSPC, smtp.DiskFull},
		{"write", "/tmp/", syscall.EDQUOT, smtp.DiskFull},
		{"fsync", "/tmp/", syscall.EIO, syscall.EIO},
		{"rename", "/tmp/", syscall.ENOSPC, smtp.DiskFull},
		{"fsync", "/message/", syscall.EIO, syscall.EIO},
	} {
		t.Run(tt.op+" "+tt.err.Error(), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				w, disk := newWorld(t), crashfs.New(time.Now())
				var broken atomic.Bool
				disk.Fail = func(op, name string) error {
					if broken.Load() && op == tt.op && strings.HasPrefix(name, tt.prefix) {
						return tt.err
					}
					return nil
				}
				q := w.open(w.config(""), disk.Root())
				broken.Store(true)
				_, err := q.Submit(t.Context(), envelope("luis@far.test"), stringsReader(text))
				if !errors.Is(err, tt.want) {
					t.Errorf("Submit: %v", err)
				}
				broken.Store(false)
				pass(time.Hour)
				q.stop()
				w.open(w.config(""), disk.Root())
				pass(time.Hour)
				if w.triesOf("luis@far.test") != 0 || len(disk.Tree()) > 0 {
					t.Errorf("%d attempts; left: %v", w.triesOf("luis@far.test"), disk.Tree())
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
			if full.Load() && (op == "write" || op == "create") && !strings.HasPrefix(name, "/active/") {
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
		if left := disk.Tree(); len(left) > 0 {
			t.Errorf("left in the spool: %v", left)
		}
	})
}
