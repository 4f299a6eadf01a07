package queue

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"buzon/internal/durable/crashfs"
	"buzon/internal/smtp"
)

// A message that goes at once never gets a file of its own, one that must wait does,
// and the journal's files are used again and again.
func TestJournal(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, disk := newWorld(t), crashfs.New(time.Now())
		var made atomic.Int64
		disk.Trace = func(op, name string) {
			if op == "create" && strings.HasPrefix(name, "/tmp/") {
				made.Add(1)
			}
		}
		w.answer = func(to smtp.Address, _ int) smtp.Result {
			if to.Local == "waits" {
				return later()
			}
			return ok(to)
		}
		cfg := w.config("")
		cfg.Limits.Segment = 16 << 10
		q := w.open(cfg, disk.Root())
		const messages = 500 // a segment has room for about 40
		for i := range messages {
			w.submit(q.Queue, fmt.Sprintf("u%d@far.test", i))
			pass(10 * time.Millisecond)
		}
		if n := made.Load(); n > spareSegments+2 {
			t.Errorf("%d files were made", n)
		}
		id := w.submit(q.Queue, "waits@far.test")
		pass(time.Second)
		if left := disk.Tree(); !slices.Contains(left, "/message/"+id) || !slices.Contains(left, "/state/"+id) || len(journalled(t, disk)) > 0 {
			t.Errorf("after its first attempt %s is not a file: %v", id, left)
		}
		if n := len(w.received()); n != messages {
			t.Errorf("%d of %d were delivered", n, messages)
		}
	})
}

// A process that dies during an attempt does not repeat it at once.
func TestJournalPushedOut(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, disk := newWorld(t), crashfs.New(time.Now())
		w.delay = func(string) time.Duration { return time.Hour }
		w.dead = disk.Dead
		q := w.open(w.config(""), disk.Root())
		w.submit(q.Queue, "luis@far.test")
		pass(time.Second)
		disk = disk.Restart(crashfs.Everything, rand.New(rand.NewPCG(1, 1)))
		w = newWorld(t)
		w.dead = disk.Dead
		w.open(w.config(""), disk.Root())
		pass(4 * time.Minute)
		if n := w.copiesOf("luis@far.test"); n != 0 {
			t.Error("the attempt is repeated at once")
		}
		pass(2 * time.Minute)
		if n := w.copiesOf("luis@far.test"); n != 1 {
			t.Errorf("%d copies", n)
		}
	})
}

// What nobody attempts does not keep the journal from being used again: it moves to
// files of its own, and is sent from there.
func TestJournalIsEmptied(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, disk := newWorld(t), crashfs.New(time.Now())
		var alive atomic.Bool
		w.answer = func(to smtp.Address, _ int) smtp.Result {
			if !alive.Load() {
				return silent()
			}
			return ok(to)
		}
		cfg := w.config("")
		cfg.Limits.Segment = 8 << 10
		q := w.open(cfg, disk.Root())
		const messages = 1500 // twenty to a segment
		for i := range messages {
			w.submit(q.Queue, fmt.Sprintf("u%d@far.test", i))
			pass(time.Millisecond)
		}
		pass(time.Minute)
		segments := len(slices.DeleteFunc(disk.Tree(), func(name string) bool { return !isSegment(name) }))
		if segments > maxSegments+1 {
			t.Errorf("%d segments", segments)
		}
		alive.Store(true)
		pass(6 * time.Hour)
		if n := len(w.received()); n != messages || q.Len() > 0 {
			t.Errorf("%d of %d were delivered, %d are queued", n, messages, q.Len())
		}
		for to, n := range w.received() {
			if n != 1 {
				t.Errorf("%s has %d copies", to, n)
			}
		}
	})
}

