package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"buzon/mx/dkim"
)

// TestMain lets a test start this binary as buzon itself.
func TestMain(m *testing.M) {
	if os.Getenv("BUZON_TEST_MAIN") == "1" {
		main()
	}
	os.Exit(m.Run())
}

// site is a configuration with its data, and the commands that work on it.
type site struct {
	t      *testing.T
	config string
	data   string
	noKeys bool // the server makes the DKIM keys itself
}

const twoDomains = "domains = [\"buzon.test\", \"example.org\"]\n"

// newSite writes a configuration with ports that the system chooses, and with
// a resolver that is not there.
func newSite(t *testing.T, extra ...string) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{t: t, config: filepath.Join(dir, "buzon.toml"), data: filepath.Join(dir, "data")}
	s.configure(extra...)
	return s
}

// configure writes the configuration with other lines at its end.
func (s *site) configure(extra ...string) {
	s.t.Helper()
	text := "hostname = \"mx.buzon.test\"\ndata = \"data\"\n" + twoDomains
	for _, e := range extra {
		if strings.HasPrefix(e, "domains") {
			text = strings.Replace(text, twoDomains, e, 1)
		}
	}
	text += "[listen]\n"
	for _, service := range []string{"smtp", "submission", "submissions", "imap", "imaps"} {
		text += service + " = [\"127.0.0.1:0\"]\n"
	}
	text += "[dns]\nservers = [\"127.0.0.1:1\"]\n"
	for _, e := range extra {
		if !strings.HasPrefix(e, "domains") {
			text += e
		}
	}
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// run runs a command on the site and returns what it printed and its exit code.
func (s *site) run(stdin string, args ...string) (out, errs string, code int) {
	s.t.Helper()
	var stdout, stderr bytes.Buffer
	args = append(args[:len(args):len(args)], "--config", s.config)
	code = run(context.Background(), args, streams{strings.NewReader(stdin), &stdout, &stderr})
	return stdout.String(), stderr.String(), code
}

// do runs a command that must succeed.
func (s *site) do(stdin string, args ...string) string {
	s.t.Helper()
	out, errs, code := s.run(stdin, args...)
	if code != 0 {
		s.t.Fatalf("buzon %s: exit code %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

// refused runs a command that must fail, and wants words in what it says.
func (s *site) refused(code int, want, stdin string, args ...string) {
	s.t.Helper()
	out, errs, got := s.run(stdin, args...)
	if got != code || !strings.Contains(errs, want) {
		s.t.Errorf("buzon %s: exit code %d, want %d with %q\n%s%s", strings.Join(args, " "), got, code, want, out, errs)
	}
}

// running is a server in this process.
type running struct {
	*host
	t      *testing.T
	log    *logBuffer
	hangup chan os.Signal
	stop   context.CancelFunc
	ended  chan error
}

// serve starts the server of a site; it is stopped with the test at the latest.
func (s *site) serve() *running {
	s.t.Helper()
	cfg, err := loadConfig(s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	if !s.noKeys {
		s.giveKeys(cfg)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &running{t: s.t, log: &logBuffer{}, hangup: make(chan os.Signal), stop: stop, ended: make(chan error, 1)}
	if r.host, err = open(cfg, s.config, r.log); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		err := r.host.serve(ctx, r.hangup)
		if e := r.Close(); err == nil {
			err = e
		}
		r.ended <- err
	}()
	s.t.Cleanup(func() {
		stop()
		r.end()
		if s.t.Failed() {
			s.t.Logf("the log:\n%s", r.log)
		}
	})
	r.log.wait(s.t, "msg=ready")
	return r
}

// madeKeys are the files of one domain's DKIM keys: to find a prime takes long
// under the race detector, and serves no test but those of the keys themselves.
var madeKeys = sync.OnceValues(func() (map[string][]byte, error) {
	dir, err := os.MkdirTemp("", "buzon-keys-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	store, err := dkim.OpenStore(dir)
	if err != nil {
		return nil, err
	}
	defer store.Close()
	if _, _, err := store.Ensure("buzon.test", time.Now()); err != nil {
		return nil, err
	}
	files := make(map[string][]byte)
	names, err := filepath.Glob(filepath.Join(dir, "buzon.test", "*.pem"))
	for _, name := range names {
		text, readErr := os.ReadFile(name)
		err = errors.Join(err, readErr)
		files[filepath.Base(name)] = text
	}
	return files, err
})

// giveKeys gives each domain of a configuration keys, unless there are some.
func (s *site) giveKeys(cfg *config) {
	s.t.Helper()
	files, err := madeKeys()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, domain := range cfg.Domains {
		dir := cfg.path(keyDir, domain)
		if _, err := os.Stat(dir); err == nil {
			continue
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			s.t.Fatal(err)
		}
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
				s.t.Fatal(err)
			}
		}
	}
}

// end stops the server and wants it to end well.
func (r *running) end() {
	r.t.Helper()
	r.stop()
	select {
	case err := <-r.ended:
		if err != nil {
			r.t.Errorf("the server ended: %v", err)
		}
		r.ended <- nil
	case <-time.After(lastCall + 10*time.Second):
		r.t.Fatal("the server does not end")
	}
}

// addr is where a service listens.
func (r *running) addr(service string) string {
	for _, ln := range r.listeners {
		if ln.service == service {
			return ln.Addr().String()
		}
	}
	r.t.Fatalf("%s does not listen", service)
	return ""
}

// logBuffer is a log that can be waited for.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// wait waits until the log holds every one of the words.
func (b *logBuffer) wait(t *testing.T, words ...string) {
	t.Helper()
	eventually(t, func() error {
		text := b.String()
		for _, w := range words {
			if !strings.Contains(text, w) {
				return fmt.Errorf("the log has no %q:\n%s", w, text)
			}
		}
		return nil
	})
}

// eventually tries until there is no error, for a time that only a fault needs.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
