package maildir

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"buzon/internal/message"
)

// FuzzLineEnds: whatever the line ends and wherever the pieces are cut, each line feed has one carriage
// return before it, nothing else changes, and the count says how much longer it became. A message in memory
// reads the same from start to end, in pieces, and here and there.
func FuzzLineEnds(f *testing.F) {
	for _, s := range []string{"", "\n", "\r\n", "\n\n\r\n", "a\nb\r\nc", "\r", "\r\r\n", "a\r", strings.Repeat("line\n", 20000)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var want []byte
		for i, c := range in {
			if c == '\n' && (i == 0 || in[i-1] != '\r') {
				want = append(want, '\r')
			}
			want = append(want, c)
		}
		if got := appendCRLF(nil, in, false); !bytes.Equal(got, want) {
			t.Fatalf("appendCRLF(%q) = %q", in, got)
		}
		for name, r := range map[string]io.Reader{"whole": bytes.NewReader(in), "by bytes": iotest.OneByteReader(bytes.NewReader(in))} {
			got, err := io.ReadAll(&crlfReader{r: r})
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s: %q, %v; want %q", name, got, err, want)
			}
			bare, err := countBareLF(bytes.NewReader(in))
			if err != nil || int(bare) != len(want)-len(in) {
				t.Fatalf("%d bare line feeds, %v; want %d", bare, err, len(want)-len(in))
			}
		}
		checkInMemory(t, in, want)
	})
}

func checkInMemory(t *testing.T, in, want []byte) {
	t.Helper()
	var buffers bufferPool
	open := func() *File { return crlfText(append(buffers.get(len(in))[:0], in...), &buffers) }
	f := open()
	defer f.Close()
	if f.Size() != int64(len(want)) {
		t.Fatalf("size %d, want %d", f.Size(), len(want))
	}
	half := int64(len(want) / 2)
	start, err := f.bytes(message.Range{End: half})
	if err != nil || !bytes.Equal(start, want[:half]) {
		t.Fatalf("the first half is %q, %v", start, err)
	}
	for name, whole := range map[string]io.Reader{"whole": f.Reader(0, f.Size()), "by bytes": iotest.OneByteReader(f.Reader(0, f.Size())), "by halves": iotest.HalfReader(f.Reader(0, f.Size()))} {
		if got, err := io.ReadAll(whole); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	rest, err := io.ReadAll(f.Reader(half, f.Size()-half))
	if err != nil || !bytes.Equal(rest, want[half:]) {
		t.Fatalf("the second half is %q, %v", rest, err)
	}
	if got, err := io.ReadAll(f.Reader(0, f.Size())); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("after that %q, %v", got, err)
	}
}
