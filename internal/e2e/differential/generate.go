package differential

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// What follows makes commands: any that is valid in the session's state, as far as the client can know.

func (r *run) one(of ...string) string { return of[r.random.IntN(len(of))] }

func (r *run) chance(of int) bool { return r.random.IntN(of) == 0 }

// opening are a session's first commands.
func (r *run) opening() []string {
	var all []string
	if r.condstore { // Dovecot keeps mod-sequences from then on
		all = append(all, r.one("ENABLE CONDSTORE", "ENABLE QRESYNC"))
	}
	return append(all, r.one("SELECT INBOX", "SELECT INBOX", "SELECT INBOX", "EXAMINE INBOX", "SELECT Work"), "FETCH 1:* (UID FLAGS)")
}

// next are the next commands of a session. A client that works with sequence numbers mostly asks for news first.
func (r *run) next(s *session) []string {
	if s.selected == "" || r.chance(12) {
		return r.openAnother(s)
	}
	if r.chance(5) {
		return []string{r.mailboxCommand()}
	}
	if len(s.uids) == 0 {
		return []string{r.appendCommand(s.selected), "NOOP"}
	}
	if s.condstore && r.chance(8) {
		return []string{"NOOP", "STATUS " + quote(s.selected) + " (HIGHESTMODSEQ)"}
	}
	var all []string
	if len(r.sessions) > 1 && !r.chance(6) {
		all = append(all, "NOOP")
	}
	if slices.Contains(s.uids, 0) {
		all = append(all, "UID FETCH 1:* (FLAGS)")
	}
	switch n := r.random.IntN(100); {
	case n < 32:
		fetch := r.fetch(s)
		if strings.Contains(fetch, "CHANGEDSINCE") { // Dovecot compares with what it has told, we with what is
			all = append(all, "NOOP")
		}
		all = append(all, fetch)
	case n < 50:
		all = append(all, r.store(s))
	// Dovecot searches what is, we what the client was told.
	case n < 68:
		all = append(all, "NOOP", r.search(s))
	case n < 73:
		all = append(all, "NOOP", r.sortCommand(s))
	case n < 77:
		all = append(all, "NOOP", r.thread())
	case n < 82:
		all = append(all, fmt.Sprintf("%sCOPY %s", "", r.set(s, false)+" "+r.mailbox()))
	case n < 84:
		all = append(all, "UID COPY "+r.set(s, true)+" "+r.mailbox())
	case n < 86:
		all = append(all, r.one("", "UID ")+"MOVE", "")
		uid := strings.HasPrefix(all[len(all)-2], "UID")
		all = append(all[:len(all)-2], all[len(all)-2]+" "+r.set(s, uid)+" "+r.mailbox())
	case n < 89:
		all = append(all, "NOOP", r.one("EXPUNGE", "UID EXPUNGE "+r.set(s, true)))
	case n < 93:
		all = append(all, r.appendCommand(s.selected))
	default:
		all = append(all, r.one("NOOP", "CHECK", "IDLE"))
	}
	if s.readOnly { // what it forbids is answered differently, as docs/protocols.md says
		all = slices.DeleteFunc(all, func(c string) bool {
			return strings.Contains(c, "STORE") || strings.Contains(c, "EXPUNGE") || strings.Contains(c, "MOVE")
		})
	}
	return all
}

func (r *run) openAnother(s *session) []string {
	var all []string
	if s.selected != "" {
		switch r.random.IntN(5) {
		case 0:
			all = append(all, "NOOP", "CLOSE") // Dovecot expunges what the client knows
		case 1:
			all = append(all, "UNSELECT")
		}
	}
	how := r.one("SELECT ", "SELECT ", "SELECT ", "EXAMINE ") + r.mailbox()
	if s.condstore && r.chance(3) {
		how += " (CONDSTORE)"
	}
	return append(all, how, "FETCH 1:* (UID FLAGS)")
}

func (r *run) mailbox() string {
	name := r.names[r.random.IntN(len(r.names))]
	if strings.ContainsAny(name, " ") {
		return `"` + name + `"`
	}
	return name
}

