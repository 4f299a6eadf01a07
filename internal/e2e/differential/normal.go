package differential

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// normal is an answer without what servers are free to choose: the order of untagged data and of flags, \Recent, texts, the values of
// mod-sequences. Each line of it is one fact, and they are sorted.
func (a *answer) normal(s *session, command string) []string {
	n := normalizer{answer: a, command: strings.ToUpper(command), fetched: map[int]map[string]string{}}
	var lines []string
	gone := newNumbering(a.before, s.uids)
	byUID := slices.Contains(s.uids, 0) && slices.ContainsFunc(a.untagged, func(r response) bool { return r.kind == "VANISHED" })
	for _, r := range a.untagged {
		if r.kind == "FETCH" {
			number := gone.original(r.number)
			if uid := uidOf(r.values); byUID && uid > 0 { // which numbers VANISHED takes away cannot be told
				number = firstUnknown + uid
			}
			n.fetch(number, r.values)
			continue
		}
		if r.kind == "EXPUNGE" {
			if number := gone.remove(r.number); number < firstUnknown { // what comes and goes unseen need not be told
				lines = append(lines, "expunged "+strconv.Itoa(number))
			}
			continue
		}
		if r.kind == "VANISHED" && len(r.values) == 1 {
			r.values[0].text = gone.vanish(r.values[0].text)
			if r.values[0].text == "" {
				continue // what comes and goes unseen need not be told
			}
		}
		lines = append(lines, n.response(r)...)
	}
	for number, items := range n.fetched {
		if number < firstUnknown && !slices.Contains(gone.now, number) {
			continue // what is said of a message that is gone is the server's choice, RFC 2180 4.1
		}
		n.withoutUID(items)
		for name, text := range items {
			lines = append(lines, fmt.Sprintf("%d: %s %s", number, name, text))
		}
	}
	if s.selected != "" {
		lines = append(lines, fmt.Sprintf("%d messages", a.conn.exists))
	}
	lines = append(lines, n.tagged())
	slices.Sort(lines)
	return lines
}

// uidOf is the UID that a FETCH response names, or 0.
func uidOf(values []value) int {
	if len(values) == 1 {
		list := values[0].list
		for i := 0; i+1 < len(list); i += 2 {
			if strings.EqualFold(list[i].text, "UID") {
				uid, _ := strconv.Atoi(list[i+1].text)
				return uid
			}
		}
	}
	return 0
}

// withoutUID takes the UID out of what may be news, where it may stand or not.
func (n *normalizer) withoutUID(items map[string]string) {
	for name := range items {
		if name != "FLAGS" && name != "MODSEQ" && name != "UID" {
			return
		}
	}
	if items["FLAGS"] != "" || !strings.Contains(n.command, "(UID") {
		delete(items, "UID")
	}
}

// numbering knows which number a message had before the expunges of an answer.
type numbering struct {
	now  []int
	uids []uint32 // in step with it, as far as they are known
}

// firstUnknown is above all numbers that messages had before an answer; from there on are those that it brought.
const firstUnknown = 1000

func newNumbering(n int, uids []uint32) *numbering {
	all := make([]int, n)
	for i := range all {
		all[i] = i + 1
	}
	return &numbering{all, slices.Clone(uids)}
}

// vanish takes the messages with the UIDs away. Unless there are UIDs that the client has not heard of, it returns those that it has.
func (n *numbering) vanish(set string) string {
	gone := " " + strings.Trim(numberSet([]value{{text: set}}), "[]") + " "
	if !slices.Contains(n.uids, 0) {
		var known []string
		for _, uid := range n.uids {
			if strings.Contains(gone, fmt.Sprintf(" %d ", uid)) {
				known = append(known, strconv.Itoa(int(uid)))
			}
		}
		set = strings.Join(known, ",")
	}
	for i := len(n.uids) - 1; i >= 0; i-- {
		if i < len(n.now) && n.uids[i] != 0 && strings.Contains(gone, fmt.Sprintf(" %d ", n.uids[i])) {
			n.remove(i + 1)
		}
	}
	return set
}

