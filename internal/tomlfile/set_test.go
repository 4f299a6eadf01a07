package tomlfile_test

import (
	"testing"

	"buzon/internal/tomlfile"
)

func TestSet(t *testing.T) {
	for _, test := range []struct{ text, name, value, want string }{
		{"", "a", "1", "a = 1\n"},
		{"# c\na = 1 # d\nb = 2", "a", "3", "# c\na = 3\nb = 2\n"},
		{"# c\na = 1\nb = 2\n", "c", "3", "# c\na = 1\nb = 2\nc = 3\n"},
		{"a = [\n 1, # one\n 2\n]\nb = 2\n", "a", "", "b = 2\n"},
		{"a = [\n 1, # one\n 2\n]\nb = 2\n", "b", "[\"]\"]", "a = [\n 1, # one\n 2\n]\nb = [\"]\"]\n"},
		{"\"x.y\" = 1\n", "x.y", "2", "\"x.y\" = 2\n"},
		{"A = 1\n", "a", "2", "a = 2\n"},
		{"a = 1\n", "b", "", "a = 1\n"},
	} {
		got, err := tomlfile.Set("a.toml", []byte(test.text), test.name, test.value)
		if err != nil || string(got) != test.want {
			t.Errorf("Set(%q, %s, %s) = %q, %v; want %q", test.text, test.name, test.value, got, err, test.want)
		}
	}
	if _, err := tomlfile.Set("a.toml", []byte("a = "), "a", "1"); err == nil {
		t.Error("a broken file was changed")
	}
	if _, err := tomlfile.Set("a.toml", []byte("a = \"\"\"\n]\n\"\"\"\n"), "a", "1"); err == nil {
		t.Error("half of a string of several lines was replaced")
	}
	if _, err := tomlfile.Set("a.toml", nil, "a", "= 1"); err == nil {
		t.Error("a broken value was written")
	}
}