// mailboxCommand is about mailboxes.
func (r *run) mailboxCommand() string {
	pattern := func() string {
		return r.one(`"*"`, `"%"`, `"Work*"`, `"Work/%"`, `"%/%"`, `"W*k"`, `INBOX`, `"*one"`, `"%/Done"`, `"i%"`, `"New*"`)
	}
	fresh := func() string { return r.one("New", "Work/Todo", `"Two words"`, "Lists/Go", "Na&AO8-ve") }
	idle := func() string { // one that nobody has selected: whoever has may be sent away
		for {
			name := fresh()
			if !slices.ContainsFunc(r.sessions, func(s *session) bool { return quote(s.selected) == name }) {
				return name
			}
		}
	}
	switch r.random.IntN(14) {
	case 0, 1:
		return "LIST " + r.one(`""`, `""`, `"Work"`, `"Work/"`) + " " + pattern()
	case 2:
		return `LSUB "" ` + pattern()
	case 3:
		return "LIST " + r.one("(SUBSCRIBED)", "()") + ` "" ` + pattern() + " RETURN " + r.one("(CHILDREN)", "(SUBSCRIBED)", "(SUBSCRIBED CHILDREN)")
	case 4:
		return `LIST "" (` + pattern() + " " + pattern() + ")"
	case 5:
		return `LIST "" ` + pattern() + " RETURN (STATUS (MESSAGES UIDNEXT UNSEEN))"
	case 6, 7:
		name := r.mailbox()
		for _, s := range r.sessions {
			if strings.EqualFold(quote(s.selected), name) { // Dovecot counts as the session was told, we as it is
				return "NOOP"
			}
		}
		return "STATUS " + name + " (" + r.one("MESSAGES UNSEEN", "UIDNEXT UIDVALIDITY", "MESSAGES UIDNEXT UIDVALIDITY UNSEEN", "SIZE MESSAGES") + ")"
	case 8, 9:
		name := fresh()
		r.remember(name)
		return "CREATE " + name
	case 10:
		return "DELETE " + idle()
	case 11:
		to := fresh()
		r.remember(to)
		return "RENAME " + idle() + " " + to
	case 12:
		return "SUBSCRIBE " + r.one("INBOX", "Work", "Work/Done", "Lists")
	}
	return "UNSUBSCRIBE " + r.one("INBOX", "Work", "Work/Done", "Lists")
}

func (r *run) remember(name string) {
	if name = strings.Trim(name, `"`); !slices.Contains(r.names, name) {
		r.names = append(r.names, name)
	}
}

// set names messages that exist, as far as the client knows.
func (r *run) set(s *session, uid bool) string {
	if len(s.uids) == 0 {
		return "1:*"
	}
	one := func() string {
		i := r.random.IntN(len(s.uids))
		if uid && s.uids[i] != 0 {
			return fmt.Sprint(s.uids[i])
		}
		return fmt.Sprint(i + 1)
	}
	switch r.random.IntN(8) {
	case 0:
		return "1:*"
	case 1:
		return "*"
	case 2:
		return one() + ":" + one()
	case 3:
		return one() + "," + one()
	case 4:
		return one() + "," + one() + ":" + one()
	case 5:
		if uid {
			return one() + ":" + one() + ",99"
		}
	}
	return one()
}

func (r *run) fetch(s *session) string {
	uid := r.chance(2)
	verb := "FETCH "
	if uid {
		verb = "UID FETCH "
	}
	command := verb + r.set(s, uid) + " "
	if r.chance(8) {
		return command + r.one("ALL", "FAST", "FULL", "FLAGS", "ENVELOPE", "BODY", "BODYSTRUCTURE", "RFC822", "RFC822.HEADER", "RFC822.TEXT", "UID", "INTERNALDATE")
	}
	var items []string
	for range 1 + r.random.IntN(3) {
		if item := r.item(); !slices.Contains(items, item) {
			items = append(items, item)
		}
	}
	command += "(" + strings.Join(items, " ") + ")"
	if s.marked && r.chance(3) {
		command += " (CHANGEDSINCE {highest}" + r.vanished(s, uid) + ")"
	}
	return command
}

