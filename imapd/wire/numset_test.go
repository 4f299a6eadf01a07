package wire_test

import (
	"slices"
	"strings"
	"testing"

	"buzon/imapd/wire"
)

func parseSet(s string) (wire.Set, error) {
	d := wire.NewDecoder(strings.NewReader(s+"\r\n"), wire.Limits{Line: 64 << 10})
	d.Begin()
	set := d.Set()
	return set, d.End()
}

func TestSetResolve(t *testing.T) {
	for _, c := range []struct {
		in   string
		top  uint32
		want string
	}{
		{"1", 9, "1"},
		{"1:3,2:5", 9, "1:5"},
		{"5,3,1,4", 9, "1,3:5"},
		{"*", 9, "9"},
		{"12:*", 9, "9:12"},
		{"*:12,1:*", 9, "1:12"},
		{"4294967295,1:4294967295", 9, "1:4294967295"},
		{"9:1", 9, "1:9"},
	} {
		set, err := parseSet(c.in)
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		if got := set.Resolve(c.top).String(); got != c.want {
			t.Errorf("%s with * = %d: %s, want %s", c.in, c.top, got, c.want)
		}
	}
}

func TestSetRefused(t *testing.T) {
	for _, in := range []string{"", "0", "1:", ":1", "1,,2", "1,", "a", "4294967296", "-1", "1:2:3", "**"} {
		if set, err := parseSet(in); err == nil {
			t.Errorf("%q is taken as %v", in, set)
		}
	}
}

func TestSetList(t *testing.T) {
	set, _ := parseSet("7,3:5,2:1")
	if got, ok := set.List(6); !ok || !slices.Equal(got, []uint32{7, 3, 4, 5, 1, 2}) {
		t.Errorf("List = %v, %t", got, ok)
	}
	if _, ok := set.List(5); ok {
		t.Error("List passed its limit")
	}
	set, _ = parseSet("1:4294967295")
	if _, ok := set.List(1000); ok {
		t.Error("List spelt out everything")
	}
}

func TestAppendList(t *testing.T) {
	if got := string(wire.AppendList(nil, []uint32{4, 5, 6, 2, 3, 9})); got != "4:6,2:3,9" {
		t.Errorf("got %s", got)
	}
}

// Every number is in the resolved set if and only if one of its parts says so, and the form is
// normal.
func FuzzSet(f *testing.F) {
	f.Add("1:3,5,*", uint32(4), uint32(4))
	f.Add("9:*,*:2", uint32(4), uint32(4294967295))
	f.Fuzz(func(t *testing.T, in string, top, n uint32) {
		set, err := parseSet(in)
		if err != nil || set.Saved || strings.ContainsAny(in, "\r\n") {
			t.Skip()
		}
		want := false
		num := func(s string) uint64 {
			if s == "*" {
				return uint64(top)
			}
			var v uint64
			for _, c := range s {
				v = v*10 + uint64(c-'0')
			}
			return v
		}
		for part := range strings.SplitSeq(in, ",") {
			a, b, isRange := strings.Cut(part, ":")
			if !isRange {
				b = a
			}
			lo, hi := min(num(a), num(b)), max(num(a), num(b))
			want = want || uint64(n) >= lo && uint64(n) <= hi
		}
		rs := set.Resolve(top)
		if rs.Contains(n) != want {
			t.Errorf("%q with * = %d contains %d: %t", in, top, n, !want)
		}
		for i := 1; i < len(rs); i++ {
			if rs[i].First <= rs[i-1].Last+1 {
				t.Errorf("%q: %v is not normal", in, rs)
			}
		}
	})
}

func BenchmarkSetHostile(b *testing.B) {
	in := strings.Repeat("1:4294967295,*:1,", 3000) + "1"
	for b.Loop() {
		set, err := parseSet(in)
		if err != nil {
			b.Fatal(err)
		}
		set.Resolve(1000)
	}
}