func (n *numbering) original(number int) int {
	if number < 1 || number > len(n.now) {
		return firstUnknown + number
	}
	return n.now[number-1]
}

func (n *numbering) remove(number int) int {
	was := n.original(number)
	if number >= 1 && number <= len(n.now) {
		n.now = slices.Delete(n.now, number-1, number)
		if number <= len(n.uids) {
			n.uids = slices.Delete(n.uids, number-1, number)
		}
	}
	return was
}

type normalizer struct {
	*answer
	command string
	fetched map[int]map[string]string
}

func (n *normalizer) fetch(number int, values []value) {
	if len(values) != 1 {
		return
	}
	items := n.fetched[number]
	if items == nil {
		items = map[string]string{}
		n.fetched[number] = items
	}
	list := values[0].list
	for i := 0; i+1 < len(list); i += 2 {
		name, v := strings.ToUpper(list[i].text), list[i+1]
		text := v.String()
		switch name {
		case "FLAGS":
			text = flagSet(v.list)
		case "UID":
			if !strings.Contains(n.command, "FETCH") || !strings.Contains(n.command, "UID") {
				continue // it may come with any news
			}
		case "MODSEQ", "SAVEDATE":
			text = "#"
		case "INTERNALDATE":
			if t, err := time.Parse("_2-Jan-2006 15:04:05 -0700", v.text); err == nil {
				if text = strconv.FormatInt(t.Unix(), 10); time.Since(t) < time.Hour {
					text = "now"
				}
			}
		case "BODY", "BODYSTRUCTURE":
			text = strings.ToLower(text)
		}
		items[name] = text
	}
}

