package message

import (
	"net/mail"
	"slices"
	"strings"
	"testing"
)

func TestAddresses(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []Address
	}{
		{"", nil},
		{"a@b", []Address{{Mailbox: "a", Host: "b"}}},
		{`"Ana B." <a@b>, c@d (Carl)`, []Address{{Name: "Ana B.", Mailbox: "a", Host: "b"}, {Name: "Carl", Mailbox: "c", Host: "d"}}},
		{"team: a@b, c@d;", []Address{{Mailbox: "team", Group: GroupStart}, {Mailbox: "a", Host: "b"}, {Mailbox: "c", Host: "d"}, {Group: GroupEnd}}},
		{"<@x,@y:a@b>", []Address{{Route: "@x,@y", Mailbox: "a", Host: "b"}}},
		{"a", []Address{{Mailbox: "a", flaws: noHost}}},
		{"Ana <a@b", []Address{{Name: "Ana", Mailbox: "a", Host: "b", flaws: badSyntax}}},
	} {
		if got := Addresses(c.in); !slices.Equal(got, c.want) {
			t.Errorf("Addresses(%q) = %+v, want %+v", c.in, got, c.want)
		}
	}
	if got := len(Addresses(strings.Repeat("a@b,", 2*MaxAddresses))); got != MaxAddresses {
		t.Errorf("%d addresses, want %d", got, MaxAddresses)
	}
}

func TestAddressString(t *testing.T) {
	for _, c := range []struct {
		in   Address
		want string
	}{
		{Address{Mailbox: "ana", Host: "buzon.test"}, "ana@buzon.test"},
		{Address{Mailbox: "a b", Host: "c"}, `"a b"@c`},
		{Address{Mailbox: `a"\`, Host: "c"}, `"a\"\\"@c`},
		{Address{Mailbox: "a..b", Host: "c"}, `"a..b"@c`},
		{Address{Mailbox: "", Host: "c"}, `""@c`},
		{Address{Mailbox: "josé", Host: "c"}, "josé@c"},
		{Address{Mailbox: "a"}, "a"},
	} {
		if got := c.in.String(); got != c.want {
			t.Errorf("%+v: String() = %q, want %q", c.in, got, c.want)
		}
	}
}

// FuzzAddresses wants every whole address to be read again from what String makes of
// it, groups to begin and end in turn, and net/mail to see the same in lists that it
// accepts.
func FuzzAddresses(f *testing.F) {
	for _, s := range addressFields {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list := Addresses(s)
		inGroup := false
		var plain []Address
		var flaws flaw
		for _, a := range list {
			switch a.Group {
			case GroupStart, GroupEnd:
				if inGroup == (a.Group == GroupStart) {
					t.Fatalf("%q: groups do not begin and end in turn: %+v", s, list)
				}
				inGroup = !inGroup
				continue
			}
			flaws |= a.flaws
			if a.flaws&noMailbox == 0 {
				plain = append(plain, a)
			}
			if a.flaws != 0 || strings.ContainsAny(a.Mailbox+a.Host, "\r\n") {
				continue
			}
			again := Addresses(a.String())
			if len(again) != 1 || again[0].Mailbox != a.Mailbox || again[0].Host != a.Host {
				t.Errorf("%q: %+v reads back from %q as %+v", s, a, a.String(), again)
			}
		}
		if inGroup {
			t.Errorf("%q: a group has no end: %+v", s, list)
		}
		theirs, err := mail.ParseAddressList(s)
		if err != nil || strings.ContainsAny(s, `:\[(`+"\x00\r\n") || flaws&^noMailbox != 0 || strings.HasPrefix(strings.TrimSpace(s), ".") {
			return
		}
		if len(theirs) != len(plain) {
			t.Errorf("%q: %+v, net/mail %v", s, plain, theirs)
			return
		}
		for i, a := range theirs {
			if got := plain[i].Mailbox + "@" + plain[i].Host; got != a.Address {
				t.Errorf("%q: %q, net/mail %q", s, got, a.Address)
			}
		}
	})
}
