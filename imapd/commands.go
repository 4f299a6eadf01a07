package imapd

import (
	"errors"

	"buzon/imapd/wire"
)

// A state is one of RFC 9051 section 3, or a set of them.
type state uint8

const (
	notAuthenticated state = 1 << iota
	authenticated
	selected
	loggedOut

	loggedIn = authenticated | selected
	anyState = notAuthenticated | loggedIn
)

// A command is a row of the table: when it may come, and what runs it.
type command struct {
	in  state
	run func(*session, *request) error
	// holdsSeqs: no EXPUNGE may be sent with its answer, since the client may have more commands
	// with sequence numbers on the way (RFC 9051 7.5.1).
	holdsSeqs bool
	// bySeq: it cannot be used after UIDONLY (RFC 9586 3).
	bySeq bool
	// renames: it may change the list of mailboxes, which other sessions may want to know of.
	renames bool
	// looks: it asks for news, so the store looks at the disk before the answer.
	looks bool
}

// A request is a command being decoded and run.
type request struct {
	*wire.Decoder
	tag  string
	name string
	uid  bool   // the UID form
	code string // response code of the OK
	text string // text of the OK, if not the usual one
}

// commands is every command that there is.
var commands = map[string]command{
	"CAPABILITY":   {in: anyState, run: (*session).capability},
	"NOOP":         {in: anyState, run: (*session).noop, looks: true},
	"LOGOUT":       {in: anyState, run: (*session).logout},
	"ID":           {in: anyState, run: (*session).id},
	"STARTTLS":     {in: notAuthenticated, run: (*session).startTLS},
	"AUTHENTICATE": {in: notAuthenticated, run: (*session).authenticate},
	"LOGIN":        {in: notAuthenticated, run: (*session).login},

	"ENABLE":      {in: loggedIn, run: (*session).enable},
	"NAMESPACE":   {in: loggedIn, run: (*session).namespace},
	"LIST":        {in: loggedIn, run: (*session).list},
	"LSUB":        {in: loggedIn, run: (*session).lsub},
	"SUBSCRIBE":   {in: loggedIn, run: (*session).subscribe, renames: true},
	"UNSUBSCRIBE": {in: loggedIn, run: (*session).unsubscribe, renames: true},
	"CREATE":      {in: loggedIn, run: (*session).create, renames: true},
	"DELETE":      {in: loggedIn, run: (*session).delete, renames: true},
	"RENAME":      {in: loggedIn, run: (*session).rename, renames: true},
	"STATUS":      {in: loggedIn, run: (*session).status},
	"APPEND":      {in: loggedIn, run: (*session).append},
	"SELECT":      {in: loggedIn, run: (*session).selectMailbox},
	"EXAMINE":     {in: loggedIn, run: (*session).examine},
	"IDLE":        {in: loggedIn, run: (*session).idle, looks: true},

	"COMPRESS":       {in: loggedIn, run: (*session).compress},
	"NOTIFY":         {in: loggedIn, run: (*session).notify},
	"ESEARCH":        {in: loggedIn, run: (*session).esearch},
	"GETMETADATA":    {in: loggedIn, run: (*session).getMetadata},
	"SETMETADATA":    {in: loggedIn, run: (*session).setMetadata},
	"GETQUOTA":       {in: loggedIn, run: (*session).getQuota},
	"GETQUOTAROOT":   {in: loggedIn, run: (*session).getQuotaRoot},
	"SETQUOTA":       {in: loggedIn, run: (*session).setQuota},
	"UNAUTHENTICATE": {in: loggedIn, run: (*session).unauthenticate},

	"CHECK":        {in: selected, run: (*session).noop, looks: true},
	"CLOSE":        {in: selected, run: (*session).closeMailbox},
	"UNSELECT":     {in: selected, run: (*session).unselect},
	"EXPUNGE":      {in: selected, run: (*session).expunge, looks: true},
	"UID EXPUNGE":  {in: selected, run: (*session).uidExpunge, looks: true},
	"SEARCH":       {in: selected, run: (*session).search, holdsSeqs: true, bySeq: true},
	"UID SEARCH":   {in: selected, run: (*session).search},
	"CANCELUPDATE": {in: selected, run: (*session).cancelUpdate},
	"SORT":         {in: selected, run: (*session).sort, holdsSeqs: true, bySeq: true},
	"UID SORT":     {in: selected, run: (*session).sort},
	"THREAD":       {in: selected, run: (*session).thread, holdsSeqs: true, bySeq: true},
	"UID THREAD":   {in: selected, run: (*session).thread},
	"FETCH":        {in: selected, run: (*session).fetch, holdsSeqs: true, bySeq: true},
	"UID FETCH":    {in: selected, run: (*session).fetch},
	"STORE":        {in: selected, run: (*session).store, holdsSeqs: true, bySeq: true},
	"UID STORE":    {in: selected, run: (*session).store},
	"REPLACE":      {in: selected, run: (*session).replace, bySeq: true},
	"UID REPLACE":  {in: selected, run: (*session).replace},
	"COPY":         {in: selected, run: (*session).copy, bySeq: true},
	"UID COPY":     {in: selected, run: (*session).copy},
	"MOVE":         {in: selected, run: (*session).move, bySeq: true},
	"UID MOVE":     {in: selected, run: (*session).move},
}