func flagSet(list []value) string {
	var names []string
	for _, f := range list {
		if name := strings.ToLower(f.text); name != `\recent` && name != "$forwarded" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return "(" + strings.Join(names, " ") + ")"
}

// response makes facts of any response but FETCH and EXPUNGE.
func (n *normalizer) response(r response) []string {
	opens := strings.HasPrefix(n.command, "SELECT") || strings.HasPrefix(n.command, "EXAMINE")
	switch r.kind {
	case "EXISTS", "RECENT", "CAPABILITY", "BAD", "NO":
		return nil
	case "ENABLED":
		names := words(r.values)
		slices.Sort(names)
		return []string{"ENABLED " + strings.Join(names, " ")}
	case "FLAGS":
		if opens && len(r.values) == 1 {
			return []string{"FLAGS " + flagSet(r.values[0].list)}
		}
		return nil
	case "OK":
		return n.code(r.values, opens)
	case "SEARCH":
		return []string{"SEARCH " + numberSet(r.values)}
	case "ESEARCH":
		return esearch(r.values)
	case "VANISHED":
		return vanished(r.values)
	case "LIST", "LSUB":
		return []string{list(r, n.command)}
	case "STATUS":
		if len(r.values) == 2 {
			return status(r.values[0].text, r.values[1].list)
		}
	}
	return []string{r.kind + " " + join(r.values)}
}

func words(values []value) (all []string) {
	for _, v := range values {
		all = append(all, strings.ToUpper(v.text))
	}
	return all
}

// code is an untagged response code; only what opening a mailbox must tell is a fact by itself.
func (n *normalizer) code(code []value, opens bool) []string {
	if len(code) == 0 || !opens && code[0].text != "COPYUID" {
		return nil
	}
	switch name := strings.ToUpper(code[0].text); name {
	case "PERMANENTFLAGS":
		return []string{name + " " + flagSet(code[1].list)}
	case "HIGHESTMODSEQ":
		return []string{name}
	case "UIDVALIDITY", "COPYUID":
		return []string{name + " " + validity(code[1].text) + " " + join(code[2:])}
	case "UIDNEXT", "UNSEEN", "CLOSED", "NOMODSEQ":
		return []string{name + " " + join(code[1:])}
	}
	return nil
}

// validity hides the UIDVALIDITY of a mailbox that was made meanwhile.
func validity(text string) string {
	if n, err := strconv.Atoi(text); err == nil && n >= firstValidity && n < firstValidity+100 {
		return text
	}
	return "new"
}

func (n *normalizer) tagged() string {
	line := "= " + n.status
	if len(n.answer.code) == 0 {
		return line
	}
	switch name := strings.ToUpper(n.answer.code[0].text); name {
	case "APPENDUID", "COPYUID":
		return line + " " + name + " " + validity(n.answer.code[1].text) + " " + join(n.answer.code[2:])
	case "MODIFIED":
		return line + " MODIFIED " + numberSet(n.answer.code[1:])
	case "READ-ONLY", "READ-WRITE", "TRYCREATE", "BADCHARSET", "EXPUNGEISSUED", "UNKNOWN-CTE", "NOTSAVED":
		return line + " " + name
	}
	return line
}

// numberSet sorts numbers, and writes ranges out.
func numberSet(values []value) string {
	var all []int
	for _, v := range values {
		if v.isList {
			continue // (MODSEQ n)
		}
		for _, part := range strings.Split(v.text, ",") {
			low, high, ok := strings.Cut(part, ":")
			a, err := strconv.Atoi(low)
			if err != nil {
				return join(values)
			}
			b := a
			if ok {
				b, _ = strconv.Atoi(high)
			}
			for k := min(a, b); k <= max(a, b) && len(all) < 1000; k++ {
				all = append(all, k)
			}
		}
	}
	slices.Sort(all)
	return fmt.Sprint(all)
}

func esearch(values []value) []string {
	if len(values) > 0 && values[0].isList {
		values = values[1:] // the tag
	}
	kind := "ESEARCH"
	if len(values) > 0 && values[0].text == "UID" {
		kind, values = "ESEARCH UID", values[1:]
	}
	lines := []string{kind}
	for i := 0; i+1 < len(values); i += 2 {
		text := values[i+1].String()
		switch name := strings.ToUpper(values[i].text); name {
		case "MODSEQ":
			text = "#"
		case "ALL", "PARTIAL":
		}
		lines = append(lines, kind+" "+strings.ToUpper(values[i].text)+" "+text)
	}
	return lines
}

func vanished(values []value) []string {
	kind := "vanished"
	if len(values) > 0 && values[0].isList {
		kind, values = "vanished earlier", values[1:]
	}
	return []string{kind + " " + numberSet(values)}
}

func list(r response, command string) string {
	if len(r.values) < 3 {
		return join(r.values)
	}
	var attributes []string
	for _, a := range r.values[0].list {
		switch name := strings.ToLower(a.text); name {
		case `\marked`, `\unmarked`:
		case `\haschildren`, `\hasnochildren`: // RFC 5258 4: only when they are asked for
			if extended := strings.Contains(command, "RETURN") || strings.Contains(command, "("); !extended || strings.Contains(command, "CHILDREN") {
				attributes = append(attributes, name)
			}
		default:
			attributes = append(attributes, name)
		}
	}
	slices.Sort(attributes)
	return fmt.Sprintf("%s (%s) %s %q %s", r.kind, strings.Join(attributes, " "), r.values[1], r.values[2].text, join(r.values[3:]))
}

func status(name string, items []value) (lines []string) {
	for i := 0; i+1 < len(items); i += 2 {
		item, text := strings.ToUpper(items[i].text), items[i+1].text
		switch item {
		case "RECENT":
			continue
		case "HIGHESTMODSEQ":
			text = "#"
		case "UIDVALIDITY":
			text = validity(text)
		}
		lines = append(lines, fmt.Sprintf("STATUS %q %s %s", name, item, text))
	}
	return lines
}

func (v value) String() string {
	switch {
	case v.isList:
		return "(" + join(v.list) + ")"
	case v.quoted:
		return strconv.Quote(v.text)
	}
	return v.text
}

func join(values []value) string {
	var parts []string
	for _, v := range values {
		parts = append(parts, v.String())
	}
	return strings.Join(parts, " ")
}
