package imapd

import (
	"strconv"

	"buzon/maildir"
)

// A statusItem is one thing that STATUS can tell.
type statusItem struct {
	name  string
	value func(*session, maildir.Status) string
}

func number[N ~int | ~int64 | ~uint32 | ~uint64](n N) string {
	return strconv.FormatUint(uint64(n), 10)
}

// statusItems is all of RFC 9051 6.3.11, RFC 3501 (RECENT), RFC 7162 (HIGHESTMODSEQ), RFC 8438 (SIZE), RFC 8474 (MAILBOXID), RFC 7889 (APPENDLIMIT).
var statusItems = []statusItem{
	{"MESSAGES", func(_ *session, st maildir.Status) string { return number(st.Messages) }},
	{"RECENT", func(_ *session, st maildir.Status) string { return number(st.Recent) }},
	{"UIDNEXT", func(_ *session, st maildir.Status) string { return number(st.UIDNext) }},
	{"UIDVALIDITY", func(_ *session, st maildir.Status) string { return number(st.UIDValidity) }},
	{"UNSEEN", func(_ *session, st maildir.Status) string { return number(st.Unseen) }},
	{"DELETED", func(_ *session, st maildir.Status) string { return number(st.Deleted) }},
	{"SIZE", func(_ *session, st maildir.Status) string { return number(st.Size) }},
	{"HIGHESTMODSEQ", func(_ *session, st maildir.Status) string { return number(st.HighestModSeq) }},
	{"MAILBOXID", func(_ *session, st maildir.Status) string { return "(" + st.MailboxID + ")" }},
	{"APPENDLIMIT", func(s *session, _ maildir.Status) string { return number(s.srv.cfg.MessageSize) }},
}

// status is STATUS (RFC 9051 6.3.11).
func (s *session) status(r *request) error {
	name := r.SP().Mailbox()
	r.SP()
	items := s.readStatusItems(r)
	if err := r.End(); err != nil {
		return err
	}
	return s.writeStatus(name, items)
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

func (s *session) writeStatus(name string, items []statusItem) error {
	st, err := s.user.Status(s.ctx, name)
	if err != nil {
		return err
	}
	s.enc.Raw("* STATUS ").Mailbox(name).Raw(" (")
	for i, item := range items {
		if i > 0 {
			s.enc.SP()
		}
		s.enc.Raw(item.name).SP().Raw(item.value(s, st))
	}
	s.enc.Raw(")\r\n")
	return nil
}
