package stress

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// view is what one session has been told of its mailbox.
type view struct {
	box      string
	validity uint32
	readOnly bool
	number   int               // of the session in the sense of \Recent
	uids     []uint32          // by sequence number; 0 is not known yet
	flags    map[uint32]string // by UID; sorted, without \Recent
	modseq   map[uint32]uint64
	next     uint32            // UIDNEXT when the mailbox was opened
	recent   int               // the last RECENT
	highest  uint64            // HIGHESTMODSEQ that the client can resynchronise from
	raised   string            // the response that says so
	by       map[uint32]string // by UID: the last response that was about it
	missing  map[uint32]bool   // left out of an answer: these must turn out to be gone
}

// telling says what a response may do at this moment.
type telling struct {
	expunge bool // RFC 9051 7.5.1: not in FETCH, STORE, SEARCH; their UID forms may
	earlier bool // RFC 7162 3.2.10.1: VANISHED (EARLIER) answers SELECT and UID FETCH alone
}

// hear takes in one untagged response.
func (s *session) hear(line string, may telling) error {
	values := parseValues(strings.TrimPrefix(line, "* "))
	if len(values) < 2 { // SEARCH without a result
		return nil
	}
	v, word := s.view, strings.ToUpper(values[1].text)
	switch first := strings.ToUpper(values[0].text); first {
	case "BYE":
		return violation("%s", line)
	case "OK":
		return s.heardCode(line)
	case "VANISHED":
		return s.vanished(line, values[1:], may)
	case "SEARCH":
		for _, x := range values[1:] {
			s.search = append(s.search, numbers(x.text)...)
		}
		return nil
	case "STATUS":
		if len(values) > 2 {
			return s.heardStatus(values[1].text, values[2].list)
		}
	}
	n, err := strconv.Atoi(values[0].text)
	if err != nil {
		return nil
	}
	switch word {
	case "EXISTS":
		if n < len(v.uids) {
			return violation("EXISTS went from %d to %d without EXPUNGE", len(v.uids), n)
		}
		v.uids = append(v.uids, make([]uint32, n-len(v.uids))...)
	case "RECENT":
		v.recent = n
	case "EXPUNGE":
		if n < 1 || n > len(v.uids) {
			return violation("%s of %d messages", line, len(v.uids))
		}
		if !may.expunge {
			return violation("%s where sequence numbers must stay", line)
		}
		if s.qresync {
			return violation("EXPUNGE where QRESYNC asks for VANISHED")
		}
		v.forget(n - 1)
	case "FETCH":
		if n < 1 || n > len(v.uids) {
			return violation("%.60s of %d messages", line, len(v.uids))
		}
		if len(values) > 2 {
			return s.fetched(n-1, values[2].list, s.during(line))
		}
	}
	return nil
}

// heardCode takes in the response code of an untagged OK.
func (s *session) heardCode(line string) error {
	if strings.HasPrefix(line, "* OK [CLOSED]") {
		s.view, s.above = s.opening, 0
		return nil
	}
	for _, name := range []string{"HIGHESTMODSEQ", "UIDVALIDITY", "UIDNEXT", "COPYUID"} {
		values, ok := code(line, name+" ")
		if !ok || len(values) == 0 {
			continue
		}
		n, _ := strconv.ParseUint(values[0], 10, 64)
		switch name {
		case "HIGHESTMODSEQ":
			selecting := s.view.highest == 0
			s.view.highest, s.view.raised, s.above = n, s.during(line), 0
			if selecting { // later it may be lower than what was shown: expunges are held back
				return s.told(s.view.box, 0, n)
			}
		case "UIDVALIDITY":
			s.view.validity = uint32(n)
		case "UIDNEXT":
			s.view.next = uint32(n)
			return s.told(s.view.box, n, 0)
		case "COPYUID":
			s.copyUID = values
		}
	}
	return nil
}

func (s *session) heardStatus(box string, items []value) error {
	var next, highest uint64
	for k := 0; k+1 < len(items); k += 2 {
		n, _ := strconv.ParseUint(items[k+1].text, 10, 64)
		switch strings.ToUpper(items[k].text) {
		case "UIDNEXT":
			next = n
		case "HIGHESTMODSEQ":
			highest = n
		}
	}
	return s.told(box, next, highest)
}

// forget takes out the message with index i.
func (v *view) forget(i int) {
	uid := v.uids[i]
	v.uids = slices.Delete(v.uids, i, i+1)
	delete(v.flags, uid)
	delete(v.modseq, uid)
	delete(v.missing, uid)
}

func (s *session) vanished(line string, values []value, may telling) error {
	v, earlier := s.view, false
	if len(values[0].list) > 0 {
		earlier, values = true, values[1:]
	}
	switch {
	case !s.qresync:
		return violation("%s without QRESYNC", line)
	case earlier != may.earlier && earlier:
		return violation("%s, which nothing asked for", line)
	case !earlier && !may.expunge:
		return violation("%s where sequence numbers must stay", line)
	}
	for _, uid := range numbers(values[0].text) {
		i := slices.Index(v.uids, uid)
		if i < 0 && !earlier {
			if i = v.unknown(uid); i < 0 {
				return violation("%s, but there was no %d", line, uid)
			}
		}
		if i >= 0 {
			v.forget(i)
		}
		delete(v.flags, uid)
		delete(v.modseq, uid)
	}
	return nil
}

