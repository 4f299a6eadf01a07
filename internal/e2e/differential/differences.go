package differential

import (
	"regexp"
	"slices"
	"strings"
)

// A difference that is none: what only ours and only theirs may say in answer to a command. Each row stands in docs/protocols.md.
type rule struct {
	what         string // as docs/protocols.md has it
	command      *regexp.Regexp
	ours, theirs *regexp.Regexp // nil: nothing
	when         func(ours, theirs []string) bool
	again        bool // only where such a command has come before
	stop         bool // the two mailboxes are different from then on
	item         bool // theirs only for an item of a message that ours is allowed for
}

var rules = []rule{
	{what: "HIGHESTMODSEQ of SELECT", ours: re(`^HIGHESTMODSEQ`)},
	{what: "keywords in FLAGS", command: re(`^(SELECT|EXAMINE)`), ours: re(`^(PERMANENT)?FLAGS`), theirs: re(`^(PERMANENT)?FLAGS`)},
	{what: "BODY[n] of a part that does not exist", ours: re(`^\d+: (BODY|BINARY)(\.SIZE)?\[[\d.]*[A-Z.]*.*\](<\d+>)? (NIL|0)$`), theirs: re(`^\d+: (BODY|BINARY)(\.SIZE)?\[`), item: true},
	{what: "FETCH of a body that another session has expunged", command: re(`FETCH `), ours: re(`^= (NO EXPUNGEISSUED|OK)$`), theirs: re(`^= OK( EXPUNGEISSUED)?$`)},
	{what: "STORE where another session has expunged some", command: re(`^STORE `), ours: re(`^= NO EXPUNGEISSUED$`), theirs: re(`^= OK$`)},
	{what: "COPY of nothing to a mailbox that does not exist", command: re(`^UID (COPY|MOVE) `), ours: re(`^= NO TRYCREATE$`), theirs: re(`^= OK$`)},
	{what: "UID COPY, UID MOVE where another session has expunged some", command: re(`^UID (COPY|MOVE) `), ours: re(`.`), theirs: re(`.`), when: refused, stop: true},
	{what: "MOVE where another session has expunged some", command: re(`^MOVE `), ours: re(`.`), theirs: re(`.`), when: removedAfterAll, stop: true},
	{what: "SEARCH over messages that another session has expunged, or has changed", command: re(`(SEARCH|SORT|THREAD) `), ours: re(`.`), theirs: re(`.`), when: refused},
	{what: "HEADER.FIELDS of a header without an empty line", command: re(`HEADER\.FIELDS`), ours: re(`HEADER\.FIELDS.*\\r\\n"$`), theirs: re(`HEADER\.FIELDS`), item: true},
	{what: "BINARY of a multipart, or of a message", command: re(`BINARY`), ours: re(`^\d+: BINARY(\.SIZE\[|\[[\d.]+\](<\d+>)? "(--|From: ))`), theirs: re(`^\d+: BINARY`), item: true},
	{what: "THREAD: threads of the same date", command: re(`THREAD REF`), ours: re(`^THREAD`), theirs: re(`^THREAD`), when: sameThreads},
	{what: "SEARCH NOT … of two sizes, two dates or two keywords", command: re(`NOT .*((LARGER|SMALLER) .*(LARGER|SMALLER)|(BEFORE|ON|SINCE) .*(BEFORE|ON|SINCE)|KEYWORD .*KEYWORD) `), ours: re(`^(E?SEARCH|SORT|THREAD)`), theirs: re(`^(E?SEARCH|SORT|THREAD)`), stop: true},
	{what: "SORT by texts, after another", command: textSort, ours: re(`^(SORT|ESEARCH)`), theirs: re(`^(SORT|ESEARCH)`), when: sameMessages, again: true},
	{what: "STORE that changes nothing", command: re(`STORE .*FLAGS `), ours: re(`^\d+: (FLAGS|MODSEQ|UID) `)},
}

// textSort is a SORT by what is no number.
var textSort = re(`SORT .*\(.*(CC|FROM|SUBJECT|TO|DISPLAYFROM|DISPLAYTO)\b.*\)`)

func re(text string) *regexp.Regexp { return regexp.MustCompile(text) }

// refused says that Dovecot has noticed that messages are gone.
func refused(_, theirs []string) bool {
	return slices.ContainsFunc(theirs, func(line string) bool { return strings.HasSuffix(line, " EXPUNGEISSUED") })
}

// removedAfterAll says that Dovecot has removed messages although it gave the same answer as we did.
func removedAfterAll(ours, theirs []string) bool {
	answered := func(line string) bool { return strings.HasPrefix(line, "= ") }
	removed := func(line string) bool { return strings.HasPrefix(line, "expunged ") }
	return !slices.ContainsFunc(ours, answered) && !slices.ContainsFunc(theirs, answered) && slices.ContainsFunc(theirs, removed) && !slices.ContainsFunc(ours, removed)
}

// allowed takes out what a rule allows; before are the commands before this one.
func allowed(command string, before []string, ours, theirs []string) (restOurs, restTheirs []string, stop bool) {
	for _, r := range rules {
		if len(ours)+len(theirs) == 0 {
			break
		}
		if r.command != nil && !r.command.MatchString(command) || r.when != nil && !r.when(ours, theirs) ||
			r.again && !slices.ContainsFunc(before, r.command.MatchString) {
			continue
		}
		stop = stop || r.stop
		was := map[string]bool{}
		ours = slices.DeleteFunc(ours, func(line string) bool {
			if r.ours == nil || !r.ours.MatchString(line) {
				return false
			}
			was[itemOf(line)] = true
			return true
		})
		theirs = slices.DeleteFunc(theirs, func(line string) bool {
			return r.theirs != nil && r.theirs.MatchString(line) && (!r.item || was[itemOf(line)])
		})
	}
	return ours, theirs, stop
}

// itemOf is the message and the item of a fact: "3: BODY[1]".
func itemOf(line string) string {
	item, _, _ := strings.Cut(line, "]")
	return item
}

// sameMessages says that both have the same messages, in whatever order.
func sameMessages(ours, theirs []string) bool {
	sorted := func(lines []string) string {
		var all []value
		for word := range strings.FieldsFuncSeq(strings.Join(lines, " "), func(r rune) bool { return r == ' ' || r == ',' }) {
			if word[0] >= '0' && word[0] <= '9' {
				all = append(all, value{text: word})
			}
		}
		return numberSet(all)
	}
	return sorted(ours) == sorted(theirs)
}

// sameThreads says that both have the same threads, in whatever order.
func sameThreads(ours, theirs []string) bool {
	if len(ours) != 1 || len(theirs) != 1 {
		return false
	}
	sorted := func(line string) []string {
		threads := strings.SplitAfter(strings.TrimPrefix(line, "THREAD "), ") (")
		for i := range threads {
			threads[i] = strings.Trim(threads[i], "() ")
		}
		slices.Sort(threads)
		return threads
	}
	return slices.Equal(sorted(ours[0]), sorted(theirs[0]))
}
