package maildir

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// A name is cut without loss, and what is stored into it comes out again, sorted
// and once, with everything unknown kept.
func FuzzName(f *testing.F) {
	for _, s := range []string{"1700000000.M1P2.host,S=1,W=2:2,FSa", "x", "x:1,a", "a:b:2,S,extra", ":2,", "x:2,XXSSzz,U=7", "1.M99999999P1.x"} {
		f.Add(s, uint16(5), uint64(3))
	}
	f.Fuzz(func(t *testing.T, s string, flags uint16, letters uint64) {
		base, raw := splitName(s)
		if base+raw != s {
			t.Fatalf("splitName(%q) = %q, %q", s, base, raw)
		}
		if stored, virtual := nameSizes(base); stored < -1 || virtual < -1 {
			t.Errorf("nameSizes(%q) = %d, %d", base, stored, virtual)
		}
		nameTime(base)
		in := parseInfo(raw)
		want := Flags(flags) & (FlagForwarded<<1 - 1)
		out := parseInfo(in.with(want, KeywordSet(letters)))
		if out.flags != want || out.letters != KeywordSet(letters)&letterMask || out.unknown != in.unknown || out.extra != in.extra {
			t.Errorf("%q with %b %b is %q", raw, want, letters, out.raw)
		}
		ls, _, _ := strings.Cut(strings.TrimPrefix(out.raw, ":2,"), ",")
		if sorted := slices.Sorted(slices.Values([]byte(ls))); string(sorted) != ls || len(slices.Compact(sorted)) != len(ls) {
			t.Errorf("letters of %q are not sorted and unique", out.raw)
		}
	})
}

// Whatever is read from a uidlist is written as lines that are read the same.
func FuzzUIDList(f *testing.F) {
	f.Add([]byte("3 V1 N5 G0123456789abcdef0123456789abcdef Zfoo\n1 S12 W13 :a\n4 :b:2,S\n"))
	f.Add([]byte("1 77 9\n1 a\n3 b\n"))
	f.Add([]byte("3 V1 N5\n2 :a\n2 :b\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		line, rest, ok := strings.Cut(string(data), "\n")
		if !ok {
			t.Skip()
		}
		h, err := parseUIDHeader(line)
		if err != nil {
			t.Skip()
		}
		again, err := parseUIDHeader(strings.TrimSuffix(h.String(), "\n"))
		h.version = 3
		if err != nil || again.String() != h.String() {
			t.Errorf("header %q became %q, %v", h.String(), again.String(), err)
		}
		version := 3
		if strings.HasPrefix(line, "1 ") {
			version = 1
		}
		var records []uidRecord
		s := uidScanner{version: version}
		used, err := s.scan([]byte(rest), func(r uidRecord) error {
			records = append(records, r)
			return nil
		})
		if used > len(rest) || err == nil && strings.Contains(rest[used:], "\n") {
			t.Errorf("used %d of %q, %v", used, rest, err)
		}
		var out []byte
		for _, r := range records {
			out = r.appendTo(out)
		}
		var back []uidRecord
		s = uidScanner{version: 3}
		if _, err := s.scan(out, func(r uidRecord) error {
			back = append(back, r)
			return nil
		}); err != nil || !slices.Equal(records, back) {
			t.Errorf("%q was read as %+v, %v", out, back, err)
		}
	})
}

func FuzzKeywords(f *testing.F) {
	f.Add([]byte("0 Work\n3 $Label1\nx y\n99 no\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		k := parseKeywords(data)
		if len(k) > letterKeywords {
			t.Fatalf("%d keywords", len(k))
		}
		for i, name := range k {
			if name != "" && (k.find(name) != i || !validKeyword(name)) {
				t.Errorf("keyword %d is %q, found at %d", i, name, k.find(name))
			}
		}
		if again := parseKeywords(k.format()); !slices.Equal(again, k) {
			t.Errorf("%q became %q", k, again)
		}
		parseOverflow(data, func(base string, names []string) {
			if line := appendOverflow(nil, base, names); bytes.Count(line, []byte("\n")) > 1 {
				t.Errorf("overflow line %q", line)
			}
		})
	})
}

// Names and directories lead to each other, and never out of the tree.
func FuzzFolderName(f *testing.F) {
	for _, s := range []string{"INBOX", "a/b", "Büro/x", "..", "a.b", "&", "~x", "a//b", "cur", "💌/ü&-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		name = canonicalName(name)
		if checkMailboxName(name) != nil {
			t.Skip()
		}
		dir := folderDir(name)
		if name == inbox {
			return
		}
		if strings.ContainsAny(dir, "/\x00\n\r") || !strings.HasPrefix(dir, ".") || strings.HasPrefix(dir, "..") {
			t.Fatalf("folderDir(%q) = %q", name, dir)
		}
		if back, ok := folderName(dir); !ok || back != name {
			t.Errorf("folderName(%q) = %q, %v; want %q", dir, back, ok, name)
		}
	})
}