// command decodes, runs and answers the command that begins at the decoder. It returns an error
// only when the connection is to end.
func (s *session) command() error {
	r := &request{Decoder: s.dec}
	if r.tag = r.Tag(); r.Err() != nil {
		r.tag = "*" // nothing to answer to: an untagged BAD
	} else if len(r.tag) > longestTag {
		r.tag = "*"
		r.Fail("the tag is too long")
	}
	r.name = r.SP().Word()
	if r.name == "UID" {
		r.uid = true
		r.name = r.SP().Word()
	}
	cmd, err := s.lookup(r)
	if err == nil {
		err = cmd.run(s, r)
	}
	if fatal(err) {
		return err
	}
	if errors.Is(err, errAnswered) {
		return nil
	}
	if e := r.Err(); e != nil && fatal(e) {
		return e
	}
	if e := s.dec.Skip(); e != nil {
		return e
	}
	if s.view != nil {
		if e := s.update(r, cmd); e != nil {
			return e
		}
	}
	s.tellAnnotations()
	if cmd.renames && err == nil {
		s.srv.sessions.poke(s.account.ID)
	}
	return s.answer(r, err)
}

// lookup finds the command's row and checks that it may come now.
func (s *session) lookup(r *request) (command, error) {
	if err := r.Err(); err != nil {
		return command{}, err
	}
	full := r.name
	if r.uid {
		full = "UID " + r.name
	}
	cmd, ok := commands[full]
	switch {
	case !ok:
		s.unknown++
		return command{}, bad("Unknown command")
	case cmd.in&s.state == 0 && s.state == notAuthenticated:
		return command{}, bad("Log in first")
	case cmd.in&s.state == 0 && cmd.in == selected:
		return command{}, bad("No mailbox is selected")
	case cmd.in&s.state == 0:
		return command{}, bad("Not possible after login")
	case cmd.bySeq && s.has(uidOnly):
		return command{}, &badError{"UIDREQUIRED", "Message numbers are not used after ENABLE UIDONLY"}
	}
	return cmd, nil
}

// answer writes the tagged response.
func (s *session) answer(r *request, err error) error {
	if err == nil {
		s.errors = 0
		text := r.text
		if text == "" {
			text = r.name + " completed"
		}
		s.tagged(r.tag, "OK", r.code, text)
		return nil
	}
	status, code, text, known := answerTo(err)
	if !known {
		s.log.Error("command failed", "user", string(s.account.ID), "command", r.name, "err", err)
	}
	s.tagged(r.tag, status, code, text)
	if status == "BAD" {
		s.errors++
	}
	if s.state == notAuthenticated && s.unknown >= unknownBeforeLogin || s.errors >= errorsInARow {
		s.enc.Raw("* BYE Too many errors\r\n")
		return errors.Join(errBye, errors.New("too many errors"))
	}
	return nil
}

func (s *session) tagged(tag, status, code, text string) {
	s.enc.Raw(tag).SP().Raw(status).SP()
	if code != "" {
		s.enc.Raw("[").Raw(code).Raw("] ")
	}
	s.enc.Text(text).CRLF()
}
