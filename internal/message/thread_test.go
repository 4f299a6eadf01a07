package message

import (
	"slices"
	"strings"
	"testing"
)

func TestBaseSubject(t *testing.T) {
	for _, c := range []struct {
		in, want string
		reply    bool
	}{
		{"", "", false},
		{"hello", "hello", false},
		{"  hello \t world  ", "hello world", false},
		{"Re: hello", "hello", true},
		{"RE : hello", "hello", true},
		{"re:hello", "hello", true},
		{"Fwd: Re: FW: hello", "hello", true},
		{"Re[2]: hello", "hello", true},
		{"Re [x]: hello", "hello", true},
		{"[list] Re: hello", "hello", true},
		{"[list] [other] hello", "hello", false},
		{"[list]", "[list]", false},
		{"[list] [other]", "[other]", false},
		{"Re: [list]", "[list]", true},
		{"[list] Re: [list] Fwd: hello", "hello", true},
		{"hello (fwd)", "hello", true},
		{"hello (FWD) (fwd) ", "hello", true},
		{"[fwd: hello]", "hello", true},
		{"[Fwd: Re: [Fwd: [list] hello (fwd)]]", "hello", true},
		{"[fwd: hello", "[fwd: hello", false},
		{"Refer: hello", "Refer: hello", false},
		{"Re hello", "Re hello", false},
		{"Re:", "", true},
		{"(fwd)", "", true},
		{"[a[b] hello", "[a[b] hello", false},
		{"[] hello", "hello", false},
		{"Re: ñandú", "ñandú", true},
	} {
		if got, reply := BaseSubject(c.in); got != c.want || reply != c.reply {
			t.Errorf("BaseSubject(%q) = %q, %t, want %q, %t", c.in, got, reply, c.want, c.reply)
		}
	}
}

// FuzzBaseSubject wants a base subject to be its own base subject.
func FuzzBaseSubject(f *testing.F) {
	f.Add("[x] Re: [fwd: y (fwd)]")
	f.Add(strings.Repeat("[a]", 50) + strings.Repeat("re:", 50))
	f.Fuzz(func(t *testing.T, s string) {
		base, _ := BaseSubject(s)
		if again, _ := BaseSubject(base); again != base {
			t.Errorf("BaseSubject(%q) = %q, and of that %q", s, base, again)
		}
	})
}

func TestMessageIDs(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []string
	}{
		{"", nil},
		{"<a@b>", []string{"a@b"}},
		{"<a@b> <c@d>", []string{"a@b", "c@d"}},
		{"<a@b><c@d>,\r\n\t<e@f>", []string{"a@b", "c@d", "e@f"}},
		{"<a @\r\n b>", []string{"a@b"}},
		{`<"a"@b>`, []string{"a@b"}},
		{`<"a b"@c>`, []string{"a b@c"}},
		{"<a(comment)@b>", []string{"a@b"}},
		{"<a@[192.0.2.1]>", []string{"a@[192.0.2.1]"}},
		{`Your message of "Mon, 1 Jan" <a@b>`, []string{"a@b"}},
		{"<no-at> <a@b>", []string{"a@b"}},
		{"<a@b", nil},
		{"a@b", nil},
		{"<a@b> <c@", []string{"a@b"}},
		{"<<a@b>>", []string{"<a@b"}},
	} {
		if got := MessageIDs(c.in); !slices.Equal(got, c.want) {
			t.Errorf("MessageIDs(%q) = %q, want %q", c.in, got, c.want)
		}
	}
	if got := len(MessageIDs(strings.Repeat("<a@b>", 2*MaxMessageIDs))); got != MaxMessageIDs {
		t.Errorf("%d ids, want %d", got, MaxMessageIDs)
	}
}

func FuzzMessageIDs(f *testing.F) {
	f.Add(`<a@b> <"c"@d> <e(f)@[g]>`)
	f.Fuzz(func(t *testing.T, s string) {
		total := 0
		for _, id := range MessageIDs(s) {
			total += len(id)
			if !strings.Contains(id, "@") {
				t.Errorf("MessageIDs(%q): %q", s, id)
			}
		}
		if total > len(s) {
			t.Errorf("MessageIDs(%q) is longer than its input", s)
		}
	})
}

// BenchmarkThreadHostile shows work per byte on values that are made to be slow.
func BenchmarkThreadHostile(b *testing.B) {
	for name, s := range map[string]string{
		"blobs":    strings.Repeat("[a]", 50_000) + "x",
		"leaders":  strings.Repeat("re:", 50_000),
		"forwards": strings.Repeat("[fwd:", 20_000) + strings.Repeat("]", 20_000),
		"trailers": strings.Repeat("(fwd)", 30_000),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(s)))
			for b.Loop() {
				BaseSubject(s)
			}
		})
	}
	for name, s := range map[string]string{
		"open":   strings.Repeat("<", 150_000),
		"quotes": strings.Repeat(`<"`, 75_000),
		"ids":    strings.Repeat("<a@b>", 30_000),
	} {
		b.Run("ids "+name, func(b *testing.B) {
			b.SetBytes(int64(len(s)))
			for b.Loop() {
				MessageIDs(s)
			}
		})
	}
}
