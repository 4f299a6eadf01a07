package smtp_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"buzon/internal/smtp"
)

func TestParseAddress(t *testing.T) {
	long := strings.Repeat("x", 64)
	for _, tt := range []struct{ in, local, domain string }{
		{"ana@buzon.test", "ana", "buzon.test"},
		{"Ana+x@BUZON.Test", "Ana+x", "buzon.test"},
		{`"a b"@c.test`, "a b", "c.test"},
		{`"a\"\\b"@c.test`, `a"\b`, "c.test"},
		{`"a@b"@c.test`, "a@b", "c.test"},
		{`""@c.test`, "", "c.test"},
		{`"ana"@c.test`, "ana", "c.test"},
		{"a@[192.0.2.1]", "a", "[192.0.2.1]"},
		{"a@[IPv6:2001:DB8:0::1]", "a", "[IPv6:2001:db8::1]"},
		{"a@localhost", "a", "localhost"},
		{"a@my_host.test", "a", "my_host.test"},
		{"ñandú@ejemplo.test", "ñandú", "ejemplo.test"},
		{"a@Correo.ESPAÑA.test", "a", "correo.xn--espaa-rta.test"},
		{long + "@c.test", long, "c.test"},
		{"!#$%&'*+-/=?^_`{|}~@c.test", "!#$%&'*+-/=?^_`{|}~", "c.test"},
	} {
		a, err := smtp.ParseAddress(tt.in)
		if err != nil || a != (smtp.Address{Local: tt.local, Domain: tt.domain}) {
			t.Errorf("ParseAddress(%q) = %+v, %v", tt.in, a, err)
		}
	}
}

func TestParseAddressRefuses(t *testing.T) {
	for _, in := range []string{
		"", "@", "a", "a@", "@b", "a@b@c", "a b@c", ".a@b", "a.@b", "a..b@c", "a@.b", "a@b.", "a@b..c", "a@-b", "a@b-",
		"<a@b>", "a@b ", " a@b", "a@b c", "a\x00@b", "a@b\x00", "a\r\n@b", "a@b\r\nRCPT", `"a@b`, `"a\`, `"a"b@c`, `a"b"@c`,
		"\"a\nb\"@c", "\"a\x7f\"@c", "\"a\u0085\"@c", "a\u2028@b", "a\xff@b", "\"\xff\"@b", "a@\xff.test",
		"a@[1.2.3]", "a@[1.2.3.4", "a@[IPv6:1.2.3.4]", "a@[::1]", "a@[IPv6:fe80::1%eth0]", "a@[tag:x]",
		"(c)a@b", "a@b(c)", ";sleep 9;@x", "a%", "a@b,c@d",
		strings.Repeat("x", 65) + "@b.test", "a@" + strings.Repeat("x", 64) + ".test", "a@" + strings.Repeat("x.", 127) + "test",
	} {
		if a, err := smtp.ParseAddress(in); err == nil {
			t.Errorf("ParseAddress(%q) = %+v, want an error", in, a)
		}
	}
}

func TestParsePath(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want smtp.Address
	}{
		{"<>", smtp.Address{}},
		{"<a@b.test>", smtp.Address{Local: "a", Domain: "b.test"}},
		{"<PostMaster>", smtp.Address{Local: "postmaster"}},
		{"<@relay.test:a@b.test>", smtp.Address{Local: "a", Domain: "b.test"}},
		{"<@one.test,@two.test:a@b.test>", smtp.Address{Local: "a", Domain: "b.test"}},
		{`<"a> SIZE=1"@b.test>`, smtp.Address{Local: "a> SIZE=1", Domain: "b.test"}},
	} {
		if a, err := smtp.ParsePath(tt.in); err != nil || a != tt.want {
			t.Errorf("ParsePath(%q) = %+v, %v, want %+v", tt.in, a, err, tt.want)
		}
	}
	for _, in := range []string{"", "<", ">", "a@b", "<a@b", "a@b>", "<a>", "<@r>", "<@r:>", "<r:a@b>", "<@r,s:a@b>", "<@:a@b>", "<<a@b>>", "< a@b>"} {
		if a, err := smtp.ParsePath(in); err == nil {
			t.Errorf("ParsePath(%q) = %+v, want an error", in, a)
		}
	}
}

func TestAddressForms(t *testing.T) {
	if got := (smtp.Address{}).Path(); got != "<>" {
		t.Errorf("null path is %q", got)
	}
	if got := (smtp.Address{Local: "postmaster"}).Path(); got != "<postmaster>" {
		t.Errorf("postmaster's path is %q", got)
	}
	a := smtp.Address{Local: `x"\ @`, Domain: "b.test"}
	if got := a.String(); got != `"x\"\\ @"@b.test` {
		t.Errorf("quoted form is %s", got)
	}
	if a.NeedsUTF8() || !(smtp.Address{Local: "ñ", Domain: "b"}).NeedsUTF8() {
		t.Error("NeedsUTF8 is wrong")
	}
	if ip, ok := (smtp.Address{Local: "a", Domain: "[IPv6:2001:db8::1]"}).LiteralIP(); !ok || ip.String() != "2001:db8::1" {
		t.Errorf("LiteralIP = %v, %v", ip, ok)
	}
}

// What is accepted formats to something that parses to the same address and
// holds nothing that could break a line or end a path.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"a@b.test", `"a b"@c`, `"\""@[127.0.0.1]`, "ñ@ñ.test", "a@[IPv6:::1]", "@r:a@b", "postmaster", `""@x`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, parse := range []func(string) (smtp.Address, error){smtp.ParseAddress, smtp.ParsePath} {
			a, err := parse(s)
			if err != nil {
				continue
			}
			text := a.String()
			if len(a.Local) > 64 || len(a.Domain) > 255 || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
				t.Errorf("%q was accepted as %q", s, text)
			}
			if b, err := smtp.ParsePath(a.Path()); err != nil || a != b {
				t.Errorf("ParsePath(%q) = %+v, %v, want %+v", a.Path(), b, err, a)
			}
			if a.Domain == "" {
				continue
			}
			if b, err := smtp.ParseAddress(text); err != nil || a != b {
				t.Errorf("ParseAddress(%q) = %+v, %v, want %+v", text, b, err, a)
			}
		}
	})
}
