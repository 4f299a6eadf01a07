package account_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"buzon/internal/account"
)

func TestAppPasswords(t *testing.T) {
	h := newHouse(t, nil)
	h.add("ana@buzon.test", "luis@buzon.test")
	ctx, id := t.Context(), account.ID("ana@buzon.test")
	before := h.Generation(id)
	passwords := map[string]string{}
	for _, name := range []string{"phone", "laptop.mutt"} {
		password, err := h.AddAppPassword(ctx, id, name)
		if err != nil {
			t.Fatal(err)
		}
		passwords[name] = password
	}
	if h.Generation(id) != before {
		t.Error("another password ended the sessions")
	}
	for name, password := range passwords {
		a, err := h.login("ana", password)
		if err != nil || a.ID != id || a.Device != name {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
		if _, err := h.login("luis", password); !errors.Is(err, account.ErrBadCredentials) {
			t.Errorf("%s opens another account: %v", name, err)
		}
		h.Used(a, "imap 192.0.2.1")
	}
	if a, err := h.login("ana", "ana-secret"); err != nil || a.Device != "" {
		t.Errorf("own password: %+v, %v", a, err)
	}
	text, err := os.ReadFile(filepath.Join(h.dir, "accounts/buzon.test/ana.toml"))
	if err != nil || strings.Contains(string(text), passwords["phone"]) || strings.Count(string(text), "sha256:") != 2 {
		t.Errorf("the file: %v\n%s", err, text)
	}
	list, err := h.AppPasswords(id)
	if err != nil || len(list) != 2 || list[0].Name != "phone" || list[0].UsedBy != "imap 192.0.2.1" || h.clock().Sub(list[0].Used) > time.Minute {
		t.Errorf("list: %+v, %v", list, err)
	}

	for _, test := range []struct {
		name string
		err  error
	}{{"phone", account.ErrExists}, {"", nil}, {"two words", nil}, {strings.Repeat("x", 41), nil}} {
		if _, err := h.AddAppPassword(ctx, id, test.name); err == nil || test.err != nil && !errors.Is(err, test.err) {
			t.Errorf("add %q: %v", test.name, err)
		}
	}
	if err := h.RemoveAppPassword(ctx, id, "tablet"); !errors.Is(err, account.ErrNotFound) {
		t.Errorf("remove what is not there: %v", err)
	}
	if err := h.RemoveAppPassword(ctx, id, "phone"); err != nil {
		t.Fatal(err)
	}
	if h.Generation(id) == before {
		t.Error("taking a password back does not end the sessions")
	}
	if _, err := h.login("ana", passwords["phone"]); !errors.Is(err, account.ErrBadCredentials) {
		t.Errorf("a password that was taken back: %v", err)
	}
	if _, err := h.login("ana", passwords["laptop.mutt"]); err != nil {
		t.Error(err)
	}
	// A disabled account has no way in.
	if err := h.SetDisabled(ctx, id, true); err != nil {
		t.Fatal(err)
	}
	if _, err := h.login("ana", passwords["laptop.mutt"]); !errors.Is(err, account.ErrBadCredentials) {
		t.Errorf("disabled: %v", err)
	}
}

// An account from before there were SCRAM keys gets one with its first login,
// which ends no session and is not written again.
func TestSCRAMKeyIsAdopted(t *testing.T) {
	h := newHouse(t, nil)
	h.add("ana@buzon.test")
	file := filepath.Join(h.dir, "accounts/buzon.test/ana.toml")
	read := func() string {
		t.Helper()
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	before, after, _ := strings.Cut(read(), "scram = ")
	_, after, _ = strings.Cut(after, "\n")
	h.write("accounts/buzon.test/ana.toml", before+after)
	h.wait()
	generation := h.Generation("ana@buzon.test")
	if _, err := h.login("ana", "wrong"); err == nil || strings.Contains(read(), "scram") {
		t.Fatalf("a wrong password: %v\n%s", err, read())
	}
	if _, err := h.login("ana", "ana-secret"); err != nil || !strings.Contains(read(), "scram = \"SCRAM-SHA-256$4096:") {
		t.Fatalf("%v\n%s", err, read())
	}
	if h.Generation("ana@buzon.test") != generation {
		t.Error("the sessions were ended")
	}
	if keys := h.SCRAM("ana"); len(keys) != 1 {
		t.Errorf("%d keys", len(keys))
	} else if _, err := h.Proved("ana", keys[0]); err != nil {
		t.Error(err)
	}
}

func TestBadCredentialsInAFileAreNamed(t *testing.T) {
	for text, want := range map[string]string{
		`scram = "SCRAM-SHA-1$4096:c2FsdHNhbHQ=$AA==:AA=="`: "scram: this is not a key like",
		`scram = "nonsense"`:                                       "scram: this is not a key like",
		`app_passwords = ["phone"]`:                                `app_passwords: "phone" is not an app password`,
		`app_passwords = ["phone 2026-01-01T00:00:00Z sha256:00"]`: "app_passwords: app password phone: the third word must be",
		`app_passwords = ["phone yesterday sha256:00"]`:            `"yesterday" is not a time`,
		`app_passwords = ["a/b 2026-01-01T00:00:00Z sha256:00"]`:   "is not an app password",
	} {
		h := newHouse(t, nil)
		h.write("accounts/buzon.test/ana.toml", text+"\n")
		if d, err := h.open(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
			if err == nil {
				d.Close()
			}
		}
	}
}
