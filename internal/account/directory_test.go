package account_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"buzon/internal/account"
	"buzon/internal/smtp"
)

// house is a directory with its files, a clock and what it logged.
type house struct {
	*account.Directory
	t   testing.TB
	dir string
	log *lockedBuffer

	mu  sync.Mutex
	now time.Time
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.String()
}

var twoDomains = []account.Domain{{Name: "buzon.test"}, {Name: "Bücher.test", CatchAll: "ana@buzon.test"}}

func newHouse(t testing.TB, files map[string]string) *house {
	t.Helper()
	h := &house{t: t, dir: t.TempDir(), log: &lockedBuffer{}, now: time.Now()}
	for name, text := range files {
		h.write(name, text)
	}
	d, err := h.open()
	if err != nil {
		t.Fatal(err)
	}
	h.Directory = d
	t.Cleanup(func() { d.Close() })
	return h
}

func (h *house) open() (*account.Directory, error) {
	return account.Open(account.Config{
		Dir: h.dir, Domains: twoDomains, Hostname: "mx.buzon.test",
		Log: slog.New(slog.NewTextHandler(h.log, nil)), Now: h.clock, SCRAMIterations: 4096,
	})
}

func (h *house) clock() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

// wait lets the directory look at its files again.
func (h *house) wait() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(time.Minute)
}

