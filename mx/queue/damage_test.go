package queue

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"buzon/internal/smtp"
)

// Whatever lies in the spool that is damaged or does not belong there is put
// aside, told of once, and holds up nobody.
func TestDamage(t *testing.T) {
	const id = "0123456789abc"
	good := string(head{Queued: time.Date(2026, 11, 22, 3, 17, 18, 0, time.UTC), Envelope: envelope("luis@far.test")}.format())
	end := "\nbuzon-end 00000000000000000105\n"
	for name, damage := range map[string]func(t *testing.T, dir string){
		"cut in the envelope":  put("message/"+id, good[:len(good)/2]),
		"cut in the message":   put("message/"+id, good+text[:20]),
		"cut in the last line": put("message/"+id, good+text+end[:10]),
		"hole":                 put("message/"+id, good+text[10:]+end),
		"empty":                put("message/"+id, ""),
		"garbage":              put("message/"+id, strings.Repeat("\x00\xff\n", 1000)),
		"endless line":         put("message/"+id, messageMagic+"\n"+strings.Repeat("x", 10<<20)),
		"foreign":              put("message/README", "hello"),
		"odd id":               put("message/"+id+"-x1", good+text+end),
		"renamed":              put("message/"+id+".bak", good+text+end),
		"no recipients":        put("message/"+id, strings.Replace(good, "recipient <luis@far.test>\n", "", 1)+text+end),
		"state empty":          both(put("message/"+id, good+text+end), put("state/"+id, "")),
		"state garbage":        both(put("message/"+id, good+text+end), put("state/"+id, "buzon-state 1\nrubbish\n")),
		"state of another":     both(put("message/"+id, good+text+end), put("state/"+id, "buzon-state 1\nrecipient <eva@far.test>\nstatus waiting\n")),
		"foreign at the top":   put("notes.txt", "hello"),
		"directory":            func(t *testing.T, dir string) { check(t, os.MkdirAll(dir+"/message/"+id+"/x", 0o700)) },
		"state directory": both(put("message/"+id, good+text+end),
			func(t *testing.T, dir string) { check(t, os.Mkdir(dir+"/state/"+id, 0o700)) }),
		"fifo":     func(t *testing.T, dir string) { check(t, syscall.Mkfifo(dir+"/message/"+id, 0o600)) },
		"symlink":  func(t *testing.T, dir string) { check(t, os.Symlink("/etc/passwd", dir+"/message/"+id)) },
		"dangling": func(t *testing.T, dir string) { check(t, os.Symlink("nowhere", dir+"/state/"+id)) },
		"tmp fifo": func(t *testing.T, dir string) { check(t, syscall.Mkfifo(dir+"/tmp/"+id, 0o600)) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) { testDamage(t, damage) })
		})
	}
}

func testDamage(t *testing.T, damage func(t *testing.T, dir string)) {
	w, dir := newWorld(t), memoryDir(t)
	w.answer = func(to smtp.Address, n int) smtp.Result {
		if n == 0 {
			return later()
		}
		return ok(to)
	}
	q := w.open(w.config(dir), nil)
	w.submit(q.Queue, "healthy@far.test")
	pass(time.Second)
	q.stop()
	damage(t, dir)

	q = w.open(w.config(dir), nil)
	pass(6 * time.Minute)
	if w.copiesOf("healthy@far.test") != 1 {
		t.Error("the message beside it was not delivered")
	}
	aside, err := filepath.Glob(dir + "/corrupt/*")
	if err != nil || len(aside) == 0 {
		t.Errorf("nothing was put aside (%v)", err)
	}
	if n := w.logged("level=ERROR", "damaged entry put aside"); n != len(aside) {
		t.Errorf("%d log lines for %v:\n%s", n, aside, w.logText())
	}
	q.stop()
	before := w.logged("put aside")
	w.open(w.config(dir), nil)
	pass(time.Minute)
	if w.logged("put aside") != before {
		t.Error("what is in corrupt/ was reported again")
	}
	left := slices.DeleteFunc(files(t, dir), func(f string) bool { return strings.HasPrefix(f, "corrupt/") })
	if len(left) > 0 {
		t.Errorf("left in the spool: %v", left)
	}
}

func put(name, contents string) func(*testing.T, string) {
	return func(t *testing.T, dir string) { check(t, os.WriteFile(dir+"/"+name, []byte(contents), 0o600)) }
}

func both(a, b func(*testing.T, string)) func(*testing.T, string) {
	return func(t *testing.T, dir string) { a(t, dir); b(t, dir) }
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Damage that happens while the queue runs is met at the next attempt.
func TestDamageWhileRunning(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, dir := newWorld(t), memoryDir(t)
		w.answer = func(smtp.Address, int) smtp.Result { return later() }
		q := w.open(w.config(dir), nil)
		cut, gone := w.submit(q.Queue, "cut@far.test"), w.submit(q.Queue, "gone@far.test")
		pass(time.Second)
		check(t, os.Truncate(dir+"/message/"+cut, 200))
		check(t, os.Remove(dir+"/message/"+gone))
		pass(6 * time.Minute)
		if w.triesOf("cut@far.test") != 1 || w.triesOf("gone@far.test") != 1 {
			t.Error("a damaged message was attempted")
		}
		if w.logged("damaged entry put aside", cut) != 2 || w.logged("removed from the spool by somebody else", gone) != 1 {
			t.Errorf("log:\n%s", w.logText())
		}
		if l := q.List(); len(l) != 0 {
			t.Errorf("List: %v", l)
		}
		data, err := os.ReadFile(dir + "/corrupt/message." + cut)
		if err != nil || !bytes.Contains(data, []byte("cut@far.test")) {
			t.Errorf("put aside: %q, %v", data, err)
		}
	})
}
