package wire_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"buzon/imapd/wire"
)

var limits = wire.Limits{Line: 200, Literal: 50, Sum: 80, Items: 10, Depth: 4, Drain: 1000}

// newDecoder reads input in one piece; continuations are counted.
func newDecoder(input string) (*wire.Decoder, *int) {
	d := wire.NewDecoder(strings.NewReader(input), limits)
	n := new(int)
	d.Continue = func() error { *n++; return nil }
	return d, n
}

func TestTokens(t *testing.T) {
	d, _ := newDecoder("a1 NOOP \"q\\\"\\\\x\" {3}\r\na\nb NIL (x (y) ()) &AOk- INBOX/b 4294967295 (\\Seen $Fwd) 01-feb-2026 \" 1-Feb-2026 01:02:03 -0130\"\r\n")
	d.Begin()
	tag := d.Tag()
	name := d.SP().Word()
	quoted := d.SP().AString()
	literal := d.SP().AString()
	_, some := d.SP().NString()
	depth, deepest := 0, 0
	d.SP().List(func() {
		if d.Peek() == '(' {
			depth++
			deepest = max(deepest, depth)
			d.List(func() { d.Atom() })
			depth--
			return
		}
		d.Atom()
	})
	box := d.SP().Mailbox()
	inbox := d.SP().Mailbox()
	n := d.SP().Number()
	flags := d.SP().Flags()
	day := d.SP().Date()
	at := d.SP().DateTime()
	if err := d.End(); err != nil {
		t.Fatal(err)
	}
	got := []any{tag, name, quoted, literal, some, box, inbox, n, strings.Join(flags, " "), day.Format("2006-01-02"), at.Format("2006-01-02T15:04:05-0700")}
	want := []any{"a1", "NOOP", `q"\x`, "a\nb", false, "é", "INBOX/b", uint32(4294967295), `\Seen $Fwd`, "2026-02-01", "2026-02-01T01:02:03-0130"}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("token %d = %q, want %q", i, got[i], want[i])
		}
	}
}

// After whatever error, the next command is found exactly where it begins.
func TestSkipStaysInStep(t *testing.T) {
	long := strings.Repeat("x", 60)
	for _, c := range []struct{ name, input string }{
		{"syntax", "a ( ( oops\r\n"},
		{"no CRLF needed", "a ( oops\n"},
		{"literal behind the error", "a ) {5+}\r\nz DEL\r\n"},
		{"two literals behind the error", "a ) {7+}\r\nz DEL\r\n ~{7+}\r\nz DEL\r\n tail\r\n"},
		{"non-synchronising literal over the limit", "a b {62+}\r\n" + long + "\r\n more {3+}\r\n\r\n! tail\r\n"},
		{"literal that looks like an announcement", "a ) {6+}\r\n{99+}\n\r\n"},
		{"synchronising literal over the limit", "a b {60}\r\n"},
		{"line over the limit", "a b " + strings.Repeat("y", 500) + "\r\n"},
		{"sum over the limit", "a {40+}\r\n" + strings.Repeat("s", 40) + " {41+}\r\n" + strings.Repeat("z", 41) + "\r\n"},
		{"NUL in a literal", "a {3+}\r\n\x00\r\n tail\r\n"},
		{"bad number", "a {x+}\r\n"},
		{"unterminated quote", "a \"bc\r\n"},
	} {
		for _, one := range []bool{false, true} {
			in := io.Reader(strings.NewReader(c.input + "next NOOP\r\n"))
			if one {
				in = iotest.OneByteReader(in)
			}
			d := wire.NewDecoder(in, limits)
			d.Continue = func() error { return nil }
			d.Begin()
			d.Tag()
			for d.Err() == nil && !d.AtEnd() {
				d.SP().AString()
			}
			if d.End() == nil {
				t.Errorf("%s: no error", c.name)
			}
			if err := d.Skip(); err != nil {
				t.Errorf("%s: Skip: %v", c.name, err)
				continue
			}
			d.Begin()
			if tag := d.Tag(); tag != "next" {
				t.Errorf("%s (one byte at a time: %t): next tag = %q, %v", c.name, one, tag, d.Err())
			}
		}
	}
}

func TestSkipGivesUp(t *testing.T) {
	for _, input := range []string{
		"a ) {99999999999999999999999+}\r\n",
		"a ) {1001+}\r\n",
		"a " + strings.Repeat("x", 2000) + "\r\n",
	} {
		d, _ := newDecoder(input)
		d.Begin()
		d.Tag()
		for d.Err() == nil {
			d.SP().AString()
		}
		if err := d.Skip(); !errors.Is(err, wire.ErrDesync) {
			t.Errorf("%.20q: Skip = %v, want ErrDesync", input, err)
		}
	}
}