func (r *run) vanished(s *session, uid bool) string {
	if s.qresync && uid && r.chance(2) {
		return " VANISHED"
	}
	return ""
}

func (r *run) item() string {
	switch r.random.IntN(16) {
	case 0, 1:
		return r.one("FLAGS", "UID", "INTERNALDATE", "RFC822.SIZE")
	case 2:
		return "ENVELOPE"
	case 3:
		return r.one("BODY", "BODYSTRUCTURE")
	case 4:
		return r.one("BINARY.PEEK[1]", "BINARY.SIZE[1]", "BINARY.PEEK[2]", "BINARY.SIZE[2]", "BINARY.PEEK[1.1]", "BINARY.PEEK[1]<0.20>")
	case 5:
		return r.one("RFC822.HEADER", "RFC822.SIZE", "RFC822.TEXT", "MODSEQ")
	}
	section := r.one("", "HEADER", "TEXT", "1", "2", "1.MIME", "2.MIME", "1.1", "1.2", "2.1", "2.2", "1.HEADER", "2.HEADER", "2.TEXT", "1.TEXT", "3", "1.1.1", "2.1.MIME", "2.1.HEADER",
		"HEADER.FIELDS (FROM SUBJECT)", "HEADER.FIELDS (Date X-None Received)", "HEADER.FIELDS.NOT (To Received)", "2.HEADER.FIELDS (Subject)", "HEADER.FIELDS (CONTENT-TYPE)")
	part := r.one("", "", "", "<0.10>", "<5.40>", "<0.100000>", "<20.7>", "<100000.5>")
	return r.one("BODY.PEEK", "BODY.PEEK", "BODY.PEEK", "BODY") + "[" + section + "]" + part
}

func (r *run) flagList() string {
	all := []string{`\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`, "$Label1", "Work", "Fresh", "$Junk"}
	var some []string
	for _, f := range all {
		if r.chance(4) {
			some = append(some, f)
		}
	}
	return "(" + strings.Join(some, " ") + ")"
}

func (r *run) store(s *session) string {
	uid := r.chance(2)
	verb := "STORE "
	if uid {
		verb = "UID STORE "
	}
	command := verb + r.set(s, uid) + " "
	if s.marked && r.chance(3) {
		command += "(UNCHANGEDSINCE {highest}) "
	}
	how := r.one("FLAGS", "+FLAGS", "-FLAGS", "+FLAGS", "-FLAGS") + r.one("", "", ".SILENT")
	flags := r.flagList()
	if strings.Contains(flags, " ") && r.chance(4) {
		flags = strings.Trim(flags, "()")
	}
	return command + how + " " + flags
}

func quote(name string) string {
	if strings.Contains(name, " ") {
		return `"` + name + `"`
	}
	return name
}

func (r *run) search(s *session) string {
	command := r.one("SEARCH", "UID SEARCH")
	if r.chance(3) {
		command += " RETURN " + r.one("()", "(ALL)", "(MIN)", "(MAX)", "(COUNT)", "(MIN MAX COUNT)", "(MIN MAX COUNT ALL)", "(SAVE)", "(SAVE ALL)", "(PARTIAL 1:3)", "(PARTIAL 2:4)")
	}
	if r.chance(8) {
		command += " CHARSET " + r.one("UTF-8", "US-ASCII")
	}
	for range 1 + r.random.IntN(2) {
		command += " " + r.key(s, 3)
	}
	return command
}

// keyBesideFlags is a key that is no flag. Dovecot makes one test of several flags, and then begins at the first unseen message even where
// others match as well: OR UNSEEN UNFLAGGED.
func (r *run) keyBesideFlags(s *session, depth int) string {
	for {
		if key := r.key(s, depth); !flagKey.MatchString(key) {
			return key
		}
	}
}

var flagKey = regexp.MustCompile(`^(NOT )*(UN)?(SEEN|ANSWERED|FLAGGED|DELETED|DRAFT|KEYWORD .*)$|^(NOT )*ALL$`)

