package imapd

import (
	"strconv"

	"buzon/maildir"
)

// A statusItem is one thing that STATUS can tell.
type statusItem struct {
	name  string
	value func(s *session, p place, st maildir.Status) (string, error)
}

func number[N ~int | ~int64 | ~uint32 | ~uint64](n N) string {
	return strconv.FormatUint(uint64(n), 10)
}

// statusItems is all of RFC 9051 6.3.11, RFC 3501 (RECENT), RFC 7162 (HIGHESTMODSEQ), RFC 8438
// (SIZE), RFC 8474 (MAILBOXID), RFC 7889 (APPENDLIMIT), RFC 9208 (DELETED-STORAGE).
var statusItems = []statusItem{
	{"MESSAGES", func(_ *session, _ place, st maildir.Status) (string, error) { return number(st.Messages), nil }},
	{"RECENT", func(_ *session, _ place, st maildir.Status) (string, error) { return number(st.Recent), nil }},
	{"UIDNEXT", func(_ *session, _ place, st maildir.Status) (string, error) { return number(st.UIDNext), nil }},
	{"UIDVALIDITY", func(_ *session, _ place, st maildir.Status) (string, error) { return number(st.UIDValidity), nil }},
	{"UNSEEN", func(_ *session, _ place, st maildir.Status) (string, error) { return number(st.Unseen), nil }},
	{"DELETED", func(_ *session, _ place, st maildir.Status) (string, error) { return number(st.Deleted), nil }},
	{"SIZE", func(s *session, p place, _ maildir.Status) (string, error) {
		n, err := s.virtualSize(p)
		return number(n), err
	}},
	{"HIGHESTMODSEQ", func(_ *session, _ place, st maildir.Status) (string, error) { return number(st.HighestModSeq), nil }},
	{"MAILBOXID", func(_ *session, _ place, st maildir.Status) (string, error) { return "(" + st.MailboxID + ")", nil }},
	{"APPENDLIMIT", func(s *session, _ place, _ maildir.Status) (string, error) {
		return number(s.srv.cfg.MessageSize), nil
	}},
	{"DELETED-STORAGE", func(s *session, p place, _ maildir.Status) (string, error) {
		n, err := s.deletedStorage(p)
		return number(n), err
	}},
}

// status is STATUS (RFC 9051 6.3.11).
func (s *session) status(r *request) error {
	name := r.SP().Mailbox()
	r.SP()
	items := s.readStatusItems(r)
	if err := r.End(); err != nil {
		return err
	}
	p, _, err := s.permitted(name, r.needs.mailbox)
	if err != nil {
		return err
	}
	return s.writeStatus(p, items)
}

func (s *session) readStatusItems(r *request) []statusItem {
	var items []statusItem
	r.List(func() {
		name := r.Word()
		if name == "HIGHESTMODSEQ" {
			s.enableCondstore() // RFC 7162 3.1
		}
		for _, item := range statusItems {
			if item.name == name {
				items = append(items, item)
				return
			}
		}
		r.Fail("no such status item")
	})
	if len(items) == 0 {
		r.Fail("expected status items")
	}
	return items
}

func (s *session) writeStatus(p place, items []statusItem) error {
	st, err := p.user.Status(s.ctx, p.name)
	if err != nil {
		return err
	}
	values := make([]string, len(items))
	for i, item := range items {
		if values[i], err = item.value(s, p, st); err != nil {
			return err
		}
	}
	s.enc.Raw("* STATUS ").Mailbox(p.shown).Raw(" (")
	for i, item := range items {
		if i > 0 {
			s.enc.SP()
		}
		s.enc.Raw(item.name).SP().Raw(values[i])
	}
	s.enc.Raw(")\r\n")
	return nil
}

// virtualSize is at least the sum of all RFC822.SIZE (RFC 8438 2).
func (s *session) virtualSize(p place) (int64, error) {
	box, err := p.user.Open(s.ctx, p.name)
	if err != nil {
		return 0, err
	}
	defer box.Close()
	return box.State().VirtualSize(), nil
}
