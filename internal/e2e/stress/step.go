package stress

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Mailboxes are kept between these sizes, so that sessions meet at the same messages.
const (
	fewMessages  = 10
	manyMessages = 120
)

// actions are what a session does, each as often as it stands here.
var actions = []func(*session) error{
	(*session).settle, (*session).settle,
	(*session).fetch, (*session).fetch, (*session).fetchContent, (*session).fetchContent,
	(*session).storeOwn, (*session).storeOwn, (*session).storeOwn, (*session).storeUnchanged,
	(*session).store, (*session).store, (*session).store,
	(*session).searchOwn, (*session).searchAny,
	(*session).remove, (*session).remove,
	(*session).copy, (*session).move,
	(*session).add, (*session).add, (*session).addSeveral,
	(*session).idle, (*session).status, (*session).reopen, (*session).pipeline,
}

func (s *session) step() error {
	switch n := len(s.view.uids); {
	case n < fewMessages && s.random.IntN(2) == 0:
		return s.add()
	case n > manyMessages && s.random.IntN(2) == 0:
		return s.remove()
	}
	return actions[s.random.IntN(len(actions))](s)
}

// pick chooses some neighbouring messages, as sequence numbers or UIDs, and as a command's prefix and set.
func (s *session) pick() (prefix, set string, uids []uint32, bySeq bool) {
	v := s.view
	from := s.random.IntN(len(v.uids))
	to := min(len(v.uids), from+1+s.random.IntN(5))
	for _, uid := range v.uids[from:to] {
		if uid != 0 {
			uids = append(uids, uid)
		}
	}
	if len(uids) == 0 || s.random.IntN(2) == 0 {
		return "", fmt.Sprintf("%d:%d", from+1, to), uids, true
	}
	return "UID ", fmt.Sprintf("%d:%d", uids[0], uids[len(uids)-1]), uids, false
}

// empty adds a message where there is none to work on.
func (s *session) empty() bool { return len(s.view.uids) == 0 }

func (s *session) items() string {
	if s.condsel || s.qresync {
		return "FLAGS MODSEQ"
	}
	return "FLAGS"
}

func (s *session) fetch() error { return s.fetchThese("(UID " + s.items() + " RFC822.SIZE)") }

func (s *session) fetchContent() error {
	return s.fetchThese([]string{"(UID BODY.PEEK[])", "(UID BODY[] FLAGS)"}[s.random.IntN(2)])
}

func (s *session) fetchThese(items string) error {
	if s.empty() {
		return s.add()
	}
	prefix, set, uids, bySeq := s.pick()
	s.awaited = map[uint32]bool{}
	for _, uid := range uids {
		s.awaited[uid] = true
	}
	status, err := s.command(prefix+"FETCH "+set+" "+items, telling{expunge: !bySeq}, true)
	if err == nil && strings.HasPrefix(status, "OK") {
		for uid := range s.awaited {
			if slices.Contains(s.view.uids, uid) {
				s.view.missing[uid] = true
			}
		}
	}
	s.awaited = nil
	return err
}

// sharedFlags are set and taken away by everyone.
var sharedFlags = []string{`\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`, "$Forwarded", "Shared"}

func (s *session) store() error {
	if s.empty() || s.view.readOnly {
		return s.add()
	}
	prefix, set, uids, bySeq := s.pick()
	how, flag := []string{"+FLAGS", "-FLAGS", "+FLAGS.SILENT", "-FLAGS.SILENT"}[s.random.IntN(4)], sharedFlags[s.random.IntN(len(sharedFlags))]
	if s.notify { // whether what is shown meanwhile was there before cannot be known
		how, _ = strings.CutSuffix(how, ".SILENT")
	}
	s.shown = map[uint32]bool{}
	status, err := s.command(fmt.Sprintf("%sSTORE %s %s (%s)", prefix, set, how, flag), telling{expunge: !bySeq}, true)
	switch {
	case err != nil:
		return err
	case !strings.HasPrefix(status, "OK"): // what was done is not known
		return s.learn(1)
	}
	for _, uid := range uids {
		if flags, known := s.view.flags[uid]; known && !s.shown[uid] {
			s.view.flags[uid] = changed(flags, flag, how[0] == '+')
		}
	}
	return nil
}

// changed is what a client takes the flags for after it has changed them without an answer (RFC 9051 6.4.6).
func changed(flags, flag string, set bool) string {
	all := slices.DeleteFunc(strings.Fields(flags), func(f string) bool { return f == flag })
	if set {
		all = append(all, flag)
		slices.Sort(all)
	}
	return strings.Join(all, " ")
}

