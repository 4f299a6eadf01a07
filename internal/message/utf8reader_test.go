package message

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/text/transform"
)

// However a text comes in, it is read as the transformer reads it.
func FuzzUTF8Reader(f *testing.F) {
	f.Add("plain", uint8(3), false)
	f.Add("Gr\u00fc\u00dfe \U0001F600 and more of them, \u65e5\u672c\u8a9e", uint8(1), false)
	f.Add("Gr\u00fc\xdfe", uint8(7), true)
	f.Add("cut \xe6\x97", uint8(2), false)
	f.Add("\xf0\x9f\x98", uint8(1), true)
	f.Fuzz(func(t *testing.T, text string, size uint8, fails bool) {
		errRead := errors.New("unreadable")
		source := func() io.Reader {
			r := io.Reader(strings.NewReader(text))
			if fails {
				r = io.MultiReader(r, iotest.ErrReader(errRead))
			}
			switch size % 3 {
			case 0:
				r = iotest.OneByteReader(r)
			case 1:
				r = iotest.DataErrReader(r)
			}
			return r
		}
		want, wantErr := io.ReadAll(transform.NewReader(source(), utf8OrLatin{}))
		var got []byte
		r := toUTF8(source(), "utf-8")
		buf := make([]byte, 4+int(size))
		var err error
		for err == nil {
			var n int
			n, err = r.Read(buf)
			got = append(got, buf[:n]...)
		}
		if err == io.EOF {
			err = nil
		}
		if string(got) != string(want) || !errors.Is(err, wantErr) {
			t.Errorf("%q is read as %q, %v; want %q, %v", text, got, err, want, wantErr)
		}
	})
}
