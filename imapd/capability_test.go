package imapd_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"buzon/imapd"
	"buzon/internal/account"
)

// What an account's file hides is shown in no place, and to nobody else is it hidden (RFC 9051 6.1.1).
func TestHiddenCapabilities(t *testing.T) {
	dir := t.TempDir()
	d, err := account.Open(account.Config{Dir: dir, Domains: []account.Domain{{Name: "buzon.test"}}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, id := range []account.ID{ana, luis} {
		if err := d.Add(t.Context(), id, password, 0); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "accounts", "buzon.test", "ana.toml")
	text, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, append([]byte("hide_capabilities = [\"idle\", \"APPENDLIMIT\", \"THREAD=REFS\", \"Context\"]\n"), text...), 0o600)
	}
	if err == nil {
		err = d.Reload()
	}
	if err != nil {
		t.Fatal(err)
	}
	h := newHost(t, func(cfg *imapd.Config) { cfg.Directory = d })
	for user, hidden := range map[string]bool{ana: true, luis: false} {
		c := h.ask(t, user)
		for _, got := range []string{c.welcome, c.do("CAPABILITY")} {
			words := strings.FieldsFunc(got, func(r rune) bool { return strings.ContainsRune(" []\r\n", r) })
			shown := func(name string) bool {
				return slices.ContainsFunc(words, func(w string) bool { return w == name || strings.HasPrefix(w, name+"=") })
			}
			for _, name := range []string{"IDLE", "APPENDLIMIT", "THREAD=REFS", "CONTEXT"} {
				if shown(name) == hidden {
					t.Errorf("%s: %s in %s", user, name, got)
				}
			}
			for _, name := range []string{"THREAD=REFERENCES", "NOTIFY", "IMAP4rev2"} {
				if !shown(name) {
					t.Errorf("%s: no %s in %s", user, name, got)
				}
			}
		}
	}
}
