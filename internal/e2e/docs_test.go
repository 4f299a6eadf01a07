package e2e_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// TestProtocols wants every file that docs/protocols.md names to exist, and
// every status to be one of the three.
func TestProtocols(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "docs/protocols.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	listing := false // within a table that ends in files
	for n, line := range strings.Split(string(text), "\n") {
		if !strings.HasPrefix(line, "|") {
			listing = false
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if strings.TrimSpace(cells[len(cells)-1]) == "file" {
			listing = true
			continue
		}
		if !listing || strings.HasPrefix(line, "|---") {
			continue
		}
		rows++
		if len(cells) != 4 {
			t.Errorf("line %d has %d cells, want RFC, what, status, file: %s", n+1, len(cells), line)
			continue
		}
		status := strings.Trim(strings.TrimSpace(cells[2]), "*")
		if !regexp.MustCompile(`^(yes|partly|no)\b`).MatchString(status) {
			t.Errorf("line %d has the status %q, want yes, partly or no", n+1, status)
		}
		for _, name := range strings.FieldsFunc(cells[3], func(r rune) bool { return strings.ContainsRune(" ,;`·", r) }) {
			if _, err := os.Stat(filepath.Join(root, name)); err != nil {
				t.Errorf("line %d names a file that is not there: %s", n+1, name)
			}
		}
	}
	if rows == 0 {
		t.Error("docs/protocols.md lists nothing")
	}
}

// TestLinks wants every relative link of the documents to lead somewhere.
func TestLinks(t *testing.T) {
	t.Parallel()
	documents, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	records, err := filepath.Glob(filepath.Join(root, "docs/decisions", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\]\(([^)#]+)(#[^)]*)?\)`)
	for _, document := range append(append(documents, records...), filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(found[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(document), found[1])); err != nil {
				t.Errorf("%s: a link leads nowhere: %s", document, found[1])
			}
		}
	}
}

// TestReadmeIsShort keeps the front page one page.
func TestReadmeIsShort(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(text), "\n"); lines > 80 {
		t.Errorf("README.md has %d lines, want at most 80", lines)
	}
}
