package message

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestEdit(t *testing.T) {
	edit := HeaderEdit{Prepend: []byte("Received: x\r\n"), Remove: []string{"Bcc", "return-path"}, Append: []byte("Date: now\r\n")}
	for _, c := range []struct{ in, want string }{
		{"From: a@b\r\n\r\nbody", "Received: x\r\nFrom: a@b\r\nDate: now\r\n\r\nbody"},
		{"Bcc: c@d,\r\n e@f\r\nFrom: a@b\r\n\r\nBcc: stays", "Received: x\r\nFrom: a@b\r\nDate: now\r\n\r\nBcc: stays"},
		{"From: a@b\r\nBCC : c@d\r\nReturn-Path:<x>\r\nBccx: y\r\n\r\n", "Received: x\r\nFrom: a@b\r\nBccx: y\r\nDate: now\r\n\r\n"},
		{"From: a@b\r\n", "Received: x\r\nFrom: a@b\r\nDate: now\r\n"},
		{"From: a@b", "Received: x\r\nFrom: a@b\r\nDate: now\r\n"},
		{"Bcc: c@d", "Received: x\r\nDate: now\r\n"},
		{"", "Received: x\r\nDate: now\r\n"},
		{"\r\nbody\r\n", "Received: x\r\nDate: now\r\n\r\nbody\r\n"},
		{"From: a@b\n\nbody\n", "Received: x\r\nFrom: a@b\nDate: now\r\n\nbody\n"},
		{" Bcc: x\r\nBcc: y\r\n\r\n", "Received: x\r\n Bcc: x\r\nDate: now\r\n\r\n"},
	} {
		got, err := io.ReadAll(Edit(strings.NewReader(c.in), edit))
		if err != nil || string(got) != c.want {
			t.Errorf("%q became %q, %v, want %q", c.in, got, err, c.want)
		}
		got, err = io.ReadAll(iotest.OneByteReader(Edit(iotest.OneByteReader(strings.NewReader(c.in)), edit)))
		if err != nil || string(got) != c.want {
			t.Errorf("%q became %q, %v byte by byte, want %q", c.in, got, err, c.want)
		}
	}
}

func TestEditLongLines(t *testing.T) {
	long := strings.Repeat("x", 100<<10)
	in := "A: " + long + "\r\nBcc: " + long + "\r\n " + long + "\r\nC: d\r\n\r\n" + long
	want := "A: " + long + "\r\nC: d\r\n\r\n" + long
	got, err := io.ReadAll(Edit(strings.NewReader(in), HeaderEdit{Remove: []string{"bcc"}}))
	if err != nil || string(got) != want {
		t.Errorf("%d bytes, %v, want %d", len(got), err, len(want))
	}
}

func TestEditReadError(t *testing.T) {
	broken := errors.New("broken")
	for _, in := range []string{"", "A: b\r\n", "A: b\r\n\r\nbody"} {
		_, err := io.ReadAll(Edit(io.MultiReader(strings.NewReader(in), iotest.ErrReader(broken)), HeaderEdit{}))
		if err != broken {
			t.Errorf("after %q: error %v, want %v", in, err, broken)
		}
		_, err = io.Copy(io.Discard, Edit(io.MultiReader(strings.NewReader(in), iotest.ErrReader(broken)), HeaderEdit{}))
		if err != broken {
			t.Errorf("after %q: error %v of Copy, want %v", in, err, broken)
		}
	}
}

// FuzzEdit wants every byte that is not named to stay as it was, read or copied.
func FuzzEdit(f *testing.F) {
	f.Add([]byte("Bcc: x\r\n y\r\nFrom: z\r\n\r\nbody"), "Bcc")
	f.Add([]byte("a"), "a")
	f.Fuzz(func(t *testing.T, text []byte, name string) {
		h := ParseHeader(text)
		want := []byte("Top: 1\r\n")
		for f := range h.Fields() {
			if i := bytes.IndexByte(f.Raw, ':'); i < 0 || i > lineEnd(f.Raw, 0) || !sameName(f.Name, name) {
				want = append(want, f.Raw...)
			}
		}
		fields := len(want)
		rest := text[len(bytes.TrimSuffix(bytes.TrimSuffix(h.Raw(), []byte("\n")), []byte("\r"))):]
		if e := h.Raw(); len(e) > 0 {
			var last Field
			for f := range h.Fields() {
				last = f
			}
			rest = text[last.Offset+len(last.Raw):]
		}
		if len(rest) == 0 && fields > len("Top: 1\r\n") && want[fields-1] != '\n' {
			want = append(want, "\r\n"...)
		}
		want = append(want, "End: 2\r\n"...)
		want = append(want, rest...)
		edit := HeaderEdit{Prepend: []byte("Top: 1\r\n"), Remove: []string{name}, Append: []byte("End: 2\r\n")}
		got, err := io.ReadAll(Edit(bytes.NewReader(text), edit))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q without %q: %q, %v, want %q", text, name, got, err, want)
		}
		var copied bytes.Buffer
		if _, err := io.Copy(&copied, Edit(bytes.NewReader(text), edit)); err != nil || !bytes.Equal(copied.Bytes(), want) {
			t.Errorf("%q without %q: copied %q, %v, want %q", text, name, copied.Bytes(), err, want)
		}
	})
}

func BenchmarkEdit(b *testing.B) {
	text := attachment(10 << 20)
	edit := HeaderEdit{Prepend: []byte("Received: x\r\n"), Remove: []string{"Bcc"}}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := io.Copy(io.Discard, struct{ io.Reader }{Edit(bytes.NewReader(text), edit)}); err != nil {
			b.Fatal(err)
		}
	}
}