func (r *run) key(s *session, depth int) string {
	if depth > 0 {
		switch r.random.IntN(9) {
		case 0:
			return "NOT " + r.key(s, depth-1)
		case 1:
			return "OR " + r.key(s, depth-1) + " " + r.keyBesideFlags(s, depth-1)
		case 2:
			return "(" + r.key(s, depth-1) + " " + r.keyBesideFlags(s, depth-1) + ")"
		}
	}
	word := r.one("a", "message", "test", "html", "example", "buzon", "Re:", `"not there"`, "ISO", "ana", "@")
	date := r.one("1-Jan-2020", "15-Jun-2019", "1-Sep-2017", "30-Nov-2023", "1-Jan-2026", "5-Feb-2018")
	switch r.random.IntN(12) {
	case 0, 1:
		return r.one("ALL", "SEEN", "UNSEEN", "ANSWERED", "UNANSWERED", "FLAGGED", "UNFLAGGED", "DELETED", "UNDELETED", "DRAFT", "UNDRAFT")
	case 2:
		return r.one("KEYWORD", "UNKEYWORD") + " " + r.one("Work", "$Label1", "Fresh", "$Junk", "Unknown")
	case 3:
		return r.one("FROM", "TO", "CC", "SUBJECT") + " " + word
	case 4:
		// Words that no header of a message within a message has: there Dovecot does not look.
		return r.one("BODY", "TEXT") + " " + r.one("words", "hello", "line", "body", "regards", `"plain words"`)
	case 5:
		return "HEADER " + r.one("Subject", "Message-ID", "X-None", "Content-Type", "Received", "Date") + " " + r.one(word, `""`)
	case 6:
		return r.one("BEFORE", "ON", "SINCE") + " " + date
	case 7:
		if depth < 3 { // below OR and NOT Dovecot mixes such pairs up
			return "ALL"
		}
		return `(HEADER Date "" ` + r.one("SENTBEFORE", "SENTON", "SENTSINCE") + " " + date + ")" // Dovecot takes no date for a very early one
	case 8:
		return r.one("LARGER", "SMALLER") + " " + r.one(r.one(r.sizes...), "100", "1000", "5000")
	case 9:
		return "UID " + r.set(s, true)
	case 10:
		return r.set(s, false)
	}
	return r.one("OLDER 100000000", "YOUNGER 100000000", "LARGER 300")
}

func (r *run) sortCommand(s *session) string {
	var by []string
	for range 1 + r.random.IntN(2) {
		by = append(by, r.one("", "", "REVERSE ")+r.one("ARRIVAL", "CC", "DATE", "FROM", "SIZE", "SUBJECT", "TO", "DISPLAYFROM", "DISPLAYTO"))
	}
	return r.one("SORT", "UID SORT") + r.one("", "", " RETURN (ALL COUNT)", " RETURN (MIN MAX)") + " (" + strings.Join(by, " ") + ") " + r.one("UTF-8", "US-ASCII") + " " + r.key(s, 1)
}

func (r *run) thread() string {
	return r.one("THREAD ", "UID THREAD ") + r.one("REFERENCES", "REFS", "ORDEREDSUBJECT") + " UTF-8 " + r.one("ALL", "UNSEEN", "SUBJECT e")
}

func (r *run) appendCommand(selected string) string {
	text := fmt.Sprintf("From: ana@buzon.test\r\nSubject: appended %d\r\nDate: %d Mar 2021 10:00:00 +0100\r\nMessage-ID: <%d@buzon.test>\r\n\r\nline %d\r\n",
		r.random.IntN(100), 1+r.random.IntN(28), r.random.IntN(1000000), r.random.IntN(100))
	name := r.mailbox()
	if r.chance(2) {
		name = quote(selected)
	}
	flags := r.one("", r.flagList()+" ")
	date := r.one("", fmt.Sprintf(`"%02d-Apr-2022 01:30:00 +0200" `, 1+r.random.IntN(28)))
	return fmt.Sprintf("APPEND %s %s%s{%d+}\r\n%s", name, flags, date, len(text), text)
}
