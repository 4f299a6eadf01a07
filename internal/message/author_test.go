package message

import (
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"testing"
)

func TestAuthors(t *testing.T) {
	for _, c := range []struct{ header, want string }{
		{"From: me@own.test\r\n", "me@own.test"},
		{"From: Me <me@own.test>\r\n", "me@own.test"},
		{"From: <me@own.test>\r\n", "me@own.test"},
		{"from:me@own.test\r\n", "me@own.test"},
		{"From:\r\n Me\r\n <me@own.test>\r\n", "me@own.test"},
		{"From: \"Me, Myself\" <me@own.test>\r\n", "me@own.test"},
		{"From: J. \"J\" Smith <me@own.test>\r\n", "me@own.test"},
		{"From: =?utf-8?q?M=C3=A9?= <me@own.test>\r\n", "me@own.test"},
		{"From: =?utf-8?q?M=C3=BCller=2C_Hans?= <me@own.test>\r\n", "me@own.test"},
		{"From: José <josé@own.test>\r\n", "josé@own.test"},
		{"From: me@own.test (Me)\r\n", "me@own.test"},
		{"From: Me <me@own.test> (work)\r\n", "me@own.test"},
		{"From: \"a b\"@own.test\r\n", `"a b"@own.test`},
		{"From: me@[192.0.2.1]\r\n", "me@[192.0.2.1]"},
		{"From: me@own.test, you@own.test\r\nSender: me@own.test\r\n", "me@own.test you@own.test me@own.test"},
		{"From: me@own.test\r\nResent-From: you@own.test\r\nResent-Sender: it@own.test\r\n", "me@own.test you@own.test it@own.test"},
		{"Subject: From: x@y\r\nFrom: me@own.test\r\nTo: x@y\r\n", "me@own.test"},

		// What a reader may show, the caller must see.
		{"From: <boss@legit.test>, <me@own.test>\r\n", "boss@legit.test me@own.test"},
		{"From: boss@legit.test,<me@own.test>\r\n", "boss@legit.test me@own.test"},
		{"From: me@own.test\r\nSender: boss@legit.test\r\n", "me@own.test boss@legit.test"},
		{"From: me@own.test\r\nResent-From: boss@legit.test\r\n", "me@own.test boss@legit.test"},
		{"From: =?utf-8?q?boss=40legit.test?= <me@own.test>\r\n", "me@own.test boss@legit.test"},
		{"From: \"=?utf-8?b?Ym9zc0BsZWdpdC50ZXN0?=\" <me@own.test>\r\n", "me@own.test boss@legit.test"},

		// Two readers could understand these differently.
		{"", "refused"},
		{"From:\r\n", "refused"},
		{"From: me@own.test\r\nFrom: boss@legit.test\r\n", "refused"},
		{"From: me@own.test\r\nFROM: me@own.test\r\n", "refused"},
		{" From: boss@legit.test\r\nFrom: me@own.test\r\n", "refused"},
		{"From : boss@legit.test\r\nFrom: me@own.test\r\n", "refused"},
		{"From\t: me@own.test\r\n", "refused"},
		{"From\r\n : boss@legit.test\r\nFrom: me@own.test\r\n", "refused"},
		{"Fr\x00om: boss@legit.test\r\nFrom: me@own.test\r\n", "refused"},
		{"From\xc2\xa0: boss@legit.test\r\nFrom: me@own.test\r\n", "refused"},
		{"From: me@own.test\r\n \r\n , boss@legit.test\r\n", "refused"},
		{"From: me@own.test\r\nSender: a@own.test, b@own.test\r\n", "refused"},
		{"From: me@own.test\r\nSender: me@own.test\r\nSender: boss@legit.test\r\n", "refused"},
		{"From: group: me@own.test;\r\n", "refused"},
		{"From: group:;\r\n", "refused"},
		{"From: <@own.test:boss@legit.test>\r\n", "refused"},
		{"From: <@own.test,@a:boss@legit.test>\r\n", "refused"},
		{"From: <boss@legit.test>me@own.test\r\n", "refused"},
		{"From: <me@own.test> boss@legit.test\r\n", "refused"},
		{"From: boss@legit.test <me@own.test>\r\n", "refused"},
		{"From: <boss@legit.test><me@own.test>\r\n", "refused"},
		{"From: <<me@own.test>>\r\n", "refused"},
		{"From: <boss@legit.test\\,>, <me@own.test>\r\n", "refused"},
		{"From: boss@legit.test\\,me@own.test\r\n", "refused"},
		{"From: =?utf-8?b?Ym9zc0BsZWdpdC50ZXN0?=, <me@own.test>\r\n", "refused"},
		{"From: =?utf-8?b?PGJvc3NAbGVnaXQudGVzdD4=?= <me@own.test>\r\n", "refused"},
		{"From: =?utf-8?q?=22?= <me@own.test>\r\n", "refused"},
		{"From: =?utf-8?q?boss?=@own.test\r\n", "refused"},
		{"From: me@=?utf-8?q?legit.test?=\r\n", "refused"},
		{"From: (boss@legit.test) me@own.test\r\n", "refused"},
		{"From: me@own.test (<boss@legit.test>)\r\n", "refused"},
		{"From: <me@own.test(comment)>\r\n", "refused"},
		{"From: me@own.test (a (b))\r\n", "refused"},
		{"From: me @ own.test\r\n", "refused"},
		{"From: me@own.test.\r\n", "refused"},
		{"From: . <me@own.test>\r\n", "refused"},
		{"From: me@own.test,\r\n", "refused"},
		{"From: ,me@own.test\r\n", "refused"},
		{"From: me\r\n", "refused"},
		{"From: <>\r\n", "refused"},
		{"From: \"me@own.test\r\n", "refused"},
		{"From: me@own.test\x01\r\n", "refused"},
		{"From: J\xf6rg <me@own.test>\r\n", "refused"},
		{"From: me@own.test\rFrom: boss@legit.test\r\n", "refused"},
		{"X: y\rFrom: boss@legit.test\r\nFrom: me@own.test\r\n", "refused"},
		{"From me@own.test Mon\r\nFrom: me@own.test\r\n", "refused"},
		{"From: " + strings.Repeat("me@own.test,", maxAuthors) + "me@own.test\r\n", "refused"},
	} {
		list, err := Authors(ParseHeader([]byte(c.header + "\r\n")))
		got := strings.TrimSuffix(strings.TrimPrefix(fmt.Sprint(list), "["), "]")
		var refused *AuthorError
		if errors.As(err, &refused) {
			got = "refused"
		} else if err != nil {
			t.Errorf("%q: error %v of another type", c.header, err)
		}
		if got != c.want {
			t.Errorf("%q: authors %s (%v), want %s", c.header, got, err, c.want)
		}
	}
}

// FuzzAuthors wants two other parsers to find no address that Authors did not return: the
// tolerant one of this package, and net/mail.
func FuzzAuthors(f *testing.F) {
	for _, s := range addressFields {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		h := ParseHeader([]byte("From: " + value + "\r\n\r\n"))
		list, err := Authors(h)
		if err != nil {
			return
		}
		known := map[string]bool{}
		for _, a := range list {
			known[a.Mailbox+"@"+a.Host] = true
		}
		for _, a := range Addresses(h.Get("From")) {
			if !known[a.Mailbox+"@"+a.Host] {
				t.Errorf("From %q: %v does not name %+v", value, list, a)
			}
		}
		theirs, err := mail.ParseAddressList(h.Get("From"))
		if err != nil {
			return
		}
		for _, a := range theirs {
			if !known[a.Address] {
				t.Errorf("From %q: %v does not name %s, which net/mail finds", value, list, a.Address)
			}
		}
	})
}
