package stress

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// session is one connection that believes nothing without holding it against what it was told before.
type session struct {
	*run
	number   int
	random   *rand.Rand
	conn     *conn
	view     *view
	opening  *view // what SELECT opens, until the mailbox before is closed
	selected bool
	own      map[string]map[uint32]bool // by mailbox and UID: whether the keyword that is this session's alone was set
	awaited  map[uint32]bool            // UIDs that the command under way should show
	shown    map[uint32]bool            // UIDs whose flags the last command has shown
	floor    map[string][2]uint64       // UIDNEXT and HIGHESTMODSEQ when the command under way began
	search   []uint32                   // the last SEARCH response
	copyUID  []string                   // the last COPYUID that came untagged
	condsel  bool                       // CONDSTORE from SELECT on
	qresync  bool
	notify   bool   // NOTIFY: news comes between commands too
	above    uint64 // the highest MODSEQ that the command under way has shown since HIGHESTMODSEQ
	showedBy string // by this response
	commands int
	opened   int
}

// session connects, logs in and opens a mailbox. A third of the sessions use QRESYNC, a third CONDSTORE; a quarter hears news between
// commands.
func (r *run) session(number int) (*session, error) {
	s := &session{
		run: r, number: number, random: rand.New(rand.NewPCG(r.Seed, uint64(number))),
		view: &view{}, own: map[string]map[uint32]bool{}, condsel: number%3 == 1, qresync: number%3 == 0, notify: number%4 == 3,
	}
	for _, box := range boxes {
		s.own[box] = map[uint32]bool{}
	}
	err := s.connect()
	if err == nil && number == 0 {
		_, err = s.command("CREATE "+boxes[1], telling{}, true)
	}
	if err == nil {
		err = s.open(boxes[number%2], false)
	}
	if err != nil {
		if s.conn == nil {
			return nil, err
		}
		s.conn.Close()
		return nil, fmt.Errorf("%w\n\t%s", err, strings.Join(s.conn.last(), "\n\t"))
	}
	return s, nil
}

// connect logs in, and says what the session wants to use.
func (s *session) connect() error {
	nc, err := s.Dial()
	if err != nil {
		return err
	}
	var dialogue []string
	if s.conn != nil {
		dialogue = append(s.conn.last(), "(connection lost)")
	}
	s.conn = &conn{Conn: nc, r: bufio.NewReaderSize(nc, 64<<10), dialogue: dialogue}
	if _, err = s.conn.receive(); err == nil {
		err = s.must(fmt.Sprintf("LOGIN %q %q", s.User, s.Password))
	}
	if err == nil && s.qresync {
		err = s.must("ENABLE QRESYNC")
	}
	if err == nil && s.notify { // RFC 5465 6.1.2: expunges wait for a command all the same
		err = s.must("NOTIFY SET (SELECTED-DELAYED (MessageNew (UID " + s.items() + ") MessageExpunge FlagChange))")
	}
	return err
}

// reconnect loses the connection, with whatever was on its way, and makes another.
func (s *session) reconnect() error {
	s.conn.Close()
	known := s.view
	s.view, s.selected = &view{}, false
	defer func() { s.view = known }()
	return s.connect()
}

// keyword is set and taken away by this session alone.
func (s *session) keyword() string { return "Own" + strconv.Itoa(s.number) }

// must runs a command that cannot fail, and that may tell of expunged messages.
func (s *session) must(text string) error {
	_, err := s.command(text, telling{expunge: true}, false)
	return err
}

// command runs a command and returns its tagged status: "OK [...] ...". NO is an error unless the command may fail, as one may that asks
// for a message that is gone; BAD always is.
func (s *session) command(text string, may telling, mayFail bool) (status string, err error) {
	tag, err := s.begin(text)
	if err != nil {
		return "", err
	}
	if status, err = s.finish(tag, may, mayFail); err == nil {
		err = s.silent()
	}
	return status, err
}

func (s *session) begin(text string) (tag string, err error) {
	s.floor = map[string][2]uint64{}
	for _, box := range boxes {
		next, highest := s.facts.seen(box)
		s.floor[box] = [2]uint64{uint64(next), highest}
	}
	return s.conn.send(text)
}

func (s *session) finish(tag string, may telling, mayFail bool) (status string, err error) {
	for {
		line, err := s.conn.receive()
		if err != nil {
			return "", err
		}
		if rest, ok := strings.CutPrefix(line, tag+" "); ok {
			status = rest
			break
		}
		if err := s.hear(line, may); err != nil {
			return "", err
		}
	}
	s.commands++
	if s.above > s.view.highest {
		s.view.highest, s.view.raised = s.above, s.showedBy
	}
	s.above = 0
	if hm, ok := code(status, "HIGHESTMODSEQ "); ok && len(hm) == 1 {
		s.view.highest, _ = strconv.ParseUint(hm[0], 10, 64)
		s.view.raised = s.during(tag + " " + status)
	}
	if !strings.HasPrefix(status, "OK") && !(mayFail && strings.HasPrefix(status, "NO")) {
		return status, violation("%s %s", tag, status)
	}
	return status, nil
}

// silent holds the server to sending no EXPUNGE where no command is in progress (RFC 9051 7.5.1).
func (s *session) silent() error {
	waiting, _ := s.conn.r.Peek(s.conn.r.Buffered())
	if bytes.Contains(waiting, []byte(" EXPUNGE\r\n")) || bytes.Contains(waiting, []byte("* VANISHED ")) {
		return violation("between commands: %q", waiting)
	}
	return nil
}

