package size_test

import (
	"testing"

	"buzon/internal/size"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]size.Bytes{
		"0": 0, "1": 1, "52428800": 50 << 20, "50 MiB": 50 << 20, "50MiB": 50 << 20, "50m": 50 << 20,
		"50 MB": 50e6, "1.5 GiB": 3 << 29, " 2 kib ": 2048, "7 B": 7, "9223372036854775807": 1<<63 - 1,
		".5k": 512, "8 TiB": 8 << 40,
	} {
		if got, err := size.Parse(in); err != nil || got != want {
			t.Errorf("Parse(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", "MiB", "-1", "-1 MiB", "1e9", "0x10", "50 XiB", "1..5 k", "50 MiB more", "NaN", "Inf",
		"9223372036854775808", "8388608 TiB", "1_000", "5 5",
	} {
		if got, err := size.Parse(in); err == nil {
			t.Errorf("Parse(%q) = %d; want an error", in, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("50 MiB")
	f.Add("1.5k")
	f.Add("9223372036854775807")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := size.Parse(s)
		if err != nil {
			t.Skip()
		}
		if back, err := size.Parse(n.String()); err != nil || back != n || n < 0 {
			t.Errorf("Parse(%q) = %d; written as %q it reads %d, %v", s, n, n, back, err)
		}
	})
}