// storeOwn sets or takes away this session's keyword.
func (s *session) storeOwn() error { return s.storeKeyword("", s.random.IntN(3) > 0) }

// storeUnchanged does it only where nobody was faster (RFC 7162 3.1.3).
func (s *session) storeUnchanged() error {
	if !s.condsel && !s.qresync || s.empty() {
		return s.status()
	}
	return s.storeKeyword(fmt.Sprintf(" (UNCHANGEDSINCE %d)", s.view.modseq[s.view.uids[s.random.IntN(len(s.view.uids))]]), true)
}

func (s *session) storeKeyword(condition string, set bool) error {
	if s.empty() || s.view.readOnly {
		return s.add()
	}
	prefix, messages, uids, bySeq := s.pick()
	own := s.own[s.view.box]
	before := map[uint32]bool{}
	for _, uid := range uids {
		if was, known := own[uid]; known {
			before[uid] = was
		}
		delete(own, uid) // until the answer says how it is
	}
	position := slices.Clone(s.view.uids)
	how := "+FLAGS"
	if !set {
		how = "-FLAGS"
	}
	status, err := s.command(fmt.Sprintf("%sSTORE %s%s %s (%s)", prefix, messages, condition, how, s.keyword()), telling{expunge: !bySeq}, true)
	if err != nil || !strings.HasPrefix(status, "OK") {
		return err
	}
	var modified []uint32
	if m, ok := code(status, "MODIFIED "); ok && len(m) == 1 {
		modified = numbers(m[0])
		if bySeq {
			for i, seq := range modified {
				modified[i] = position[seq-1]
			}
		}
	}
	for _, uid := range uids {
		if !slices.Contains(modified, uid) {
			own[uid] = set
		} else if was, known := before[uid]; known {
			own[uid] = was
		}
	}
	return nil
}

func (s *session) searchOwn() error {
	s.search = nil
	if _, err := s.command("UID SEARCH KEYWORD "+s.keyword(), telling{expunge: true}, true); err != nil {
		return err
	}
	for _, uid := range s.search {
		if set, known := s.own[s.view.box][uid]; known && !set {
			return violation("SEARCH finds %d, from which %s was taken", uid, s.keyword())
		}
	}
	for uid, set := range s.own[s.view.box] {
		if set && !slices.Contains(s.search, uid) && slices.Contains(s.view.uids, uid) {
			s.view.missing[uid] = true
		}
	}
	return nil
}

func (s *session) searchAny() error {
	s.search = nil
	keys := []string{"ALL", "UNSEEN", "DELETED", "KEYWORD Shared", "NOT ANSWERED", "SUBJECT stress", "BODY line", "LARGER 500", "SINCE 1-Jan-2020"}
	if _, err := s.command("SEARCH "+keys[s.random.IntN(len(keys))], telling{}, true); err != nil {
		return err
	}
	for _, seq := range s.search {
		if seq == 0 || int(seq) > len(s.view.uids) {
			return violation("SEARCH finds message %d of %d", seq, len(s.view.uids))
		}
	}
	return nil
}

func (s *session) remove() error {
	if s.empty() || s.view.readOnly {
		return s.add()
	}
	_, _, uids, _ := s.pick()
	if len(uids) > 0 && s.random.IntN(3) > 0 {
		set := fmt.Sprintf("%d:%d", uids[0], uids[len(uids)-1])
		if _, err := s.command("UID STORE "+set+" +FLAGS (\\Deleted)", telling{expunge: true}, true); err != nil {
			return err
		}
		return s.must("UID EXPUNGE " + set)
	}
	return s.must("EXPUNGE")
}

func (s *session) copy() error { return s.transfer("COPY") }

func (s *session) move() error {
	if s.view.readOnly {
		return s.copy()
	}
	return s.transfer("MOVE")
}

// transfer copies or moves, and holds COPYUID against the contents that are known.
func (s *session) transfer(how string) error {
	if s.empty() {
		return s.add()
	}
	prefix, set, _, _ := s.pick()
	from, validity, target := s.view.box, s.view.validity, boxes[s.random.IntN(len(boxes))]
	s.copyUID = nil
	status, err := s.command(fmt.Sprintf("%s%s %s %s", prefix, how, set, target), telling{expunge: true}, true)
	if err != nil || !strings.HasPrefix(status, "OK") {
		return err
	}
	uids, ok := code(status, "COPYUID ")
	if !ok {
		uids = s.copyUID
	}
	if len(uids) != 3 {
		return nil // nothing was left to copy
	}
	sources, copies := numbers(uids[1]), numbers(uids[2])
	if len(sources) != len(copies) || len(sources) == 0 {
		return violation("COPYUID pairs %d messages with %d", len(sources), len(copies))
	}
	into, _ := strconv.ParseUint(uids[0], 10, 32)
	for i := range sources {
		if err := s.facts.copied(message{from, validity, sources[i]}, message{target, uint32(into), copies[i]}); err != nil {
			return err
		}
	}
	s.facts.raise(target, copies[len(copies)-1]+1, 0)
	return nil
}

