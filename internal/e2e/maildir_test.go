package e2e_test

import (
	"slices"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-maildir"
)

// TestMaildir reads what was delivered and flagged with go-maildir, which knows
// nothing of us.
func TestMaildir(t *testing.T) {
	t.Parallel()
	h := start(t, hostConfig{Domains: []string{"a.test"}, Accounts: []string{"ana@a.test"}})
	subjects := []string{"one", "two", "three", "four"}
	for _, subject := range subjects {
		h.deliver(t, "ana@a.test", subject)
	}
	if n, err := maildir.Dir(h.maildir("ana@a.test")).UnseenCount(); n != len(subjects) || err != nil {
		t.Errorf("go-maildir counts %d new messages, %v", n, err)
	}

	client, err := imapclient.DialTLS(h.Addr("imaps"), &imapclient.Options{TLSConfig: h.tls(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Login("ana@a.test", password).Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	for i, flags := range [][]imap.Flag{
		nil, {imap.FlagSeen}, {imap.FlagAnswered, imap.FlagFlagged}, {imap.FlagDraft, imap.FlagDeleted, "$Forwarded"},
	} {
		change := &imap.StoreFlags{Op: imap.StoreFlagsSet, Flags: flags}
		if err := client.Store(imap.SeqSetNum(uint32(i+1)), change, nil).Close(); err != nil {
			t.Fatal(err)
		}
	}

	var walked []string
	err = maildir.Dir(h.maildir("ana@a.test")).Walk(func(m *maildir.Message) error {
		flags := m.Flags()
		slices.Sort(flags)
		walked = append(walked, string(flags))
		return nil
	})
	slices.Sort(walked)
	if want := []string{"", "DPT", "FR", "S"}; err != nil || !slices.Equal(walked, want) {
		t.Errorf("go-maildir finds messages with the flags %q, want %q (%v)", walked, want, err)
	}
}
