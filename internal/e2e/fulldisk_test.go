package e2e_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"buzon/internal/e2e/ledger"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-smtp"
)

// TestFullDisk fills the disk below a running host. It must say so, keep what
// it has, let its users make room, and go on when there is room again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	h := newHost(t, hostConfig{Domains: []string{"a.test"}})
	if err := os.MkdirAll(h.data(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", h.data(), "tmpfs", 0, "size=300m,mode=0700"); err != nil {
		t.Skipf("mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(h.data(), 0); err != nil {
			t.Error(err)
		}
	})
	const never, before = "ana@a.test", "luis@a.test" // looked into their INBOX
	for _, account := range []string{never, before} {
		h.account(t, account)
	}
	h.start(t)
	t.Cleanup(func() { h.stop(t) })
	for _, account := range []string{never, before} {
		h.deliver(t, account, "before")
		h.deliver(t, account, "before it too")
	}
	all := ledger.Mailbox{Addr: h.Addr("imaps"), TLS: h.tls(t), User: before, Password: password, Name: "INBOX"}
	if _, uids, err := all.UIDs(t.Context()); err != nil || len(uids) != 2 {
		t.Fatalf("before the disk is full: %v, %v", uids, err)
	}
	ballast := filepath.Join(h.data(), "ballast")
	fill(t, ballast)
	for _, account := range []string{never, before} {
		refused(t, h, account)
	}
	for _, account := range []string{never, before} {
		makeRoom(t, h, account)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for _, account := range []string{never, before} {
		h.deliver(t, account, "after")
		h.message(t, account, "after")
		h.message(t, account, "before it too")
	}
}

// longText does not fit on a full disk.
var longText = "Subject: while full\r\n\r\n" + strings.Repeat(strings.Repeat("x", 998)+"\r\n", 100)

// refused delivers to a user on a full disk.
func refused(t *testing.T, h *host, account string) {
	t.Helper()
	client, err := smtp.Dial(h.Addr("smtp"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	err = client.SendMail("eva@far.test", []string{account}, strings.NewReader(longText))
	var reply *smtp.SMTPError
	if !errors.As(err, &reply) || reply.Code/100 != 4 {
		t.Errorf("deliver to %s on a full disk: %v, want 452", account, err)
	}
}

// makeRoom has a user read and delete on a full disk.
func makeRoom(t *testing.T, h *host, account string) {
	t.Helper()
	reader, err := imapclient.DialTLS(h.Addr("imaps"), &imapclient.Options{TLSConfig: h.tls(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := reader.Login(account, password).Wait(); err != nil {
		t.Fatalf("login of %s on a full disk: %v", account, err)
	}
	selected, err := reader.Select("INBOX", nil).Wait()
	if err != nil || selected.NumMessages != 2 {
		t.Fatalf("select of %s on a full disk: %v, %+v", account, err, selected)
	}
	add := reader.Append("INBOX", int64(len(longText)), nil)
	add.Write([]byte(longText))
	add.Close()
	if _, err := add.Wait(); err == nil {
		t.Errorf("APPEND of %s on a full disk was answered with OK", account)
	}
	change := &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}}
	if err := reader.Store(imap.SeqSetNum(1), change, nil).Close(); err != nil {
		t.Errorf("STORE of %s on a full disk: %v", account, err)
	}
	if err := reader.Expunge().Close(); err != nil {
		t.Errorf("EXPUNGE of %s on a full disk: %v", account, err)
	}
	if files := h.files(t, account); len(files) != 1 {
		t.Errorf("%s has %d files after the EXPUNGE, want 1: %v", account, len(files), files)
	}
}

// fill writes to a file until the disk is full.
func fill(t *testing.T, name string) {
	t.Helper()
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	chunk := make([]byte, 1<<20)
	for len(chunk) > 0 {
		if _, err := file.Write(chunk); errors.Is(err, syscall.ENOSPC) {
			chunk = chunk[:len(chunk)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
