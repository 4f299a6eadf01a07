package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestCurl reads and writes mail with a client that verifies the certificate.
func TestCurl(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	h := start(t, hostConfig{Domains: []string{"a.test"}, Accounts: []string{"ana@a.test", "luis@a.test"}})
	curl := func(service, path string, args ...string) string {
		t.Helper()
		scheme := map[string]string{"imap": "imap", "imaps": "imaps", "submission": "smtp", "submissions": "smtps"}[service]
		args = append([]string{
			"--silent", "--show-error", "--cacert", h.ca, "--ssl-reqd", "--user", "ana@a.test:" + password,
			"--resolve", fmt.Sprintf("%s:%d:%s", h.Hostname, h.Ports[service], h.IP),
			fmt.Sprintf("%s://%s:%d/%s", scheme, h.Hostname, h.Ports[service], path),
		}, args...)
		out, code := run(t, nil, "curl", args...)
		if code != 0 {
			t.Fatalf("curl %s: exit code %d\n%s", path, code, out)
		}
		return out
	}
	text := func(subject string) string {
		name := filepath.Join(t.TempDir(), "message")
		content := "From: <ana@a.test>\r\nTo: <luis@a.test>\r\nSubject: " + subject + "\r\n\r\nhola\r\n"
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}

	for _, service := range []string{"submission", "submissions"} {
		curl(service, "client.test", "--mail-from", "ana@a.test", "--mail-rcpt", "luis@a.test", "--upload-file", text("curl "+service))
		h.message(t, "luis@a.test", "curl "+service)
	}

	h.deliver(t, "ana@a.test", "for curl")
	for _, service := range []string{"imap", "imaps"} {
		wantAll(t, "list", curl(service, ""), "INBOX", "Trash")
		wantAll(t, "search", curl(service, "INBOX?SUBJECT%20curl"), "* SEARCH 1")
		wantAll(t, "fetch", curl(service, "INBOX;MAILINDEX=1"), "Subject: for curl\r\n", "\r\n\r\nhola\r\n")
		wantAll(t, "fetch of a section", curl(service, "INBOX;UID=1;SECTION=TEXT"), "hola")
		wantAll(t, "store", curl(service, "INBOX", "--request", `STORE 1 +FLAGS (\Flagged)`), `\Flagged`)
		curl(service, "Drafts", "--upload-file", text("appended over "+service))
		wantAll(t, "search in Drafts", curl(service, "Drafts?SUBJECT%20%22over%20"+service+"%22"), "* SEARCH ")
	}
}