// told takes in what SELECT or STATUS says of a mailbox: no number there ever becomes less.
func (s *session) told(box string, next, highest uint64) error {
	floor := s.floor[box]
	if next != 0 && next < floor[0] {
		return violation("UIDNEXT of %s is %d, and was %d before", box, next, floor[0])
	}
	if highest != 0 && highest < floor[1] {
		return violation("HIGHESTMODSEQ of %s is %d, and was %d before", box, highest, floor[1])
	}
	s.facts.raise(box, uint32(next), highest)
	return nil
}

// open selects a mailbox and learns what is in it.
func (s *session) open(box string, readOnly bool) error {
	s.fresh(box, readOnly)
	command := "SELECT "
	if readOnly {
		command = "EXAMINE "
	}
	command += box
	if s.condsel {
		command += " (CONDSTORE)"
	}
	if err := s.must(command); err != nil {
		return err
	}
	return s.learn(1)
}

// fresh begins a view. Up to CLOSED, what is heard is about the mailbox before (RFC 9051 7.1).
func (s *session) fresh(box string, readOnly bool) {
	s.opened++
	s.opening = &view{
		box: box, readOnly: readOnly, number: s.number*1_000_000 + s.opened,
		flags: map[uint32]string{}, modseq: map[uint32]uint64{}, by: map[uint32]string{}, missing: map[uint32]bool{},
	}
	if !s.selected {
		s.view = s.opening
	}
	s.selected = true
}

// leave closes the mailbox by CLOSE or UNSELECT.
func (s *session) leave(how string) error {
	err := s.must(how)
	s.selected = false
	return err
}

// learn asks for the messages from a sequence number on.
func (s *session) learn(from int) error {
	if from > len(s.view.uids) {
		return nil
	}
	items := "(UID FLAGS)"
	if s.condsel || s.qresync {
		items = "(UID FLAGS MODSEQ)"
	}
	_, err := s.command(fmt.Sprintf("FETCH %d:* %s", from, items), telling{}, true)
	return err
}

// settle brings the view up to date. What was left out of answers must be gone by now.
func (s *session) settle() error {
	for range 5 {
		if err := s.must("NOOP"); err != nil {
			return err
		}
		for uid := range s.view.missing {
			return violation("%d was left out of an answer, and is not gone", uid)
		}
		from := s.view.unlearned()
		if from < 0 {
			return nil
		}
		if err := s.learn(from + 1); err != nil {
			return err
		}
	}
	return nil // new ones come all the time
}

// fetchBodies has all contents held against what they were.
func (s *session) fetchBodies() error {
	if len(s.view.uids) == 0 {
		return nil
	}
	return s.must("UID FETCH 1:* (UID BODY.PEEK[])")
}

// resync closes the mailbox, or loses its connection, and opens it again from what is known of it (RFC 7162 3.2.5): the last
// HIGHESTMODSEQ, or a higher MODSEQ that came afterwards. Half of the time it has not been told before of what is gone, but of
// everything else.
func (s *session) resync() error {
	news := s.settle
	if s.random.IntN(2) == 0 {
		news = func() error { return s.learn(1) }
	}
	if err := news(); err != nil || s.view.unlearned() >= 0 {
		return err
	}
	leave := func() error { return s.leave("UNSELECT") }
	if s.random.IntN(4) == 0 {
		leave = s.reconnect
	}
	if err := leave(); err != nil {
		return err
	}
	known, since := s.view, s.view.highest
	if known.unlearned() >= 0 { // EXISTS came last: what is above is not known
		return s.open(known.box, false)
	}
	s.fresh(known.box, false)
	s.view.flags, s.view.modseq = known.flags, known.modseq
	_, err := s.command(fmt.Sprintf("SELECT %s (QRESYNC (%d %d))", known.box, known.validity, since), telling{expunge: true, earlier: true}, false)
	if err != nil {
		return err
	}
	v, told, toldBy, upTo := s.view, maps.Clone(s.view.flags), maps.Clone(s.view.by), s.view.highest
	if err := s.learn(1); err != nil {
		return err
	}
	unknown := 0
	for _, uid := range v.uids {
		switch flags, ok := told[uid]; {
		case uid == 0:
			unknown++
		case uid >= v.next: // EXISTS told of its arrival, after what SELECT owes: nothing more must come unasked
		case !ok && v.modseq[uid] <= upTo:
			return violation("QRESYNC from %d says nothing of %d: %s; %d is of %s", since, uid, v.by[uid], since, known.raised)
		case v.modseq[uid] <= upTo && flags != v.flags[uid]:
			return violation("QRESYNC from %d leaves %d with (%s), which is of %s; it has (%s): %s; %d is of %s",
				since, uid, flags, cmp.Or(toldBy[uid], known.by[uid]), v.flags[uid], v.by[uid], since, known.raised)
		}
		delete(told, uid)
	}
	if len(told) > unknown {
		return violation("QRESYNC from %d does not say that %v are gone; %d is of %s", since, slices.Sorted(maps.Keys(told)), since, known.raised)
	}
	for uid := range told {
		delete(v.flags, uid)
		delete(v.modseq, uid)
	}
	return nil
}
