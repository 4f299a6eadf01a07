package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// layers is the order of docs/architecture.md: a package imports only packages
// of lower layers. A new package needs a row here, which is the moment to ask
// where it belongs.
var layers = map[string]int{
	"cmd/buzon": 5,

	"imapd":        4,
	"smtpd":        4,
	"internal/web": 4,

	"smtpd/lda": 3,
	"mx":        3,
	"mx/queue":  3,

	"maildir":          2,
	"internal/account": 2,
	"internal/certs":   2,

	"internal/message": 1,
	"internal/smtp":    1,
	"internal/durable": 1,
	"internal/limit":   1,
	"internal/metrics": 1,
	"mx/dns":           1,
	"imapd/wire":       1,

	// Below everything: they read what people write.
	"internal/tomlfile": 0,
	"internal/size":     0,
}

// forTests is what only tests and their programs may import; itself it may
// import anything.
var forTests = []string{"internal/e2e", "internal/durable/crashfs", "mx/dns/dnstest"}

func TestImportsPointDown(t *testing.T) {
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); rel != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "demo" || name == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		checkImports(t, file, path.Dir(filepath.ToSlash(rel)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkImports(t *testing.T, file, pkg string) {
	if isTesting(pkg) {
		return
	}
	from, known := layers[pkg]
	if !known {
		t.Errorf("%s: package %s has no layer: give it a row in layers_test.go and docs/architecture.md", file, pkg)
		return
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Error(err)
		return
	}
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Error(err)
			continue
		}
		to, ours := strings.CutPrefix(imported, "buzon/")
		if !ours {
			continue
		}
		if isTesting(to) {
			t.Errorf("%s imports %s, which is for tests", file, to)
		} else if layers[to] >= from {
			t.Errorf("%s (layer %d) imports %s (layer %d): imports point down", file, from, to, layers[to])
		}
	}
}

func isTesting(pkg string) bool {
	for _, p := range forTests {
		if pkg == p || strings.HasPrefix(pkg, p+"/") {
			return true
		}
	}
	return false
}
