package wire_test

import (
	"testing"
	"unicode/utf8"

	"buzon/imapd/wire"
)

func TestUTF7(t *testing.T) {
	for _, c := range []struct{ utf7, name string }{
		{"INBOX", "INBOX"},
		{"", ""},
		{"a&-b", "a&b"},
		{"&-", "&"},
		{"~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"},
		{"Entw&APw-rfe", "Entwürfe"},
		{"&2D3eAA-", "😀"},
		{"&AAo-", "\n"},
		{"&AOkAJg-x", ""}, // "&" has a direct form
	} {
		name, err := wire.DecodeUTF7(c.utf7)
		if c.name == "" && c.utf7 != "" {
			if err == nil {
				t.Errorf("%q is taken as %q", c.utf7, name)
			}
			continue
		}
		if name != c.name || err != nil {
			t.Errorf("DecodeUTF7(%q) = %q, %v; want %q", c.utf7, name, err, c.name)
		}
		if got := wire.EncodeUTF7(c.name); got != c.utf7 {
			t.Errorf("EncodeUTF7(%q) = %q, want %q", c.name, got, c.utf7)
		}
	}
}

func TestUTF7Refused(t *testing.T) {
	for _, s := range []string{
		"&", "a&", "&AOk", "&AGE-", "&AC8-", "&2D0-", "&3gA-", "&2D0AYQ-", "&AA-", "&A-", "&!!!!-", "é", "\n", "\x7f", "&AOk-&AOk-", "&AAA-", "&\r-", "&AOk\n-",
	} {
		if name, err := wire.DecodeUTF7(s); err == nil {
			t.Errorf("%q is taken as %q", s, name)
		}
	}
}

// There is one spelling of a name: what decodes, encodes to the same bytes; and every UTF-8 name
// comes back.
func FuzzUTF7(f *testing.F) {
	f.Add("~peter/mail/&U,BTFw-/&ZeVnLIqe-")
	f.Add("Entwürfe & mehr")
	f.Fuzz(func(t *testing.T, s string) {
		if name, err := wire.DecodeUTF7(s); err == nil {
			if back := wire.EncodeUTF7(name); back != s {
				t.Errorf("%q decodes to %q, which encodes to %q", s, name, back)
			}
		}
		for _, r := range s {
			if r == 0 {
				t.Skip()
			}
		}
		if !utf8.ValidString(s) {
			t.Skip()
		}
		enc := wire.EncodeUTF7(s)
		if back, err := wire.DecodeUTF7(enc); back != s || err != nil {
			t.Errorf("%q encodes to %q, which decodes to %q, %v", s, enc, back, err)
		}
	})
}
