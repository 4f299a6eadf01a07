package maildir

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"buzon/internal/durable/crashfs"
)

// Case 28: MULTIAPPEND and COPY of a hundred messages are done as a whole or not at
// all, whether the process dies or the power fails before any step. `make test` has
// fewer messages.

func hundred() int { return ifLong(100, 6) }

func TestCase28HundredAndPowerCut(t *testing.T) {
	var ids []string
	var uids []UID
	for i := range hundred() {
		ids, uids = append(ids, fmt.Sprint("m", i)), append(uids, UID(i+1))
	}
	for _, sc := range []scenario{
		{
			name:  "append",
			setup: func(w *world) error { return w.fill("INBOX", "a") },
			run:   func(w *world) error { return w.appendAll("INBOX", ids...) },
			check: func(w *world, done bool, has map[string][]string) error {
				return allOrNone(has["INBOX"], ids...)
			},
		}, {
			name:  "copy",
			setup: func(w *world) error { return w.appendAll("INBOX", ids...) },
			run: func(w *world) error {
				return w.with("INBOX", func(src *Mailbox) error {
					return w.with("Archive", func(dst *Mailbox) error {
						if _, err := src.Copy(context.Background(), uids, dst); err != nil {
							return err
						}
						return w.learn(dst)
					})
				})
			},
			check: func(w *world, done bool, has map[string][]string) error {
				if err := allOrNone(has["Archive"], ids...); err != nil {
					return err
				}
				return same(has["INBOX"], ids...)
			},
		},
	} {
		t.Run(sc.name, func(t *testing.T) {
			cuts := 0
			for after := 0; ; after++ {
				mode := crashfs.Modes[after%len(crashfs.Modes)]
				done, err := runCut(t, sc, after, mode, uint64(after), nil)
				if err != nil {
					t.Fatalf("power cut before step %d (mode %d): %v", after, mode, err)
				}
				if cuts++; done {
					break
				}
			}
			t.Logf("%d power cuts", cuts)
		})
	}
}

func TestCase28HundredAndKill(t *testing.T) {
	n := hundred()
	for _, what := range []string{"append", "copy"} {
		t.Run(what, func(t *testing.T) {
			for k := 0; ; k += ifLong(1, 3) {
				f := &faults{state: true}
				h := faulty(t, f, quiet).open()
				from := h.append(h.inbox, ifCopy(what, n, 1), FlagSeen)
				other := h.mailbox("Archive")
				steps := 0
				f.on(func(op operation) error {
					if op.changes {
						if steps++; steps > k {
							return errDead
						}
					}
					return nil
				})
				var err error
				if what == "copy" {
					_, err = h.inbox.Copy(h.ctx(), from, other)
				} else {
					var all []Append
					for i := 0; i < n && err == nil; i++ {
						var st *Staged
						if st, err = h.user.Stage(h.ctx(), strings.NewReader(testMessage(i))); err == nil {
							all = append(all, Append{Staged: st, Flags: FlagFlagged})
						}
					}
					if err == nil {
						_, err = other.Append(h.ctx(), all)
					}
				}
				other.Close()
				h.close() // what it writes now is lost as well
				f.on(nil)
				h.open()
				other = h.mailbox("Archive")
				if has := h.sync(other).Len(); has != n && (has != 0 || err == nil) {
					t.Errorf("killed before step %d: %d of %d are there, the answer was %v", k, has, n, err)
				}
				if has := h.sync(h.inbox).Len(); has != len(from) {
					t.Errorf("killed before step %d: INBOX has %d messages of %d", k, has, len(from))
				}
				h.agrees(h.inbox.State())
				other.Close()
				h.close()
				if err == nil {
					t.Logf("%d steps", k)
					return
				}
			}
		})
	}
}

func ifCopy(what string, yes, no int) int {
	if what == "copy" {
		return yes
	}
	return no
}
