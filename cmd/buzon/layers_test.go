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

// layers is the floor on which each package stands. Imports point down, never
// up or sideways. A package that is not here has no place yet: give it one.
var layers = map[string]int{
	"cmd/buzon": 5,

	"imapd":                4,
	"smtpd":                4,
	"internal/web":         4,
	"internal/managesieve": 4,

	"smtpd/lda": 3,
	"mx":        3,

	"internal/junk/lessons": 3,
	"mx/queue":              3,

	"internal/sasl": 3,

	"maildir":           2,
	"internal/account":  2,
	"internal/certs":    2,
	"internal/migrate":  2,
	"internal/sieve":    2,
	"internal/milter":   2,
	"internal/greylist": 2,
	"internal/junk":     2,
	"mx/dnsbl":          2,
	"mx/spf":            2,
	"mx/dkim":           2,
	"mx/dmarc":          2,
	"mx/arc":            2,
	"mx/mtasts":         2,
	"mx/dane":           2,
	"mx/tlsrpt":         2,

	"internal/message":  1,
	"internal/smtp":     1,
	"internal/durable":  1,
	"internal/heap":     1,
	"internal/limit":    1,
	"internal/metrics":  1,
	"internal/tomlfile": 1,
	"internal/size":     1,
	"mx/dns":            1,
	"mx/daily":          1,
	"imapd/wire":        1,
	"maildir/textindex": 1,
}

// support are packages for tests, which may import what they test.
var support = []string{"internal/e2e", "internal/durable/crashfs", "mx/dns/dnstest", "deploy", "maildir/maildirtest"}

func TestLayers(t *testing.T) {
	root := "../.."
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		base := path.Base(name)
		switch {
		case d.IsDir() && (base == "testdata" || name == "demo" || name == "bin" || strings.HasPrefix(base, ".") && name != "."):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || isSupport(path.Dir(name)):
			return nil
		}
		checkImports(t, file, path.Dir(name))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func isSupport(pkg string) bool {
	for _, s := range support {
		if pkg == s || strings.HasPrefix(pkg, s+"/") {
			return true
		}
	}
	return false
}

// checkImports looks at the imports of a file of the package pkg.
func checkImports(t *testing.T, file, pkg string) {
	t.Helper()
	floor, ok := layers[pkg]
	if !ok {
		t.Errorf("%s: the package %s stands on no layer: give it one in layers_test.go", file, pkg)
		return
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		ours, ok := strings.CutPrefix(imported, "buzon/")
		if !ok {
			continue
		}
		if below, ok := layers[ours]; !ok || below >= floor {
			t.Errorf("%s: %s (layer %d) must not import %s (layer %d)", file, pkg, floor, ours, below)
		}
	}
}
