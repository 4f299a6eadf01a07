package message

import "testing"

func TestAppendFields(t *testing.T) {
	const header = "Subject: a\r\n b\r\nTO : c@d\r\nsubject: e\r\nno colon\r\nX: y\r\n\r\n"
	for _, c := range []struct {
		header string
		names  []string
		not    bool
		want   string
	}{
		{header, []string{"SUBJECT"}, false, "Subject: a\r\n b\r\nsubject: e\r\n\r\n"},
		{header, []string{"to", "x"}, false, "TO : c@d\r\nX: y\r\n\r\n"},
		{header, []string{"none"}, false, "\r\n"},
		{header, []string{"subject", "to"}, true, "no colon\r\nX: y\r\n\r\n"},
		{header, nil, true, header},
		{header, nil, false, "\r\n"},
		{"Subject: a", []string{"subject"}, false, "Subject: a\r\n\r\n"},
		{"Subject: a", []string{"x"}, true, "Subject: a"},
		{"", []string{"subject"}, false, "\r\n"},
		{"", []string{"subject"}, true, ""},
	} {
		if got := AppendFields(nil, []byte(c.header), c.names, c.not); string(got) != c.want {
			t.Errorf("fields %q (not: %t) of %q are %q, want %q", c.names, c.not, c.header, got, c.want)
		}
	}
}
