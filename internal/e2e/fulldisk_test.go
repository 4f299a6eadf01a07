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
	h.account(t, "ana@a.test")
	h.start(t)
	t.Cleanup(func() { h.stop(t) })
	h.deliver(t, "ana@a.test", "before")
	h.deliver(t, "ana@a.test", "before it too")
	// Her mail program has seen both: they have their UIDs.
	all := ledger.Mailbox{Addr: h.Addr("imaps"), TLS: h.tls(t), User: "ana@a.test", Password: password, Name: "INBOX"}
	if _, uids, err := all.UIDs(t.Context()); err != nil || len(uids) != 2 {
		t.Fatalf("before the disk is full: %v, %v", uids, err)
	}
	ballast := filepath.Join(h.data(), "ballast")
	fill(t, ballast)

	client, err := smtp.Dial(h.Addr("smtp"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	text := "Subject: while full\r\n\r\n" + strings.Repeat(strings.Repeat("x", 998)+"\r\n", 100)
	err = client.SendMail("eva@far.test", []string{"ana@a.test"}, strings.NewReader(text))
	var reply *smtp.SMTPError
	if !errors.As(err, &reply) || reply.Code/100 != 4 {
		t.Errorf("deliver on a full disk: %v, want 452", err)
	}

	reader, err := imapclient.DialTLS(h.Addr("imaps"), &imapclient.Options{TLSConfig: h.tls(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := reader.Login("ana@a.test", password).Wait(); err != nil {
		t.Fatalf("login on a full disk: %v", err)
	}
	selected, err := reader.Select("INBOX", nil).Wait()
	if err != nil || selected.NumMessages != 2 {
		t.Fatalf("select on a full disk: %v, %+v", err, selected)
	}
	add := reader.Append("INBOX", int64(len(text)), nil)
	add.Write([]byte(text))
	add.Close()
	if _, err := add.Wait(); err == nil {
		t.Error("APPEND on a full disk was answered with OK")
	}
	change := &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}}
	if err := reader.Store(imap.SeqSetNum(1), change, nil).Close(); err != nil {
		t.Errorf("STORE on a full disk: %v", err)
	}
	if err := reader.Expunge().Close(); err != nil {
		t.Errorf("EXPUNGE on a full disk: %v", err)
	}
	if files := h.files(t, "ana@a.test"); len(files) != 1 {
		t.Errorf("%d files after the EXPUNGE, want 1: %v", len(files), files)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	h.deliver(t, "ana@a.test", "after")
	h.message(t, "ana@a.test", "after")
	h.message(t, "ana@a.test", "before it too")
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