func FuzzSubscriptions(f *testing.F) {
	f.Add([]byte("V\t2\n\nSub\tFol&AOk-er\nINBOX\n"))
	f.Add([]byte("INBOX\nA.B\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		names := parseSubscriptions(data)
		if !slices.IsSorted(names) {
			t.Errorf("%q is not sorted", names)
		}
		if again := parseSubscriptions(formatSubscriptions(names)); !slices.Equal(names, again) {
			t.Errorf("%q became %q", names, again)
		}
	})
}

// A snapshot is refused or can be used: every row of it can be read.
func FuzzSnapshot(f *testing.F) {
	m := &Mailbox{infoIDs: map[string]fileInfo{}}
	m.state.Store(&State{mailbox: m, next: 1, validity: 1})
	d := m.draft()
	for i := range UID(3) {
		d.add(row{uid: i + 1, base: "base" + string(rune('a'+i)), guid: "guid", flags: FlagSeen, where: d.info(":2,S"), modseq: 7})
	}
	var made bytes.Buffer
	w := newSnapshotWriter(&made, &snapshotHead{}, d.Len())
	w.addAll(d.State)
	if err := w.finish(); err != nil {
		f.Fatal(err)
	}
	f.Add(made.Bytes()[:blockBytes], []byte("base\x00guid"), 1)
	f.Add(made.Bytes()[:blockBytes], made.Bytes()[blockBytes:blockBytes+30], 3)
	f.Fuzz(func(t *testing.T, body, names []byte, rows int) {
		// All sums are right, as somebody else might make them.
		h := &snapshotHead{
			validity: 1, next: 1000, keywords: keywordTable{"a"}, infos: []string{"", ":2,S"},
			uids: uidlist{header: uidHeader{version: 3, validity: 1, next: 4}},
		}
		// A mapped file is aligned; a slice of the fuzzer need not be.
		words := make([]uint64, (len(body)+len(names))/8+4096)
		data := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), 8*len(words))[:0]
		var file bytes.Buffer
		w := newSnapshotWriter(&file, h, 0)
		copy(w.rec, body)
		w.block.names, w.block.rows = slices.Clone(names), max(1, min(rows, blockRows))
		w.uids = append(w.uids, w.block.uid[:w.block.rows]...)
		if err := w.finish(); err != nil {
			t.Fatal(err)
		}
		data = append(data, file.Bytes()...)
		h, blocks, uids, err := parseSnapshot(data, false)
		if err != nil {
			t.Skip()
		}
		s, err := h.state(&Mailbox{}, blocks, uids)
		if err != nil {
			t.Skip()
		}
		s.infos = []info{{}, parseInfo(":2,S")}
		for i := range s.Len() {
			if j, ok := s.Find(s.Message(i).UID); !ok || j != i {
				t.Errorf("row %d is found at %d, %v", i, j, ok)
			}
			s.file(i)
			s.GUID(i)
		}
	})
}

// A log is read up to its first fault, never fails, and leaves a sound state.
func FuzzLog(f *testing.F) {
	m := &Mailbox{infoIDs: map[string]fileInfo{}}
	m.uids.header = uidHeader{version: 3, validity: 1, next: 1}
	m.state.Store(&State{mailbox: m, next: 1, validity: 1})
	d := m.draft()
	d.add(row{uid: 1, base: "a", where: d.info(":2,S"), flags: FlagSeen, modseq: 7})
	d.add(row{uid: 2, base: "b", where: d.info("") | inNew, modseq: 7})
	d.remove([]int{0}, 9)
	f.Add(appendDraft(nil, d))
	f.Add([]byte((&intent{id: 1, kind: intentCopy, items: []intentItem{{to: sighting{name: "x"}}}}).encode()))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &Mailbox{infoIDs: map[string]fileInfo{}}
		m.state.Store(&State{mailbox: m, next: 1, validity: 1})
		r := &replay{d: m.draft(), m: m, gone: map[UID]bool{}, intents: map[uint64]*intent{}}
		if end := eachRecord(data, r.apply); end > len(data) {
			t.Fatalf("read %d of %d bytes", end, len(data))
		}
		if len(data) > 0 {
			_ = r.apply(data) // without the frame that guards it
		}
		r.finish()
		last := UID(0)
		for i := range r.d.Len() {
			msg := r.d.Message(i)
			if msg.UID <= last || msg.UID >= r.d.next {
				t.Errorf("UID %d after %d, UIDNEXT %d", msg.UID, last, r.d.next)
			}
			last = msg.UID
			r.d.file(i)
		}
	})
}
