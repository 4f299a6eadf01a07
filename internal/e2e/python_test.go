package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPython runs the scripts in testdata, which use Python's own imaplib and
// smtplib and fail by themselves.
func TestPython(t *testing.T) {
	t.Parallel()
	need(t, "python3")
	h := start(t, hostConfig{Domains: []string{"a.test"}, Accounts: []string{"ana@a.test", "luis@a.test", "niño@a.test"}})
	scripts, err := filepath.Glob("testdata/*.py")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, script := range scripts {
		t.Run(filepath.Base(script), func(t *testing.T) {
			args := []string{script, h.ca, password}
			for _, service := range services {
				args = append(args, h.Addr(service))
			}
			if out, code := run(t, strings.NewReader(""), "python3", args...); code != 0 {
				t.Fatalf("exit code %d\n%s", code, out)
			}
		})
	}
	// What smtplib.py sent, as it lies on the disk.
	wantAll(t, "UTF-8 address", h.message(t, "niño@a.test", "con eñe"), "Delivered-To: niño@a.test\r\n", "with UTF8SMTP")
	for _, name := range h.files(t, "luis@a.test") {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if header, _, _ := strings.Cut(string(raw), "\r\n\r\n"); strings.Contains(strings.ToLower(header), "\nbcc:") {
			t.Errorf("Bcc was delivered:\n%s", header)
		}
	}
}
