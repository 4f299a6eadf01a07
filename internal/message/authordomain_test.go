package message_test

import (
	"slices"
	"strings"
	"testing"

	"buzon/internal/message"
)

func TestAuthorDomain(t *testing.T) {
	for _, tt := range []struct {
		header   string
		domain   string
		doubtful []string
	}{
		{"From: Ana <ana@Buzon.Test>\n", "buzon.test", nil},
		{"from: ana@buzon.test, <luis@BUZON.test>\n", "buzon.test", nil},
		{"From: \"eva@far.test\" <ana@buzon.test>\nSender: <x@far.test>\n", "buzon.test", nil},
		{"From: ana@buzon.test, eva@far.test\n", "", []string{"buzon.test", "far.test"}},
		{"From: a@[192.0.2.1]\n", "", []string{"[192.0.2.1]"}},
		{"From: undisclosed:;\n", "", nil},
		{"Subject: x\n", "", nil},
		{"", "", nil},
		{"Sender: <a@legit.test>\n", "", []string{"legit.test"}},
		// espoofer server_a8 to a19
		{"From: <first@attack.test>\nFrom: <admin@legit.test>\n", "", []string{"attack.test", "legit.test"}},
		{" From: <first@attack.test>\nFrom: <admin@legit.test>\n", "", []string{"attack.test", "legit.test"}},
		{"From: <first@attack.test>\nFrom : <admin@legit.test>\n", "", []string{"attack.test", "legit.test"}},
		{"From\n : <first@attack.test>\nFrom: <admin@legit.test>\n", "", []string{"attack.test", "legit.test"}},
		{"From\n : <first@attack.test>\nSender: <admin@legit.test>\n", "", []string{"attack.test", "legit.test"}},
		{"From\n : <first@attack.test>\nResent-From: <admin@legit.test>\n", "", []string{"attack.test", "legit.test"}},
		{"From: <first@attack.test>, <admin@legit.test>\n", "", []string{"attack.test", "legit.test"}},
		{"From: =?utf-8?B?PGFkbWluQGxlZ2l0LnRlc3Q+?=,<second@attack.test>\n", "", []string{"attack.test", "legit.test"}},
		{"From: <@attack.test,@any.test:admin@legit.test>\n", "", []string{"attack.test", "any.test", "legit.test"}},
		{"From: <admin@legit.test>\\,<second@attack.test>\n", "", []string{"legit.test", "attack.test"}},
		{"From: admin@legit.test,<second@attack.test>\n", "", []string{"legit.test", "attack.test"}},
		{"From: <any@attack.test>admin@legit.test\n", "", []string{"attack.test", "legit.test"}},
		// and more of the kind
		{"From: <a@legit.test\x00.attack.test>\n", "", []string{"legit.test"}},
		{"From: <a@attack.test>\n \nSubject: x\n", "", []string{"attack.test"}},
		{"From eva@attack.test Thu Nov 12 10:00:00 2026\nFrom: <ana@legit.test>\n", "", []string{"attack.test", "legit.test"}},
	} {
		h := message.ParseHeader([]byte(strings.ReplaceAll(tt.header, "\n", "\r\n") + "\r\n"))
		domain, doubtful := message.AuthorDomain(h)
		if domain != tt.domain || !slices.Equal(doubtful, tt.doubtful) {
			t.Errorf("%q: %q, %q; want %q, %q", tt.header, domain, doubtful, tt.domain, tt.doubtful)
		}
	}
}