// sealed is a segment with records of these texts.
func sealed(t testing.TB, size int, texts ...string) (text []byte, records []record) {
	t.Helper()
	disk := crashfs.New(time.Now())
	root := folder{Dir: disk.Root()}
	if err := root.Mkdir("d", dirPerm); err != nil {
		t.Fatal(err)
	}
	dir, err := root.OpenDir("d")
	if err != nil {
		t.Fatal(err)
	}
	j := newJournal(folder{Dir: dir}, root, int64(size), slog.New(slog.DiscardHandler))
	g, err := j.create()
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range texts {
		r, err := g.add(formatID(uint64(i), 0), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, *r)
	}
	text = make([]byte, size)
	if _, err := g.file.ReadAt(text, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return text, records
}

// Damage costs what is damaged and nothing else; what an earlier use has left, or a
// message contains, is no record.
func TestScanSegment(t *testing.T) {
	other, _ := sealed(t, 4096, "of another use", "and another")
	good, all := sealed(t, 4096, "first", "second\n"+string(other[startLength:startLength+200]), "third")
	at := func(i int) int64 { return all[i].at }
	flip := func(at int64) []byte {
		b := bytes.Clone(good)
		b[at] ^= 0x20
		return b
	}
	end := at(2) + recordLength + all[2].length
	for name, tt := range map[string]struct {
		text    []byte
		want    string
		gaps    int
		refused bool
	}{
		"whole":                  {good, "012", 0, false},
		"the first is damaged":   {flip(at(0) + recordLength), "12", 1, false},
		"the line of the second": {flip(at(1) + 20), "02", 1, false},
		"the text of the second": {flip(at(1) + recordLength + 50), "02", 1, false},
		"two in a row":           {append(flip(at(0) + 14)[:at(1)+12:at(1)+12], flip(at(1) + 12)[at(1)+12:]...), "2", 1, false},
		"the last was torn":      {flip(end - 1), "01", 0, false},
		"blanked":                {append(append(bytes.Clone(good[:at(1)]), make([]byte, at(2)-at(1))...), good[at(2):]...), "02", 0, false},
		"remains behind it":      {append(bytes.Clone(good[:end]), other[startLength:]...), "012", 0, false},
		"cut off":                {good[:at(2)+10], "01", 0, false},
		"empty":                  {nil, "", 0, true},
		"zeros":                  {make([]byte, 4096), "", 0, true},
		"odd start":              {flip(3), "", 0, true},
		"odd run":                {flip(startLength - 3), "", 0, true},
	} {
		records, gaps, err := new(segment).scan(tt.text)
		got := ""
		for _, r := range records {
			for i := range all {
				if r.id == all[i].id && r.at == all[i].at && r.length == all[i].length {
					got += fmt.Sprint(i)
				}
			}
		}
		if got != tt.want || len(records) != len(tt.want) || len(gaps) != tt.gaps || (err != nil) != tt.refused {
			t.Errorf("%s: records %q of %d, gaps %v, %v", name, got, len(records), gaps, err)
		}
	}
}

// A damaged part of the journal is put aside, once, and what is beside it is sent.
func TestDamagedJournal(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, dir := newWorld(t), memoryDir(t)
		q := w.openOnly(w.config(dir), nil)
		for i := range 3 {
			w.submit(q, fmt.Sprintf("u%d@far.test", i))
		}
		check(t, q.Close())
		path := filepath.Join(dir, "journal", "1")
		b, err := os.ReadFile(path)
		check(t, err)
		hurt := bytes.Index(b, []byte("u1@far.test"))
		b[hurt] = 'x'
		check(t, os.WriteFile(path, b, 0o600))
		check(t, os.WriteFile(filepath.Join(dir, "journal", "2"), []byte("hello"), 0o600))
		check(t, os.WriteFile(filepath.Join(dir, "journal", "notes"), []byte("hello"), 0o600))

		running := w.open(w.config(dir), nil)
		pass(time.Minute)
		running.stop()
		w.open(w.config(dir), nil).stop()
		aside, _ := filepath.Glob(dir + "/corrupt/*")
		if n := w.logged("damaged entry put aside"); n != 3 || len(aside) != 3 {
			t.Errorf("%d log lines for %v", n, aside)
		}
		if w.copiesOf("u0@far.test") != 1 || w.copiesOf("u2@far.test") != 1 {
			t.Errorf("delivered: %v", w.received())
		}
		part, err := os.ReadFile(filepath.Join(dir, "corrupt", "journal.part1"))
		if check(t, err); !strings.Contains(string(part), "x1@far.test") {
			t.Errorf("what was put aside: %q", part)
		}
	})
}

