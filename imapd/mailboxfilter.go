package imapd

import (
	"slices"
	"strings"

	"buzon/imapd/wire"
	"buzon/maildir"
)

// A mailboxFilter names a set of mailboxes, as NOTIFY (RFC 5465 6) and ESEARCH (RFC 7377 2.2) do.
type mailboxFilter struct {
	kind  string // SELECTED, SELECTED-DELAYED, INBOXES, PERSONAL, SUBSCRIBED, SUBTREE, SUBTREE-ONE, MAILBOXES
	names []string
}

// readMailboxFilter reads filter-mailboxes.
func readMailboxFilter(r *request) mailboxFilter {
	f := mailboxFilter{kind: r.Word()}
	switch f.kind {
	case "SELECTED", "SELECTED-DELAYED", "INBOXES", "PERSONAL", "SUBSCRIBED":
	case "SUBTREE", "SUBTREE-ONE", "MAILBOXES":
		if r.SP().Peek() == '(' {
			r.List(func() { f.names = append(f.names, r.Mailbox()) })
		} else {
			f.names = append(f.names, r.Mailbox())
		}
	default:
		r.Fail("no such set of mailboxes")
	}
	return f
}

// selected says whether the filter means the selected mailbox, whichever that is.
func (f mailboxFilter) selected() bool { return f.kind == "SELECTED" || f.kind == "SELECTED-DELAYED" }

// reachesOthers says whether the filter can take mailboxes of other accounts.
func (f mailboxFilter) reachesOthers() bool {
	switch f.kind {
	case "SUBSCRIBED":
		return true
	case "SUBTREE", "SUBTREE-ONE", "MAILBOXES":
		return slices.ContainsFunc(f.names, func(n string) bool { return n == othersName || strings.HasPrefix(n, othersPrefix) })
	}
	return false
}

// match says whether the filter takes a mailbox by its name.
func (f mailboxFilter) match(info maildir.Info) bool {
	switch f.kind {
	case "PERSONAL":
		return info.Name != othersName && !strings.HasPrefix(info.Name, othersPrefix)
	case "INBOXES": // where mail is delivered to: we know of one
		return info.Name == "INBOX"
	case "SUBSCRIBED":
		return info.Subscribed
	case "SUBTREE":
		return slices.ContainsFunc(f.names, func(n string) bool { return info.Name == n || strings.HasPrefix(info.Name, n+"/") })
	case "SUBTREE-ONE":
		return slices.ContainsFunc(f.names, func(n string) bool {
			below, ok := strings.CutPrefix(info.Name, n+"/")
			return info.Name == n || ok && !strings.Contains(below, "/")
		})
	case "MAILBOXES":
		return slices.Contains(f.names, wire.FoldInbox(info.Name))
	}
	return false
}