func TestLimits(t *testing.T) {
	for _, c := range []struct {
		name, input string
		read        func(d *wire.Decoder)
	}{
		{"quoted", `"` + strings.Repeat("q", 51) + `"`, func(d *wire.Decoder) { _ = d.String() }},
		{"literal", "{51}\r\n", func(d *wire.Decoder) { _ = d.String() }},
		{"huge literal", "{9223372036854775807}\r\n", func(d *wire.Decoder) { _ = d.String() }},
		{"depth", "(((((a)))))", func(d *wire.Decoder) {
			var list func()
			list = func() {
				if d.Peek() == '(' {
					d.List(list)
					return
				}
				d.Atom()
			}
			list()
		}},
		{"items", "(" + strings.Repeat("a ", 20) + "a)", func(d *wire.Decoder) { d.List(func() { d.Atom() }) }},
		{"atom", strings.Repeat("a", 201), func(d *wire.Decoder) { d.Atom() }},
	} {
		d, continued := newDecoder(c.input + "\r\n")
		d.Begin()
		c.read(d)
		var big *wire.TooBigError
		if !errors.As(d.Err(), &big) {
			t.Errorf("%s: error %v, want a TooBigError", c.name, d.Err())
		}
		if *continued > 0 {
			t.Errorf("%s: the client was told to send", c.name)
		}
	}
}

func TestLiteralStream(t *testing.T) {
	for _, c := range []struct {
		input     string
		continued int
	}{{"a {11}\r\nhello\r\nyou! tail\r\nb NOOP\r\n", 1}, {"a ~{11+}\r\nhello\r\nyou! tail\r\nb NOOP\r\n", 0}} {
		d, continued := newDecoder(c.input)
		d.Begin()
		d.Tag()
		l := d.SP().Literal()
		if err := l.Accept(); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(l)
		if string(got) != "hello\r\nyou!" || err != nil {
			t.Errorf("%q: read %q, %v", c.input, got, err)
		}
		if d.SP().Atom() != "tail" || d.End() != nil {
			t.Errorf("%q: after the literal: %v", c.input, d.Err())
		}
		d.Begin()
		if d.Tag() != "b" || *continued != c.continued {
			t.Errorf("%q: %d continuations, %v", c.input, *continued, d.Err())
		}
	}
}

// A literal left half read, by a full disk for example, is skipped as data.
func TestLiteralHalfRead(t *testing.T) {
	d, _ := newDecoder("a {10}\r\n0123456789\r\nb NOOP\r\n")
	d.Begin()
	d.Tag()
	l := d.SP().Literal()
	if err := l.Accept(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(l, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	if err := d.Skip(); err != nil {
		t.Fatal(err)
	}
	d.Begin()
	if tag := d.Tag(); tag != "b" {
		t.Errorf("next tag %q, want b", tag)
	}
}

func TestResetForgetsInput(t *testing.T) {
	d, _ := newDecoder("a STARTTLS\r\nb NOOP\r\n")
	d.Begin()
	d.Tag()
	d.SP().Atom()
	if err := d.End(); err != nil {
		t.Fatal(err)
	}
	d.Reset(strings.NewReader("c CAPABILITY\r\n"))
	d.Begin()
	if tag := d.Tag(); tag != "c" {
		t.Errorf("tag %q after Reset, want c", tag)
	}
}

func TestLine(t *testing.T) {
	d, _ := newDecoder("DONE\r\n" + strings.Repeat("x", 100) + "\r\n")
	if line, err := d.Line(10); string(line) != "DONE" || err != nil {
		t.Errorf("Line = %q, %v", line, err)
	}
	if _, err := d.Line(10); !errors.Is(err, wire.ErrDesync) {
		t.Errorf("Line over the limit: %v", err)
	}
}

// FuzzDecoder: whatever comes, the decoder ends, keeps to its limits, and with the input cut
// elsewhere reads the same.
func FuzzDecoder(f *testing.F) {
	f.Add([]byte("a1 LOGIN {3+}\r\nana \"pw\"\r\n"))
	f.Add([]byte("a (b (c {2}\r\nxy)) 1:*,4 \\Seen ~{1+}\r\n\x00\r\n"))
	f.Add([]byte("a ) {6+}\r\n{99+}\n\r\nb NOOP\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		whole := transcript(bytes.NewReader(in))
		pieces := transcript(iotest.OneByteReader(bytes.NewReader(in)))
		if whole != pieces {
			t.Errorf("read as a whole:\n%s\nin pieces:\n%s", whole, pieces)
		}
	})
}

// transcript decodes everything as lists of strings.
func transcript(r io.Reader) string {
	d := wire.NewDecoder(r, limits)
	var out strings.Builder
	d.Continue = func() error { out.WriteString("+\n"); return nil }
	for d.Wait() == nil {
		d.Begin()
		out.WriteString(d.Tag())
		var arg func()
		arg = func() {
			switch d.Peek() {
			case '(':
				d.List(arg)
			case '\\':
				out.WriteString(d.Flag())
			case '&':
				out.WriteString(d.Mailbox())
			default:
				s := d.AString()
				if int64(len(s)) > limits.Literal && len(s) > limits.Line {
					panic("over the limit")
				}
				out.WriteString(s)
			}
		}
		for d.Err() == nil && !d.AtEnd() {
			d.SP()
			arg()
		}
		if err := d.End(); err != nil {
			out.WriteString(" " + err.Error())
		}
		if err := d.Skip(); err != nil {
			return out.String() + err.Error()
		}
		out.WriteByte('\n')
	}
	return out.String()
}
