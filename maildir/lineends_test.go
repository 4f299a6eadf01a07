package maildir

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// FuzzLineEnds: whatever the line ends and wherever the pieces are cut, each line feed has one carriage
// return before it, nothing else changes, and the count says how much longer it became.
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
	})
}
