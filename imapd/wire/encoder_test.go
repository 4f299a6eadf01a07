package wire_test

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"buzon/imapd/wire"
)

func TestEncoder(t *testing.T) {
	for _, c := range []struct {
		write func(e *wire.Encoder)
		utf8  bool
		want  string
	}{
		{func(e *wire.Encoder) { e.String(`a"b\c`) }, false, `"a\"b\\c"`},
		{func(e *wire.Encoder) { e.String("a\r\nb") }, false, "{4}\r\na\r\nb"},
		{func(e *wire.Encoder) { e.String("é") }, false, "{2}\r\né"},
		{func(e *wire.Encoder) { e.String("é") }, true, `"é"`},
		{func(e *wire.Encoder) { e.String("\xff") }, true, "{1}\r\n\xff"},
		{func(e *wire.Encoder) { e.Mailbox("Entwürfe") }, false, "Entw&APw-rfe"},
		{func(e *wire.Encoder) { e.Mailbox("Entwürfe") }, true, `"Entwürfe"`},
		{func(e *wire.Encoder) { e.Mailbox("NIL") }, false, `"NIL"`},
		{func(e *wire.Encoder) { e.Mailbox("Nil") }, false, `"Nil"`}, // RFC 5234 2.3: either case
		{func(e *wire.Encoder) { e.Mailbox("a b") }, false, `"a b"`},
		{func(e *wire.Encoder) { e.NString("", false).SP().NString("", true) }, false, `NIL ""`},
		{func(e *wire.Encoder) { e.Text("a\r\nb\x00é") }, false, "a??b??"},
		{func(e *wire.Encoder) { e.Text("") }, false, "."},
		{func(e *wire.Encoder) { e.Literal(3).Copy(strings.NewReader("abcd"), 3).CRLF() }, false, "{3}\r\nabc\r\n"},
		{func(e *wire.Encoder) {
			e.DateTime(time.Date(2026, 2, 1, 3, 4, 5, 0, time.FixedZone("", -5400)))
		}, false, `" 1-Feb-2026 03:04:05 -0130"`},
	} {
		var out bytes.Buffer
		e := wire.NewEncoder(&out)
		e.UTF8 = c.utf8
		c.write(e)
		if err := e.Flush(); err != nil {
			t.Fatal(err)
		}
		if out.String() != c.want {
			t.Errorf("got %q, want %q", out.String(), c.want)
		}
	}
}

// A source that ends early breaks the stream rather than the promise made by the literal's size.
func TestEncoderShortCopy(t *testing.T) {
	var out bytes.Buffer
	e := wire.NewEncoder(&out)
	e.Literal(10).Copy(strings.NewReader("abc"), 10).CRLF().Raw("a OK\r\n")
	if err := e.Flush(); err != io.ErrUnexpectedEOF {
		t.Errorf("Flush = %v", err)
	}
	if strings.Contains(out.String(), "OK") {
		t.Errorf("went on: %q", out.String())
	}
}

func TestEncoderLarge(t *testing.T) {
	body := strings.Repeat("0123456789", 20_000)
	var out bytes.Buffer
	e := wire.NewEncoder(&out)
	e.Raw("x ").Literal(int64(len(body))).Copy(strings.NewReader(body), int64(len(body))).Bytes([]byte(body)).CRLF()
	if err := e.Flush(); err != nil || out.String() != "x {200000}\r\n"+body+body+"\r\n" {
		t.Errorf("%d bytes, %v", out.Len(), err)
	}
}

// What the encoder writes as a string, the decoder reads as the same string.
func FuzzString(f *testing.F) {
	f.Add("a\"b\\", true)
	f.Add("é\r\n", false)
	f.Fuzz(func(t *testing.T, s string, utf8OK bool) {
		if strings.Contains(s, "\x00") {
			t.Skip()
		}
		in := append(wire.AppendString([]byte("a "), s, utf8OK), "\r\n"...)
		d := wire.NewDecoder(bytes.NewReader(in), wire.Limits{Line: 1 << 20, Literal: 1 << 20, Sum: 1 << 20})
		d.Continue = func() error { return nil }
		d.UTF8 = utf8OK
		d.Begin()
		d.Tag()
		got := d.SP().AString()
		if err := d.End(); err != nil || got != s {
			t.Errorf("%q comes back as %q, %v", s, got, err)
		}
	})
}
