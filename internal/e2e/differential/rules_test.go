package differential

import (
	"os"
	"strings"
	"testing"
)

// Every difference that is allowed stands in docs/protocols.md, with the passage that decides it.
func TestDifferencesAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/protocols.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		if !strings.Contains(string(doc), "| "+r.what) {
			t.Errorf("docs/protocols.md has no row %q", r.what)
		}
	}
}

// Equal facts are taken out, in whatever number; what is left is the difference.
func TestSubtract(t *testing.T) {
	for _, c := range []struct{ a, b, want string }{
		{"a b c", "a b c", ""},
		{"a b c", "b", "a c"},
		{"a a b", "a", "a b"},
		{"", "a", ""},
	} {
		if got := strings.Join(subtract(strings.Fields(c.a), strings.Fields(c.b)), " "); got != c.want {
			t.Errorf("subtract(%q, %q) = %q, want %q", c.a, c.b, got, c.want)
		}
	}
}