func (h *house) write(name, text string) {
	h.t.Helper()
	p := filepath.Join(h.dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// add makes an account whose password is its name and "-secret".
func (h *house) add(ids ...account.ID) {
	h.t.Helper()
	for _, id := range ids {
		h.wait()
		if err := h.Add(context.Background(), id, id.User()+"-secret", 0); err != nil {
			h.t.Fatal(err)
		}
	}
}

func (h *house) login(login, password string) (account.Account, error) {
	return h.Authenticate(context.Background(), login, password)
}

func TestLogin(t *testing.T) {
	h := newHouse(t, nil)
	h.add("ana@buzon.test", "niño@buzon.test", "luis@xn--bcher-kva.test")
	for _, test := range []struct {
		login, password string
		want            account.ID
	}{
		{"ana@buzon.test", "ana-secret", "ana@buzon.test"},
		{"Ana@BUZON.test", "ana-secret", "ana@buzon.test"},
		{"ana", "ana-secret", "ana@buzon.test"},
		{"niño@buzon.test", "niño-secret", "niño@buzon.test"},
		{"nin\u0303o@buzon.test", "nin\u0303o-secret", "niño@buzon.test"}, // decomposed, as macOS types it
		{"luis@bücher.test", "luis-secret", "luis@xn--bcher-kva.test"},
		{"luis@xn--bcher-kva.test", "luis-secret", "luis@xn--bcher-kva.test"},
		{"ana@buzon.test", "Ana-secret", ""},
		{"ana@buzon.test", "luis-secret", ""},
		{"ana@buzon.test", "", ""},
		{"ana@buzon.test", "ana-secret\x00", ""},
		{"ana@buzon.test", strings.Repeat("a", 1<<20), ""},
		{"ana+tag@buzon.test", "ana-secret", ""},
		{"luis", "luis-secret", ""},
		{"luis@buzon.test", "luis-secret", ""},
		{"ana@other.test", "ana-secret", ""},
		{"", "ana-secret", ""},
		{"@", "ana-secret", ""},
		{"ana@buzon.test\x00", "ana-secret", ""},
		{"../../ana@buzon.test", "ana-secret", ""},
	} {
		got, err := h.login(test.login, test.password)
		if got.ID != test.want || (test.want == "") != errors.Is(err, account.ErrBadCredentials) {
			t.Errorf("login %.30q with %.30q: %q, %v; want %q", test.login, test.password, got.ID, err, test.want)
		}
	}
	if text := h.log.text(); strings.Contains(text, "secret") {
		t.Errorf("the log holds a password:\n%s", text)
	}
}

// What ends a session must be seen: RFC-less, but every operator's promise.
func TestGeneration(t *testing.T) {
	ctx := context.Background()
	h := newHouse(t, nil)
	h.add("ana@buzon.test")
	a, err := h.login("ana", "ana-secret")
	if err != nil || a.Generation == 0 || a.Generation != h.Generation(a.ID) {
		t.Fatalf("%+v, %v", a, err)
	}
	same := func(what string) {
		t.Helper()
		if g := h.Generation(a.ID); g != a.Generation {
			t.Errorf("%s: generation %d became %d", what, a.Generation, g)
		}
	}
	changed := func(what string, zero bool) {
		t.Helper()
		g := h.Generation(a.ID)
		if g == a.Generation || (g == 0) != zero {
			t.Errorf("%s: generation %d became %d", what, a.Generation, g)
		}
		a.Generation = g
	}
	file := filepath.Join(h.dir, "accounts/buzon.test/ana.toml")
	text, _ := os.ReadFile(file)
	h.write("accounts/buzon.test/ana.toml", string(text)+"quota = \"1 GiB\"\n")
	h.wait()
	same("quota")
	if got, _ := h.Lookup(a.ID); got.Quota != 1<<30 {
		t.Errorf("quota %d", got.Quota)
	}
	if err := h.SetPassword(ctx, a.ID, "another-secret"); err != nil {
		t.Fatal(err)
	}
	changed("password", false)
	if _, err := h.login("ana", "ana-secret"); !errors.Is(err, account.ErrBadCredentials) {
		t.Errorf("the old password: %v", err)
	}
	if _, err := h.login("ana", "another-secret"); err != nil {
		t.Errorf("the new password: %v", err)
	}
	if err := h.SetDisabled(ctx, a.ID, true); err != nil {
		t.Fatal(err)
	}
	changed("disabled", true)
	if _, err := h.login("ana", "another-secret"); !errors.Is(err, account.ErrBadCredentials) {
		t.Errorf("disabled: %v", err)
	}
	if targets, err := h.Resolve(smtp.Address{Local: "ana", Domain: "buzon.test"}); err != nil {
		t.Errorf("mail for a disabled account: %v, %v", targets, err)
	}
	if err := h.SetDisabled(ctx, a.ID, false); err != nil {
		t.Fatal(err)
	}
	changed("enabled", false)
	if err := h.Configure([]account.Domain{{Name: "other.test"}}); err != nil {
		t.Fatal(err)
	}
	changed("domain taken away", true)
	if err := h.Configure(twoDomains); err != nil {
		t.Fatal(err)
	}
	before := a.Generation
	if err := h.Remove(ctx, a.ID); err != nil {
		t.Fatal(err)
	}
	if g := h.Generation(a.ID); g != 0 {
		t.Errorf("removed: %d", g)
	}
	h.add("ana@buzon.test")
	if g := h.Generation(a.ID); g == 0 || g == before {
		t.Errorf("made anew: %d", g)
	}
	// The comments that people wrote survive a change.
	h.write("accounts/buzon.test/ana.toml", "# my comment\npassword = \"\" # none\ndisabled = false\n")
	h.wait()
	if _, err := h.login("ana", "ana-secret"); !errors.Is(err, account.ErrBadCredentials) {
		t.Errorf("no password: %v", err)
	}
	if err := h.SetPassword(ctx, a.ID, "third-secret"); err != nil {
		t.Fatal(err)
	}
	text, _ = os.ReadFile(file)
	if s := string(text); !strings.HasPrefix(s, "# my comment\npassword = \"$argon2id$") || !strings.Contains(s, "\ndisabled = false\nscram = \"SCRAM-SHA-256$") {
		t.Errorf("the file is now:\n%s", s)
	}
}

func TestFilesChange(t *testing.T) {
	h := newHouse(t, nil)
	h.add("ana@buzon.test", "luis@buzon.test")
	ana, _ := os.ReadFile(filepath.Join(h.dir, "accounts/buzon.test/ana.toml"))

	h.write("accounts/buzon.test/ana.toml", "password = \"half")
	h.write("aliases/buzon.test.toml", "info = [\"ana\"]\n")
	h.wait()
	if _, err := h.login("ana", "ana-secret"); err != nil {
		t.Errorf("a broken file took the account away: %v", err)
	}
	if _, err := h.Resolve(smtp.Address{Local: "info", Domain: "buzon.test"}); err != nil {
		t.Errorf("a good file beside a broken one is not read: %v", err)
	}
	if text := h.log.text(); strings.Count(text, "ana.toml:1") != 1 {
		t.Errorf("the log does not name the file and line:\n%s", text)
	}
	h.wait()
	h.Generation("ana@buzon.test")
	if text := h.log.text(); strings.Count(text, "ana.toml:1") != 1 {
		t.Errorf("the log repeats itself:\n%s", text)
	}
	if err := h.Reload(); err == nil || !strings.Contains(err.Error(), "ana.toml:1") {
		t.Errorf("Reload: %v", err)
	}

	// At start there is nothing to go on with.
	if d, err := h.open(); err == nil || !strings.Contains(err.Error(), "ana.toml:1:") {
		t.Errorf("Open with a broken file: %v, %v", d, err)
	}

	h.write("accounts/buzon.test/ana.toml", string(ana))
	if err := h.Reload(); err != nil {
		t.Error(err)
	}
	h.write("accounts/buzon.test/eva.toml", string(ana))
	h.wait()
	if _, err := h.login("eva", "ana-secret"); err != nil {
		t.Errorf("a file that was copied there: %v", err)
	}
	if err := os.Remove(filepath.Join(h.dir, "accounts/buzon.test/eva.toml")); err != nil {
		t.Fatal(err)
	}
	h.wait()
	if _, err := h.login("eva", "ana-secret"); !errors.Is(err, account.ErrBadCredentials) {
		t.Errorf("a file that was taken away: %v", err)
	}
	for _, name := range []string{"accounts/buzon.test/Max.toml", "accounts/buzon.test/a b.toml"} {
		h.write(name, string(ana))
		if err := h.Reload(); err == nil || !strings.Contains(err.Error(), filepath.Base(name)) {
			t.Errorf("%s: %v", name, err)
		}
		os.Remove(filepath.Join(h.dir, name))
	}
	for _, name := range []string{"accounts/buzon.test/.hidden.toml", "accounts/buzon.test/ana.toml~", "accounts/readme", "aliases/other.test.toml"} {
		h.write(name, "not TOML")
	}
	if err := h.Reload(); err != nil {
		t.Errorf("files that are not ours: %v", err)
	}
}

func TestSeesChangeOnlyWhenDue(t *testing.T) {
	h := newHouse(t, nil)
	h.add("ana@buzon.test")
	h.wait()
	h.Generation("ana@buzon.test") // looks now
	os.Remove(filepath.Join(h.dir, "accounts/buzon.test/ana.toml"))
	if h.Generation("ana@buzon.test") == 0 {
		t.Error("the files are looked at for every question")
	}
}

func TestManage(t *testing.T) {
	ctx := context.Background()
	h := newHouse(t, nil)
	h.add("ana@buzon.test")
	for _, test := range []struct {
		what string
		err  error
		want string
	}{
		{"again", h.Add(ctx, "ana@buzon.test", "x", 0), "exists already"},
		{"foreign", h.Add(ctx, "ana@other.test", "x", 0), "not one of our domains"},
		{"empty password", h.Add(ctx, "eva@buzon.test", "", 0), "cannot be used"},
		{"long password", h.SetPassword(ctx, "ana@buzon.test", strings.Repeat("x", 1025)), "longer than 1024"},
		{"unknown", h.SetPassword(ctx, "eva@buzon.test", "x"), "not found"},
		{"remove unknown", h.Remove(ctx, "eva@buzon.test"), "not found"},
		{"alias over account", h.AddAlias(ctx, smtp.Address{Local: "ana", Domain: "buzon.test"}, []string{"luis"}), "does not exist"},
		{"outside", h.AddAlias(ctx, smtp.Address{Local: "x", Domain: "buzon.test"}, []string{"\"a b\"@far.test"}), "plain addresses"},
		{"no member", h.AddAlias(ctx, smtp.Address{Local: "x", Domain: "buzon.test"}, nil), "at least one member"},
		{"unknown alias", h.RemoveAlias(ctx, smtp.Address{Local: "x", Domain: "buzon.test"}, nil), "not found"},
	} {
		if test.err == nil || !strings.Contains(test.err.Error(), test.want) {
			t.Errorf("%s: %v; want %q", test.what, test.err, test.want)
		}
	}
	for _, bad := range []string{"a/b@buzon.test", "../x@buzon.test", `".."@buzon.test`, `"a b"@buzon.test`, "ana+x@buzon.test", "a@[127.0.0.1]", "a", "-a@buzon.test"} {
		if id, err := account.ParseID(bad); err == nil {
			t.Errorf("ParseID(%q) = %q", bad, id)
		}
	}
	if info, _ := os.Stat(filepath.Join(h.dir, "accounts/buzon.test/ana.toml")); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}
