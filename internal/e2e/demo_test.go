package e2e_test

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"buzon/internal/e2e/child"
)

// TestDemo starts what `make run` starts, at another address, and pastes the
// two lines that it prints. A second start finds the mail of the first.
func TestDemo(t *testing.T) {
	t.Parallel()
	need(t, "bash", "swaks", "openssl")
	text, err := os.ReadFile(filepath.Join(root, "deploy/demo.toml"))
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "deploy", "demo.toml")
	if err := os.Mkdir(filepath.Dir(config), 0o700); err != nil {
		t.Fatal(err)
	}
	moved := strings.ReplaceAll(string(text), "127.0.0.1", loopback())
	if err := os.WriteFile(config, []byte(moved), 0o600); err != nil {
		t.Fatal(err)
	}

	swaks, openssl, stop := demo(t, config)
	wantPasted(t, swaks, "<-  250 ")
	wantPasted(t, openssl, "* 1 EXISTS", "Subject: hola", "It works.", "d OK")
	stop()
	_, openssl, stop = demo(t, config)
	wantPasted(t, openssl, "* 1 EXISTS", "Subject: hola", "d OK")
	stop()
}

// demo starts the demonstration and returns its two lines once it is ready.
// stop is Ctrl-C, and wants a clean end.
func demo(t *testing.T, config string) (swaks, openssl string, stop func()) {
	t.Helper()
	cmd := child.Command(t, 4*patience, filepath.Join(root, "deploy/demo"), buzon, config)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = write, write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	read.SetReadDeadline(time.Now().Add(patience))
	var said strings.Builder
	lines := bufio.NewScanner(read)
	for lines.Scan() && !strings.Contains(lines.Text(), "msg=ready") {
		line := lines.Text()
		said.WriteString(line + "\n")
		if strings.HasPrefix(line, "swaks ") {
			swaks = line
		} else if strings.Contains(line, "openssl s_client ") {
			openssl = line
		}
	}
	if swaks == "" || openssl == "" || !strings.Contains(lines.Text(), "msg=ready") {
		t.Fatalf("the demonstration is not ready:\n%s", said.String())
	}
	return swaks, openssl, func() {
		t.Helper()
		cmd.Process.Signal(syscall.SIGINT)
		read.SetReadDeadline(time.Now().Add(patience))
		for lines.Scan() {
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("after Ctrl-C: %v", err)
		}
	}
}

func wantPasted(t *testing.T, line string, wants ...string) {
	t.Helper()
	out, code := run(t, nil, "bash", "-c", line)
	if code != 0 {
		t.Errorf("%s: exit code %d", line, code)
	}
	wantAll(t, line, out, wants...)
}
