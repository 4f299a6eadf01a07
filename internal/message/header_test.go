package message

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

const threeFields = "Subject: one\r\nTo: a@b,\r\n c@d\r\nX-Y : z \r\n\r\n"

func TestHeader(t *testing.T) {
	h := ParseHeader([]byte(threeFields + "body"))
	if got := string(h.Raw()); got != threeFields {
		t.Errorf("Raw() = %q", got)
	}
	var got []string
	for f := range h.Fields() {
		got = append(got, fmt.Sprintf("%d %q=%q", f.Offset, f.Name, f.Value()))
	}
	want := `[0 "Subject"="one" 14 "To"="a@b, c@d" 30 "X-Y"="z"]`
	if fmt.Sprint(got) != want {
		t.Errorf("fields %s, want %s", got, want)
	}
	if got := h.Get("to"); got != "a@b, c@d" {
		t.Errorf("Get(to) = %q", got)
	}
	if h.Count("SUBJECT") != 1 || h.Count("From") != 0 || h.Len() != 3 {
		t.Error("Count or Len is wrong")
	}
}

func TestHeaderOddLines(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", "[]"},
		{"\r\n", "[]"},
		{"\nbody", "[]"},
		{"A: b", `["A"="b"]`},
		{"A:b\nC:\n", `["A"="b" "C"=""]`},
		{" A: b\r\nC: d\r\n", `[" A"="b" "C"="d"]`},
		{"no colon\r\n folded: x\r\nA: b\r\n", `[""="no colon folded: x" "A"="b"]`},
		{": x\r\n", `[""="x"]`},
		{"A:\r\n\t\r\n b\r\n", `["A"="b"]`},
		{"A: b\r\n\r\nC: d\r\n", `["A"="b"]`},
	} {
		var got []string
		for f := range ParseHeader([]byte(c.in)).Fields() {
			got = append(got, fmt.Sprintf("%q=%q", f.Name, f.Value()))
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("%q: fields %s, want %s", c.in, got, c.want)
		}
	}
}

func TestReadHeader(t *testing.T) {
	for _, r := range []io.Reader{
		strings.NewReader(threeFields + "body"),
		iotest.OneByteReader(strings.NewReader(threeFields + "body")),
	} {
		b := bufio.NewReaderSize(r, 16)
		h, err := ReadHeader(b, HeaderLimits{})
		if err != nil || string(h.Raw()) != threeFields || h.Len() != 3 {
			t.Errorf("ReadHeader: %q, %v", h.Raw(), err)
		}
		if rest, err := io.ReadAll(b); err != nil || string(rest) != "body" {
			t.Errorf("left behind the header: %q, %v", rest, err)
		}
	}
}

func TestReadHeaderLimits(t *testing.T) {
	limits := HeaderLimits{Bytes: 100, Fields: 5, FieldBytes: 50}
	for _, c := range []struct {
		in   string
		want error
	}{
		{strings.Repeat("A: b\r\n", 5) + "\r\n", nil},
		{strings.Repeat("A: b\r\n", 6) + "\r\n", ErrTooManyFields},
		{"A: " + strings.Repeat("b", 45) + "\r\n\r\n", nil},
		{"A: " + strings.Repeat("b", 46) + "\r\n\r\n", ErrFieldTooBig},
		{"A: " + strings.Repeat("b\r\n ", 15) + "\r\n\r\n", ErrFieldTooBig},
		{strings.Repeat("A: "+strings.Repeat("b", 30)+"\r\n", 3) + "\r\n", ErrHeaderTooBig},
		{strings.Repeat("b", 1<<20), ErrFieldTooBig},
		{"", nil},
		{"A: b", nil},
	} {
		_, err := ReadHeader(bufio.NewReaderSize(strings.NewReader(c.in), 16), limits)
		if err != c.want {
			t.Errorf("%.60q: error %v, want %v", c.in, err, c.want)
		}
	}
	broken := errors.New("broken")
	if _, err := ReadHeader(bufio.NewReader(iotest.ErrReader(broken)), limits); err != broken {
		t.Errorf("error %v, want %v", err, broken)
	}
}

// FuzzHeader wants the fields of any header to be its bytes, whoever reads it.
func FuzzHeader(f *testing.F) {
	f.Add([]byte(threeFields + "body"))
	for _, s := range otherFields {
		f.Add([]byte(s + "\r\n\r\nbody"))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		h := ParseHeader(text)
		var joined []byte
		for f := range h.Fields() {
			if f.Offset != len(joined) || len(f.Raw) == 0 {
				t.Fatalf("%q: field %q at %d, want %d", text, f.Raw, f.Offset, len(joined))
			}
			joined = append(joined, f.Raw...)
		}
		rest := h.Raw()[len(joined):]
		if !bytes.HasPrefix(h.Raw(), joined) || len(rest) > 0 && !isEmptyLine(rest) {
			t.Fatalf("%q: fields %q of header %q", text, joined, h.Raw())
		}
		r := bufio.NewReaderSize(bytes.NewReader(text), 16)
		read, err := ReadHeader(r, HeaderLimits{})
		if err != nil {
			return
		}
		if !bytes.Equal(read.Raw(), h.Raw()) || read.Len() != h.Len() {
			t.Errorf("%q: ReadHeader %q, ParseHeader %q", text, read.Raw(), h.Raw())
		}
		body, _ := io.ReadAll(r)
		if string(h.Raw())+string(body) != string(text) {
			t.Errorf("%q: header %q body %q", text, h.Raw(), body)
		}
		if p := parse(t, text); p.Header.End != int64(len(h.Raw())) {
			t.Errorf("%q: Parse ends the header at %d, ParseHeader at %d", text, p.Header.End, len(h.Raw()))
		}
	})
}
