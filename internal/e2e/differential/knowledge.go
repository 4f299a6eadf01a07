package differential

import (
	"slices"
	"strconv"
	"strings"
)

// knowledge is what a client knows of its selected mailbox: enough to ask for what exists.
type knowledge struct {
	selected  string
	readOnly  bool
	condstore bool
	qresync   bool
	marked    bool     // {highest} is of this mailbox
	uids      []uint32 // by sequence number; 0 is not known
}

func newKnowledge() *knowledge { return &knowledge{} }

// learn takes in the answer to a command.
func (k *knowledge) learn(command string, a *answer) {
	verb, rest, _ := strings.Cut(strings.ToUpper(command), " ")
	opens := verb == "SELECT" || verb == "EXAMINE"
	if opens || (verb == "CLOSE" || verb == "UNSELECT") && a.status == "OK" {
		k.selected, k.uids, k.marked = "", nil, false
	}
	if opens && a.status == "OK" {
		k.selected, k.readOnly = mailboxOf(command), verb == "EXAMINE"
		k.condstore = k.condstore || strings.Contains(rest, "CONDSTORE")
	}
	if verb == "ENABLE" && a.status == "OK" {
		k.condstore = true
		k.qresync = k.qresync || strings.Contains(rest, "QRESYNC")
	}
	k.marked = k.marked || verb == "STATUS" && strings.HasSuffix(rest, "(HIGHESTMODSEQ)")
	for _, r := range a.untagged {
		k.hear(r)
	}
}

// mailboxOf is the mailbox of SELECT or EXAMINE.
func mailboxOf(command string) string {
	if values := parse(command); len(values) > 1 {
		return values[1].text
	}
	return ""
}

func (k *knowledge) hear(r response) {
	switch r.kind {
	case "EXISTS":
		for len(k.uids) < r.number {
			k.uids = append(k.uids, 0)
		}
	case "EXPUNGE":
		if r.number >= 1 && r.number <= len(k.uids) {
			k.uids = slices.Delete(k.uids, r.number-1, r.number)
		}
	case "VANISHED":
		k.vanished(r.values)
	case "FETCH":
		if len(r.values) != 1 || r.number < 1 || r.number > len(k.uids) {
			return
		}
		for i, v := range r.values[0].list {
			if v.text == "UID" && i+1 < len(r.values[0].list) {
				uid, _ := strconv.ParseUint(r.values[0].list[i+1].text, 10, 32)
				k.uids[r.number-1] = uint32(uid)
			}
		}
	}
}

func (k *knowledge) vanished(values []value) {
	if len(values) != 1 { // EARLIER
		return
	}
	for _, part := range strings.Split(values[0].text, ",") {
		low, high, ok := strings.Cut(part, ":")
		if !ok {
			high = low
		}
		a, _ := strconv.Atoi(low)
		b, _ := strconv.Atoi(high)
		k.uids = slices.DeleteFunc(k.uids, func(uid uint32) bool { return int(uid) >= a && int(uid) <= b })
	}
}