// What is damaged while the queue runs is put aside when its turn comes.
func TestDamageUnderRun(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, dir := newWorld(t), memoryDir(t)
		q := w.openOnly(w.config(dir), nil)
		id := w.submit(q, "u0@far.test")
		b, err := os.ReadFile(filepath.Join(dir, "journal", "1"))
		check(t, err)
		f, err := os.OpenFile(filepath.Join(dir, "journal", "1"), os.O_WRONLY, 0)
		check(t, err)
		_, err = f.WriteAt([]byte("x"), int64(bytes.Index(b, []byte("hello"))))
		check(t, err)
		check(t, f.Close())
		if _, err := q.Show(id); err == nil || q.Len() != 0 {
			t.Errorf("a damaged message is shown: %v", err)
		}
		check(t, q.Close())
		w.open(w.config(dir), nil).stop()
		aside, _ := filepath.Glob(dir + "/corrupt/*")
		if n := w.logged("damaged entry put aside"); n != 1 || len(aside) != 1 || w.triesOf("u0@far.test") > 0 {
			t.Errorf("%d log lines for %v, %d attempts", n, aside, w.triesOf("u0@far.test"))
		}
	})
}

// Whatever a file of the journal holds, its records and gaps lie in order within it and
// the records are what would be written.
func FuzzScanSegment(f *testing.F) {
	good, _ := sealed(f, 2048, "first", "second", "")
	f.Add(good)
	f.Add(good[:300])
	f.Add([]byte(segmentMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		g := new(segment)
		records, gaps, err := g.scan(b)
		if err != nil {
			return
		}
		at := startLength
		for _, r := range records {
			if r.at < at {
				t.Fatalf("record at %d within what ends at %d", r.at, at)
			}
			at = r.at + recordLength + r.length
			again := formatRecord(g.run, r.id, b[r.at+recordLength:at])
			again[letterAt] = r.letter
			if !bytes.Equal(again, b[r.at:at]) {
				t.Errorf("record %q is read of %q", again, b[r.at:at])
			}
		}
		if g.end != at || at > int64(len(b)) {
			t.Errorf("end at %d after %d of %d", g.end, at, len(b))
		}
		for _, hole := range gaps {
			if hole.from >= hole.to || hole.to > at {
				t.Errorf("gap %v before %d", hole, at)
			}
		}
	})
}

// A spool of a version that had no journal is taken over as it is.
func TestSpoolWithoutJournal(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, dir := newWorld(t), memoryDir(t)
		for _, name := range []string{"tmp", "message", "state", "active", "corrupt"} {
			check(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		}
		for i, to := range []string{"fresh@far.test", "tried@far.test", "interrupted@far.test"} {
			h := head{Queued: stamp(time.Now()), Envelope: envelope(to)}
			var msg bytes.Buffer
			_, err := writeMessage(&msg, h, strings.NewReader(text))
			check(t, err)
			id := formatID(uint64(i), 0)
			check(t, os.WriteFile(filepath.Join(dir, "message", id), msg.Bytes(), 0o600))
			if i == 1 {
				st := newState(h)
				st.Recipients[0].Attempts = 1
				st.Recipients[0].Next = stamp(time.Now().Add(time.Hour))
				check(t, os.WriteFile(filepath.Join(dir, "state", id), st.format(), 0o600))
			}
			if i == 2 {
				check(t, os.WriteFile(filepath.Join(dir, "active", id), nil, 0o600))
			}
		}
		w.open(w.config(dir), nil)
		pass(time.Second)
		if w.copiesOf("fresh@far.test") != 1 || len(w.received()) != 1 {
			t.Errorf("delivered at once: %v", w.received())
		}
		pass(2 * time.Hour)
		if w.copiesOf("tried@far.test") != 1 || w.copiesOf("interrupted@far.test") != 1 {
			t.Errorf("delivered: %v", w.received())
		}
		if left := files(t, dir); len(left) > 0 {
			t.Errorf("left in the spool: %v", left)
		}
	})
}