// unknown returns an index where a message of unknown UID stands that can have this one, or -1.
func (v *view) unknown(uid uint32) int {
	at := -1
	for i, u := range v.uids {
		switch {
		case u > uid:
			return at
		case u == 0:
			at = i
		default:
			at = -1
		}
	}
	return at
}

// fetched takes in what FETCH says of the message with index i.
func (s *session) fetched(i int, items []value, line string) error {
	v := s.view
	var flags, body *value
	var modseq uint64
	for k := 0; k+1 < len(items); k += 2 {
		item := &items[k+1]
		switch strings.ToUpper(items[k].text) {
		case "UID":
			uid, _ := strconv.ParseUint(item.text, 10, 32)
			if err := v.hasUID(i, uint32(uid)); err != nil {
				return err
			}
		case "FLAGS":
			flags = item
		case "MODSEQ":
			if len(item.list) == 1 {
				modseq, _ = strconv.ParseUint(item.list[0].text, 10, 64)
			}
		case "BODY[]":
			body = item
		}
	}
	uid := v.uids[i]
	if uid == 0 {
		s.showed(modseq, line)
		return nil // somebody else's change; what the message is will be asked for
	}
	delete(s.awaited, uid)
	v.by[uid] = line
	m := message{v.box, v.validity, uid}
	s.facts.raise(v.box, uid+1, modseq)
	if body != nil && body.text != "NIL" {
		if err := s.facts.hasContent(m, body.text); err != nil {
			return err
		}
	}
	if modseq != 0 {
		if modseq < v.modseq[uid] {
			return violation("MODSEQ of %d went from %d to %d: %s", uid, v.modseq[uid], modseq, line)
		}
		v.modseq[uid] = modseq
		s.showed(modseq, line)
	}
	if flags == nil {
		return nil
	}
	return s.hasFlags(m, flags.list, modseq)
}

// showed takes a MODSEQ for one that the client may resynchronise from when the command is over.
func (s *session) showed(modseq uint64, line string) {
	if modseq > s.above {
		s.above, s.showedBy = modseq, line
	}
}

// during is a response with the command that it came in.
func (s *session) during(line string) string {
	return fmt.Sprintf("%.160s (during %.80s)", line, s.conn.command)
}

func (s *session) hasFlags(m message, list []value, modseq uint64) error {
	v := s.view
	var names []string
	for _, f := range list {
		if strings.EqualFold(f.text, `\Recent`) {
			if v.readOnly {
				continue // EXAMINE shows what the next session will be given
			}
			if err := s.facts.isRecent(m, v.number); err != nil {
				return err
			}
			continue
		}
		names = append(names, f.text)
	}
	slices.Sort(names)
	flags := strings.Join(names, " ")
	v.flags[m.uid] = flags
	if s.shown != nil {
		s.shown[m.uid] = true
	}
	if set, known := s.own[v.box][m.uid]; known && set != slices.Contains(names, s.keyword()) {
		return violation("keyword %s of %d was set to %v, the flags are (%s)", s.keyword(), m.uid, set, flags)
	}
	if modseq != 0 {
		return s.facts.hasFlags(change{m, modseq}, flags)
	}
	return nil
}

// hasUID learns the UID of the message with index i, or holds it against what is known.
func (v *view) hasUID(i int, uid uint32) error {
	if was := v.uids[i]; was != 0 && was != uid {
		return violation("message %d has the UID %d and had %d", i+1, uid, was)
	}
	v.uids[i] = uid
	for j := i - 1; j >= 0; j-- {
		if v.uids[j] != 0 {
			if v.uids[j] >= uid {
				return violation("UID %d comes after %d", uid, v.uids[j])
			}
			break
		}
	}
	for j := i + 1; j < len(v.uids); j++ {
		if v.uids[j] != 0 {
			if v.uids[j] <= uid {
				return violation("UID %d comes before %d", uid, v.uids[j])
			}
			break
		}
	}
	return nil
}

// unlearned returns the first index of which not everything is known, or -1.
func (v *view) unlearned() int {
	return slices.IndexFunc(v.uids, func(uid uint32) bool {
		_, ok := v.flags[uid]
		return !ok
	})
}

// differs says how v and other differ; "" when they do not.
func (v *view) differs(other *view) string {
	if !slices.Equal(v.uids, other.uids) {
		return fmt.Sprintf("UIDs %v, and a fresh session sees %v", v.uids, other.uids)
	}
	for uid, flags := range v.flags {
		if flags != other.flags[uid] {
			return fmt.Sprintf("message %d has (%s), a fresh session sees (%s); the last of it: %s", uid, flags, other.flags[uid], v.by[uid])
		}
	}
	return ""
}