// content is a new message, different from all others.
func content(unique, lines int) string {
	return fmt.Sprintf("From: Stress <stress@example.org>\r\nSubject: stress %d\r\nMessage-ID: <%d@stress.example.org>\r\n\r\n%s", unique, unique, strings.Repeat(fmt.Sprintf("line of %d\r\n", unique), lines))
}

func (s *session) literal() (text, command string) {
	text = content(s.random.Int(), s.random.IntN(100))
	flags := []string{"", `(\Seen) `, `(\Flagged Shared) `}[s.random.IntN(3)]
	return text, fmt.Sprintf("%s{%d+}\r\n%s", flags, len(text), text)
}

func (s *session) add() error {
	text, argument := s.literal()
	return s.append(argument, text)
}

// addSeveral is MULTIAPPEND (RFC 3502).
func (s *session) addSeveral() error {
	one, first := s.literal()
	two, second := s.literal()
	return s.append(first+" "+second, one, two)
}

func (s *session) append(arguments string, texts ...string) error {
	target := boxes[s.random.IntN(len(boxes))]
	status, err := s.command("APPEND "+target+" "+arguments, telling{expunge: true}, false)
	if err != nil {
		return err
	}
	uids, ok := code(status, "APPENDUID ")
	if !ok || len(uids) != 2 {
		return violation("APPEND without APPENDUID: %s", status)
	}
	validity, _ := strconv.ParseUint(uids[0], 10, 32)
	added := numbers(uids[1])
	if len(added) != len(texts) {
		return violation("APPENDUID names %d messages of %d", len(added), len(texts))
	}
	for i, text := range texts {
		if err := s.facts.hasContent(message{target, uint32(validity), added[i]}, text); err != nil {
			return err
		}
	}
	s.facts.raise(target, added[len(added)-1]+1, 0)
	return nil
}

func (s *session) idle() error {
	tag, err := s.begin("IDLE")
	if err != nil {
		return err
	}
	for {
		line, err := s.conn.receive()
		if err != nil {
			return err
		}
		if strings.HasPrefix(line, "+") {
			break
		}
		if err := s.hear(line, telling{expunge: true}); err != nil {
			return err
		}
	}
	pause(context.Background(), s.random.IntN(30))
	if err := s.conn.write("DONE"); err != nil {
		return err
	}
	_, err = s.finish(tag, telling{expunge: true}, false)
	return err
}

func pause(ctx context.Context, milliseconds int) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(milliseconds)*time.Millisecond)
	defer cancel()
	<-ctx.Done()
}

func (s *session) status() error {
	return s.must("STATUS " + boxes[s.random.IntN(len(boxes))] + " (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ)")
}

// reopen leaves the mailbox in one of several ways, and opens one.
func (s *session) reopen() error {
	way := s.random.IntN(4)
	if s.qresync && way < 2 {
		return s.resync()
	}
	if way == 2 && !s.view.readOnly {
		if err := s.leave("CLOSE"); err != nil { // and expunges
			return err
		}
	} else if way == 3 {
		if err := s.leave("UNSELECT"); err != nil {
			return err
		}
	}
	return s.open(boxes[s.random.IntN(len(boxes))], s.random.IntN(8) == 0)
}

// pipeline sends several commands before it reads: they must be done in order (RFC 9051 5.5).
func (s *session) pipeline() error {
	if s.empty() || s.view.readOnly || slices.Contains(s.view.uids, 0) {
		return s.settle()
	}
	uid := s.view.uids[s.random.IntN(len(s.view.uids))]
	own := s.own[s.view.box]
	delete(own, uid)
	var tags []string
	for _, how := range []string{"+FLAGS", "-FLAGS", "+FLAGS"} {
		tag, err := s.begin(fmt.Sprintf("UID STORE %d %s (%s)", uid, how, s.keyword()))
		if err != nil {
			return err
		}
		tags = append(tags, tag)
	}
	all := true
	for _, tag := range tags {
		status, err := s.finish(tag, telling{expunge: true}, true)
		if err != nil {
			return err
		}
		all = all && strings.HasPrefix(status, "OK")
	}
	if all {
		own[uid] = true
	}
	return nil
}
