package e2e_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestSieveConnect has a client manage filters, and mail go where they say.
func TestSieveConnect(t *testing.T) {
	t.Parallel()
	need(t, "sieve-connect", "bash", "swaks")
	h := start(t, hostConfig{Domains: []string{"a.test"}, Accounts: []string{"ana@a.test", "luis@a.test"}})
	dir := t.TempDir()
	script := func(name, text string) string {
		file := filepath.Join(dir, name+".sieve")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	secret := script("password", password+"\n")
	// The certificate is verified.
	manage := func(args ...string) (string, int) {
		t.Helper()
		args = append([]string{"-c", `exec sieve-connect "$@" --passwordfd 3 3<` + secret, "sieve-connect",
			"--server", h.IP, "--port", strconv.Itoa(h.Ports["managesieve"]), "--tlscafile", h.ca, "--tlshostname", h.Hostname,
			"--user", "ana@a.test"}, args...)
		return run(t, nil, "bash", args...)
	}
	done := func(args ...string) string {
		t.Helper()
		out, code := manage(args...)
		if code != 0 {
			t.Fatalf("%q: exit code %d\n%s", args, code, out)
		}
		return out
	}

	done("--upload", "--localsieve", script("mine", `require ["fileinto", "mailbox", "imap4flags", "vacation", "ereject"];
if header :contains "subject" "offer" { ereject "No offers."; stop; }
if header :contains "subject" "list" { fileinto :create :flags "\\Seen" "Lists"; }
vacation "I am away.";
`), "--remotesieve", "mine")
	if out, code := manage("--upload", "--localsieve", script("bad", "keep;\nfrobnicate;\n"), "--remotesieve", "bad"); code == 0 || !strings.Contains(out, "line 2") {
		t.Errorf("a bad script: exit code %d\n%s", code, out)
	}
	done("--activate", "--remotesieve", "mine")
	wantAll(t, "list", done("--list"), `"mine" ACTIVE`)

	h.deliver(t, "ana@a.test", "for the list")
	if lists, err := filepath.Glob(filepath.Join(h.data(), "mail/a.test/ana/Maildir/.Lists/cur/*:2,S")); err != nil || len(lists) != 1 {
		t.Errorf("in Lists: %q %v", lists, err)
	}
	out, code := run(t, nil, "swaks", "--server", h.IP, "--port", strconv.Itoa(h.Ports["smtp"]), "--from", "x@b.test", "--to", "ana@a.test", "--header", "Subject: an offer")
	if code == 0 || !strings.Contains(out, "550 5.7.1 No offers.") {
		t.Errorf("an offer: exit code %d\n%s", code, out)
	}

	// Among ourselves: one answer, and only one.
	for range 2 {
		h.submit(t, "luis@a.test", "ana@a.test", "are you there?")
	}
	if notice := h.message(t, "luis@a.test", "Auto: are you there?"); !strings.Contains(notice, "I am away.") {
		t.Errorf("the notice is\n%s", notice)
	}
	if all := h.messages(t, "luis@a.test", "I am away."); len(all) != 1 {
		t.Errorf("%d notices", len(all))
	}
	done("--deactivate")
	done("--delete", "--remotesieve", "mine")
	if out := done("--list"); strings.Contains(out, "mine") {
		t.Errorf("after --delete: %s", out)
	}
}
