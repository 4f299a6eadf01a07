package imapd_test

import (
	"crypto/tls"
	"slices"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// TestClient drives the server by somebody else's client, under TLS: whatever it cannot parse,
// others could not either.
func TestClient(t *testing.T) {
	h := newHost(t, nil)
	exists := make(chan uint32, 10)
	c, err := imapclient.DialStartTLS(h.addr, &imapclient.Options{
		TLSConfig: &tls.Config{InsecureSkipVerify: true},
		UnilateralDataHandler: &imapclient.UnilateralDataHandler{Mailbox: func(data *imapclient.UnilateralDataMailbox) {
			if data.NumMessages != nil {
				exists <- *data.NumMessages
			}
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ok := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	ok("login", c.Login(ana, password).Wait())
	_, err = c.ID(&imap.IDData{Name: "test"}).Wait()
	ok("id", err)
	ns, err := c.Namespace().Wait()
	if ok("namespace", err); len(ns.Personal) != 1 || ns.Personal[0].Delim != '/' {
		t.Errorf("namespace %+v", ns)
	}
	ok("create", c.Create("Entwürfe/2026", nil).Wait())
	boxes, err := c.List("", "*", &imap.ListOptions{ReturnSubscribed: true, ReturnStatus: &imap.StatusOptions{NumMessages: true}}).Collect()
	ok("list", err)
	if !slices.ContainsFunc(boxes, func(d *imap.ListData) bool { return d.Mailbox == "Entwürfe/2026" && *d.Status.NumMessages == 0 }) {
		t.Errorf("list %+v", boxes)
	}
	for _, name := range []string{"mixed", "nested", "encoded"} {
		content := mailFile(t, name)
		a := c.Append("INBOX", int64(len(content)), &imap.AppendOptions{Flags: []imap.Flag{imap.FlagFlagged, "tag"}, Time: time.Unix(1767323045, 0)})
		_, err := a.Write(content)
		ok("append", err)
		ok("append", a.Close())
		data, err := a.Wait()
		if ok("append", err); data.UIDValidity == 0 || data.UID == 0 {
			t.Errorf("append %+v", data)
		}
	}
	sel, err := c.Select("INBOX", &imap.SelectOptions{CondStore: true}).Wait()
	if ok("select", err); sel.NumMessages != 3 || sel.UIDNext != 4 || sel.HighestModSeq == 0 {
		t.Errorf("select %+v", sel)
	}
	testClientFetch(t, c)
	found, err := c.UIDSearch(&imap.SearchCriteria{Flag: []imap.Flag{"tag"}, Body: []string{"gesperrt"}}, nil).Wait()
	if ok("search", err); !slices.Equal(found.AllUIDs(), []imap.UID{3}) {
		t.Errorf("search %v", found.AllUIDs())
	}
	sorted, err := c.Sort(&imapclient.SortOptions{SearchCriteria: &imap.SearchCriteria{}, SortCriteria: []imapclient.SortCriterion{{Key: imapclient.SortKeyDate, Reverse: true}}}).Wait()
	if ok("sort", err); !slices.Equal(sorted, []uint32{2, 1, 3}) {
		t.Errorf("sort %v", sorted)
	}
	copied, err := c.Copy(imap.SeqSetNum(1, 2), "Archive").Wait()
	if ok("copy", err); copied.UIDValidity == 0 {
		t.Errorf("copy %+v", copied)
	}
	_, err = c.Move(imap.UIDSetNum(3), "Trash").Wait()
	ok("move", err)
	ok("store", c.Store(imap.SeqSetNum(1), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close())
	gone, err := c.Expunge().Collect()
	if ok("expunge", err); !slices.Equal(gone, []uint32{1}) {
		t.Errorf("expunged %v", gone)
	}
	st, err := c.Status("INBOX", &imap.StatusOptions{NumMessages: true, UIDNext: true, Size: true, HighestModSeq: true}).Wait()
	if ok("status", err); *st.NumMessages != 1 {
		t.Errorf("status %+v", st)
	}
	idle, err := c.Idle()
	ok("idle", err)
	for len(exists) > 0 {
		<-exists
	}
	h.deliver(t, "simple", "INBOX")
	select {
	case n := <-exists:
		if n != 2 {
			t.Errorf("EXISTS %d", n)
		}
	case <-time.After(2 * time.Minute):
		t.Error("IDLE does not tell of a delivery")
	}
	ok("idle", idle.Close())
	ok("idle", idle.Wait())
	ok("logout", c.Logout().Wait())
}

func testClientFetch(t *testing.T, c *imapclient.Client) {
	t.Helper()
	header := &imap.FetchItemBodySection{Specifier: imap.PartSpecifierHeader, HeaderFields: []string{"Subject"}, Peek: true}
	part := &imap.FetchItemBodySection{Part: []int{2, 1}, Peek: true}
	binary := &imap.FetchItemBinarySection{Part: []int{2}, Peek: true}
	messages, err := c.Fetch(imap.SeqSet{imap.SeqRange{Start: 1, Stop: 0}}, &imap.FetchOptions{
		Envelope: true, BodyStructure: &imap.FetchItemBodyStructure{Extended: true}, Flags: true, InternalDate: true, RFC822Size: true, UID: true, ModSeq: true,
		BodySection: []*imap.FetchItemBodySection{header, part},
	}).Collect()
	if err != nil || len(messages) != 3 {
		t.Fatalf("fetch: %d messages, %v", len(messages), err)
	}
	m := messages[1]
	if m.Envelope.Subject != "Fwd: inner news" || m.Envelope.From[0].Addr() != "fwd@example.org" || m.UID != 2 || m.InternalDate.Unix() != 1767323045 || m.ModSeq == 0 {
		t.Errorf("fetched %+v", m)
	}
	if got := string(m.FindBodySection(part)); got != "inner plain" {
		t.Errorf("BODY[2.1] = %q", got)
	}
	multi, ok := m.BodyStructure.(*imap.BodyStructureMultiPart)
	if !ok || len(multi.Children) != 2 || multi.Children[1].(*imap.BodyStructureSinglePart).MessageRFC822.Envelope.Subject != "inner news" {
		t.Errorf("structure %+v", m.BodyStructure)
	}
	if messages[2].Envelope.Subject != "Grüße aus Zürich" {
		t.Errorf("decoded subject %q", messages[2].Envelope.Subject)
	}
	one, err := c.Fetch(imap.UIDSetNum(1), &imap.FetchOptions{BinarySection: []*imap.FetchItemBinarySection{binary}}).Collect()
	if err != nil || len(one) != 1 || string(one[0].FindBinarySection(binary)) != "\x00\x01\x02\x03\x04\x05\x06\x07" {
		t.Errorf("BINARY[2]: %v, %v", one, err)
	}
}
