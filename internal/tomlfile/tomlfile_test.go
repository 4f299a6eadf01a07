package tomlfile_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"buzon/internal/size"
	"buzon/internal/tomlfile"
)

type sample struct {
	Name    string              `toml:"name"`
	Count   int                 `toml:"count"`
	On      bool                `toml:"on"`
	Max     size.Bytes          `toml:"max"`
	Since   time.Time           `toml:"since"`
	List    []string            `toml:"list"`
	Nested  nested              `toml:"nested"`
	ByName  map[string]nested   `toml:"by_name"`
	Members map[string][]string `toml:"members"`
}

type nested struct {
	Deep string `toml:"deep"`
}

func TestDecode(t *testing.T) {
	const text = `
name = "x"
count = 3
on = true
max = "2 KiB"
since = 2026-01-31T12:00:00Z
list = ["a", "b"]
nested.deep = "d"
[by_name."buzon.test"]
deep = "e"
`
	got := sample{Count: 9}
	f, err := tomlfile.Decode("a.toml", []byte(text), &got)
	if err != nil {
		t.Fatal(err)
	}
	want := sample{
		Name: "x", Count: 3, On: true, Max: 2048, Since: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC),
		List: []string{"a", "b"}, Nested: nested{"d"}, ByName: map[string]nested{"buzon.test": {"e"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if !f.Has("by_name", "buzon.test", "deep") || f.Has("by_name", "other") {
		t.Error("Has does not tell what the file sets")
	}
	f.Problem([]string{"by_name", "buzon.test", "deep"}, "is wrong")
	if got := f.Err().Error(); got != `a.toml:10: by_name."buzon.test".deep: is wrong` {
		t.Error(got)
	}
}

func TestProblems(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"name = \"a\"\nnmae = \"b\"", "a.toml:2: nmae: unknown key; did you mean name?"},
		{"Name = \"a\"", "a.toml:1: Name: unknown key; did you mean name?"},
		{"[nested]\nzzzzzz = 1", "a.toml:2: nested.zzzzzz: unknown key; known here: deep"},
		{"name = 1", "a.toml:1: name: this is a number; write a string in quotes"},
		{"\ncount = \"1\"", "a.toml:2: count: this is a string; write a whole number"},
		{"on = 1", "a.toml:1: on: this is a number; write true or false"},
		{"max = true", `a.toml:1: max: this is true or false; write a number or a string like "10 MiB"`},
		{"max = -1", `a.toml:1: max: "-1" is not a size: write it like "50 MiB"`},
		{"list = \"a\"", `a.toml:1: list: this is a string; write a list of strings like ["one", "two"]`},
		{"list = [1]", `a.toml:1: list: write a list of strings like ["one", "two"]`},
		{"nested = 1", "a.toml:1: nested: this is a number; write a table"},
		{"[[nested]]\ndeep = \"a\"", "a.toml:1: nested: this is a list of tables; write a table"},
		{"[by_name.x]\ndeep = 1\n[by_name.y]\ndepe = \"\"",
			"a.toml:2: by_name.x.deep: this is a number; write a string in quotes\na.toml:4: by_name.y.depe: unknown key; did you mean deep?"},
		{"name = ", "a.toml:1: unexpected EOF; expected value"},
		{"name = \"a\"\nname = \"b\"", "a.toml:2: Key 'name' has already been defined"},
		{"since = 1", "a.toml:1: since: this is a number; write a date and time like 2026-01-31T12:00:00Z"},
	} {
		_, err := tomlfile.Decode("a.toml", []byte(test.text), new(sample))
		if err == nil {
			t.Errorf("%q: no error; want %s", test.text, test.want)
		} else if err.Error() != test.want {
			t.Errorf("%q:\n got %s\nwant %s", test.text, err, test.want)
		}
	}
}

func TestKeys(t *testing.T) {
	want := []string{"name", "count", "on", "max", "since", "list", "nested.deep", "by_name.*.deep", "members"}
	if got := tomlfile.Keys(reflect.TypeFor[sample]()); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("name = \"a\"\n[nested]\ndeep = 1")
	f.Add("a.b.c = [1, {x = 2}]\n[[q]]\n[by_name.\"x\"]")
	f.Fuzz(func(t *testing.T, text string) {
		_, err := tomlfile.Decode("a.toml", []byte(text), new(sample))
		if err == nil {
			return
		}
		for line := range strings.Lines(err.Error()) {
			if !strings.HasPrefix(line, "a.toml:") {
				t.Skip() // the file's own text may hold line ends
			}
		}
		if ps := err.(tomlfile.Problems); len(ps) == 0 {
			t.Error("an error without a problem")
		}
	})
}
