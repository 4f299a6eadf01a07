package message

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

var update = flag.Bool("update", false, "rewrite the .want files of testdata")

// TestCorpus shows, for each message of testdata, all that the package says of it.
func TestCorpus(t *testing.T) {
	files, err := filepath.Glob("testdata/*.eml")
	if err != nil || len(files) == 0 {
		t.Fatal("no corpus", err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		got := describe(t, text)
		want := strings.TrimSuffix(name, ".eml") + ".want"
		if *update {
			if err := os.WriteFile(want, got, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if old, err := os.ReadFile(want); err != nil || !bytes.Equal(got, old) {
			t.Errorf("%s: %v\n--- got\n%s--- want\n%s", name, err, got, old)
		}
	}
}

// describe writes down what the package makes of a message.
func describe(t *testing.T, text []byte) []byte {
	p := parse(t, text)
	var b bytes.Buffer
	var walk func(p *Part, depth int)
	walk = func(p *Part, depth int) {
		fmt.Fprintf(&b, "%s%s/%s header %d-%d body %d-%d lines %d\n", strings.Repeat("  ", depth), p.Type, p.Subtype,
			p.Header.Start, p.Header.End, p.Body.Start, p.Body.End, p.Lines)
		for _, c := range p.Children {
			walk(c, depth+1)
		}
	}
	walk(p, 0)
	show := func(name string, value []byte) {
		v, rest, err := parseSyntax(value)
		if err != nil || len(rest) > 0 {
			t.Errorf("%s %q: %v", name, value, err)
		}
		fmt.Fprintf(&b, "%s %s\n", name, v)
	}
	show("ENVELOPE", p.AppendEnvelope(nil))
	show("BODYSTRUCTURE", p.AppendBodyStructure(nil, true))
	for _, f := range p.Envelope.From {
		fmt.Fprintf(&b, "from %q %s\n", DecodeHeader(f.Name), f)
	}
	subject := DecodeHeader(p.Envelope.Subject)
	base, reply := BaseSubject(subject)
	fmt.Fprintf(&b, "subject %q base %q reply %t\n", subject, base, reply)
	if d, ok := Date(p.Envelope.Date); ok {
		fmt.Fprintf(&b, "date %s\n", d.Format(time.RFC3339))
	}
	header := ParseHeader(text[:p.Header.End])
	fmt.Fprintf(&b, "ids %q %q %q\n", MessageIDs(header.Get("Message-ID")), MessageIDs(header.Get("In-Reply-To")), MessageIDs(header.Get("References")))
	if a, err := Authors(header); err != nil {
		fmt.Fprintf(&b, "authors refused: %v\n", err)
	} else {
		fmt.Fprintf(&b, "authors %s\n", a)
	}
	preview, err := Preview(bytes.NewReader(text), p, 100)
	if err != nil {
		t.Error(err)
	}
	fmt.Fprintf(&b, "preview %q\n", preview)
	return b.Bytes()
}

func parse(t testing.TB, text []byte) *Part {
	t.Helper()
	p, err := Parse(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	checkTree(t, text, p)
	return p
}

// checkTree holds a tree to its contract: ranges inside the message and strictly
// inside each other, in order, and lines counted.
func checkTree(t testing.TB, text []byte, root *Part) {
	t.Helper()
	parts := 0
	var check func(p *Part, within Range, depth int)
	check = func(p *Part, within Range, depth int) {
		parts++
		if depth > MaxDepth {
			t.Fatalf("%.200q: %d parts deep", text, depth)
		}
		h, b := p.Header, p.Body
		if h.Start < within.Start || h.End < h.Start || b.Start != h.End || b.End < b.Start || b.End > within.End {
			t.Fatalf("%.2000q: header %v body %v within %v", text, h, b, within)
		}
		if lines := int64(bytes.Count(text[b.Start:b.End], []byte{'\n'})); lines != p.Lines {
			t.Fatalf("%.2000q: body %v has %d lines, not %d", text, b, lines, p.Lines)
		}
		if p.IsMessage() && len(p.Children) != 1 || !p.IsMessage() && !p.IsMultipart() && len(p.Children) > 0 {
			t.Fatalf("%.2000q: %s/%s has %d children", text, p.Type, p.Subtype, len(p.Children))
		}
		at := b.Start
		for _, c := range p.Children {
			if (c.Envelope != nil) != p.IsMessage() {
				t.Fatalf("%.2000q: envelope of a part that is no message, or none", text)
			}
			check(c, Range{at, b.End}, depth+1)
			at = c.Body.End
		}
	}
	check(root, Range{0, int64(len(text))}, 1)
	if root.Header.Start != 0 || root.Body.End != int64(len(text)) {
		t.Fatalf("%.200q: the tree ends at %d", text, root.Body.End)
	}
	if parts > MaxParts {
		t.Fatalf("%.200q: %d parts", text, parts)
	}
}

// sameShape compares two trees but for their offsets.
func sameShape(a, b *Part) bool {
	if a.Type != b.Type || a.Subtype != b.Subtype || a.Lines != b.Lines || len(a.Children) != len(b.Children) {
		return false
	}
	for i := range a.Children {
		if !sameShape(a.Children[i], b.Children[i]) {
			return false
		}
	}
	return true
}

// TestParseLineFeeds wants bare line feeds to mean what CRLF means.
func TestParseLineFeeds(t *testing.T) {
	for _, s := range dovecotCorpus(t) {
		if bytes.Contains(bytes.ReplaceAll(s.text, []byte("\r\n"), nil), []byte{'\r'}) {
			continue
		}
		lf := bytes.ReplaceAll(s.text, []byte("\r\n"), []byte("\n"))
		if a, b := parse(t, s.text), parse(t, lf); !sameShape(a, b) {
			t.Errorf("%s: %.1000q: with bare line feeds another structure\n%s\n%s", s.name, lf,
				a.AppendBodyStructure(nil, false), b.AppendBodyStructure(nil, false))
		}
	}
}

// TestParseWindow moves every structure over the ends of the window, byte by byte.
func TestParseWindow(t *testing.T) {
	inner := strings.ReplaceAll(mp("in", "", "--in\n\na\n--in\nContent-Type: message/rfc822\n\nSubject: s\n\nb\n--in--\n"), "\n", "\r\n")
	const head, tail = "Content-Type: multipart/mixed; boundary=out\r\n\r\n", "\r\n--out--\r\n"
	var want *Part
	for n := parseWindow - len(inner) - 100; n < parseWindow+10; n++ {
		text := []byte(head + strings.Repeat("x", n) + "\r\n--out\r\n" + inner + tail)
		p, err := Parse(onlyReaderAt{bytes.NewReader(text)}, int64(len(text)))
		if err != nil {
			t.Fatal(err)
		}
		checkTree(t, text, p)
		if want == nil {
			want = p
		} else if !sameShape(p, want) {
			t.Fatalf("at %d: %s", n, p.AppendBodyStructure(nil, false))
		}
	}
}

// onlyReaderAt hides every other method.
type onlyReaderAt struct{ r io.ReaderAt }

func (r onlyReaderAt) ReadAt(p []byte, off int64) (int, error) { return r.r.ReadAt(p, off) }

// TestParseLongLines has lines longer than the window in every place.
func TestParseLongLines(t *testing.T) {
	long := strings.Repeat("y", 3*parseWindow)
	text := []byte("X: " + long + "\r\nSubject: s" + long + "\r\n" + long + "\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + long +
		"\r\n--b" + long + "\r\nX: " + long + "\r\n\r\n" + long + "\r\n--b--" + long)
	p := parse(t, text)
	if len(p.Children) != 1 || p.Children[0].Body.Len() != int64(len(long)) {
		t.Errorf("%.300s", p.AppendBodyStructure(nil, false))
	}
	if got := len(p.Envelope.Subject); got < MaxFieldBytes-1 || got > MaxFieldBytes {
		t.Errorf("%d bytes of the subject kept, want %d", got, MaxFieldBytes)
	}
}

func TestParseReadError(t *testing.T) {
	text := attachment(300 << 10)
	broken := errors.New("broken disk")
	_, err := Parse(failingReaderAt{bytes.NewReader(text), 200 << 10, broken}, int64(len(text)))
	if err != broken {
		t.Errorf("error %v, want %v", err, broken)
	}
	if _, err = Parse(bytes.NewReader(text), int64(len(text))+1); err != io.ErrUnexpectedEOF {
		t.Errorf("error %v for a message shorter than its size", err)
	}
}

// failingReaderAt fails behind an offset.
type failingReaderAt struct {
	r   io.ReaderAt
	at  int64
	err error
}

func (f failingReaderAt) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > f.at {
		return 0, f.err
	}
	return f.r.ReadAt(p, off)
}

func TestReadEnvelope(t *testing.T) {
	for _, s := range dovecotCorpus(t) {
		// The body must not be read, the header in any number of pieces.
		p := parse(t, s.text)
		e, err := ReadEnvelope(bytes.NewReader(s.text), int64(len(s.text)))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := e.Append(nil), p.AppendEnvelope(nil); !bytes.Equal(got, want) {
			t.Errorf("%s: ReadEnvelope %s, Parse %s", s.name, got, want)
		}
	}
}

// FuzzParse holds any input to the contract of the tree, and what is written of it to
// the grammar.
func FuzzParse(f *testing.F) {
	for _, s := range structures {
		f.Add([]byte(s))
		f.Add([]byte(strings.ReplaceAll(s, "\n", "\r\n")))
	}
	for _, s := range append(addressFields, otherFields...) {
		f.Add([]byte("From: " + s + "\r\n" + s + "\r\n\r\n"))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p := parse(t, text)
		for _, out := range [][]byte{p.AppendEnvelope(nil), p.AppendBodyStructure(nil, true), p.AppendBodyStructure(nil, false)} {
			if _, rest, err := parseSyntax(out); err != nil || len(rest) > 0 {
				t.Errorf("%q: %v", out, err)
			}
		}
		again, err := Parse(onlyReaderAt{bytes.NewReader(text)}, int64(len(text)))
		if err != nil || !sameShape(p, again) {
			t.Errorf("two scans differ: %v", err)
		}
		if _, err := Preview(bytes.NewReader(text), p, 200); err != nil {
			t.Errorf("preview: %v", err)
		}
		bare := bytes.ReplaceAll(text, []byte("\r"), nil)
		if x, y := ParseBare(bare), ParseBytes(bytes.ReplaceAll(bare, []byte("\n"), []byte("\r\n"))); !reflect.DeepEqual(x, y) {
			t.Errorf("%q with bare line feeds: %+v, with CRLF %+v", bare, x, y)
		}
	})
}

// hostile are inputs that make a careless parser slow. Each has about n bytes.
func hostile(n int) map[string][]byte {
	fill := func(before, piece, after string) []byte {
		return []byte(before + strings.Repeat(piece, n/len(piece)) + after)
	}
	multi := func(boundary string) string {
		return "Content-Type: multipart/mixed; boundary=\"" + boundary + "\"\r\n\r\n"
	}
	return map[string][]byte{
		"comments":          fill("From: ", "(", "\r\n\r\n"),
		"comments in types": fill("Content-Type: ", "(", "\r\n\r\n"),
		"closed comments":   fill("From: ", "()", "a@b\r\n\r\n"),
		"quotes":            fill("From: ", "\"a\" ", "\r\n\r\n"),
		"addresses":         fill("To: ", "a@b,", "\r\n\r\n"),
		"broken addresses":  fill("To: ", "<a,", "\r\n\r\n"),
		"groups":            fill("To: ", "g:", "\r\n\r\n"),
		"routes":            fill("To: <", "@a,", ":b@c>\r\n\r\n"),
		"to fields":         fill("", "To: a@b\r\n", "\r\n"),
		"fields":            fill("", "a:\r\n", "\r\n"),
		"folds":             fill("Subject: x", "\r\n ", "\r\n\r\n"),
		"parameters":        fill("Content-Type: text/plain", ";a=b", "\r\n\r\n"),
		"continuations":     fill("Content-Type: text/plain", ";a*1=b", "\r\n\r\n"),
		"one line":          fill("", "x", ""),
		"nested multiparts": []byte(nestedMultiparts(n / 60)),
		"nested messages":   []byte(nestedMessages(n / 32)),
		"parts":             []byte(manyParts(n/8, "\r\nx\r\n")),
		"dashes":            fill(nestedMultiparts(99), "--\r\n", ""),
		"near boundaries":   fill(multi(strings.Repeat("b", 70)+"x"), "--"+strings.Repeat("b", 70)+"\r\n", ""),
		"many near":         fill(nestedMultiparts(99), "--b1\r\n", ""),
		"empty boundary":    fill(multi(""), "--\r\n", ""),
		"epilogues":         fill(multi("b"), "--b--\r\n", ""),
	}
}

// BenchmarkParseHostile shows work per byte on inputs that are made to be slow.
func BenchmarkParseHostile(b *testing.B) {
	for name, text := range hostile(4 << 20) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				p, err := Parse(bytes.NewReader(text), int64(len(text)))
				if err != nil {
					b.Fatal(err)
				}
				p.AppendEnvelope(nil)
				p.AppendBodyStructure(nil, true)
			}
		})
	}
}

// TestParseHostile wants hostile input to give bounded trees and answers.
func TestParseHostile(t *testing.T) {
	const n = 1 << 20
	for name, text := range hostile(n) {
		p := parse(t, text)
		if got := len(p.AppendEnvelope(nil)) + len(p.AppendBodyStructure(nil, true)); got > 3*n {
			t.Errorf("%s: an answer of %d bytes to a message of %d", name, got, len(text))
		}
	}
}

func TestParseShortReads(t *testing.T) {
	text := []byte(typicalMail)
	r := readerAtFunc(func(p []byte, off int64) (int, error) {
		return io.ReadFull(iotest.OneByteReader(bytes.NewReader(text[off:])), p)
	})
	p, err := Parse(r, int64(len(text)))
	if err != nil || !sameShape(p, parse(t, text)) {
		t.Errorf("another tree: %v", err)
	}
}

type readerAtFunc func(p []byte, off int64) (int, error)

func (f readerAtFunc) ReadAt(p []byte, off int64) (int, error) { return f(p, off) }
