package imapd

import (
	"cmp"
	"errors"

	"buzon/imapd/wire"
	"buzon/internal/account"
	"buzon/maildir"
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
	// needs are the rights that it takes.
	needs needs
}

// needs are rights on mailboxes (RFC 4314 4). What depends on more than the command is checked where
// that is known: which flags STORE, APPEND and COPY may set, whether FETCH sets \Seen and CLOSE
// expunges, and what LIST, NOTIFY and ESEARCH may find.
type needs struct {
	mailbox  maildir.Rights // on the mailbox that the command names first
	parent   maildir.Rights // on the one above the mailbox that it makes
	selected maildir.Rights // on the selected one
}

// Short names for the table.
const (
	mayRead   = maildir.RightRead
	mayInsert = maildir.RightInsert
	mayDelete = maildir.RightDelete
	mayAdmin  = maildir.RightAdmin
	mayCreate = maildir.RightCreate
	// mayTake is what it takes to remove messages by a command that does not ask for \Deleted
	// (RFC 6851 4.4, RFC 8508 3.4).
	mayTake = maildir.RightDeleted | maildir.RightExpunge
)

// A request is a command being decoded and run.
type request struct {
	*wire.Decoder
	tag  string
	name string
	uid  bool   // the UID form
	code string // response code of the OK
	text string // text of the OK, if not the usual one

	tellsModSeq bool // the OK says from where the client can resynchronise

	needs needs
	tree  account.ID // whose list of mailboxes was changed; "" for the session's own
}

// openNamed opens the mailbox that the command names.
func (s *session) openNamed(r *request, name string) (*maildir.Mailbox, place, maildir.Rights, error) {
	return s.openMailbox(name, r.needs.mailbox)
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
	"CREATE":      {in: loggedIn, run: (*session).create, renames: true, needs: needs{parent: mayCreate}},
	"DELETE":      {in: loggedIn, run: (*session).delete, renames: true, needs: needs{mailbox: mayDelete}},
	"RENAME":      {in: loggedIn, run: (*session).rename, renames: true, needs: needs{mailbox: mayDelete, parent: mayCreate}},
	"STATUS":      {in: loggedIn, run: (*session).status, needs: needs{mailbox: mayRead}},
	"APPEND":      {in: loggedIn, run: (*session).append, needs: needs{mailbox: mayInsert}},
	"SELECT":      {in: loggedIn, run: (*session).selectMailbox, needs: needs{mailbox: mayRead}},
	"EXAMINE":     {in: loggedIn, run: (*session).examine, needs: needs{mailbox: mayRead}},
	"IDLE":        {in: loggedIn, run: (*session).idle, looks: true},

	"COMPRESS":       {in: loggedIn, run: (*session).compress},
	"NOTIFY":         {in: loggedIn, run: (*session).notify, looks: true},
	"ESEARCH":        {in: loggedIn, run: (*session).esearch},
	"GETACL":         {in: loggedIn, run: (*session).getACL, needs: needs{mailbox: mayAdmin}},
	"SETACL":         {in: loggedIn, run: (*session).setACL, needs: needs{mailbox: mayAdmin}},
	"DELETEACL":      {in: loggedIn, run: (*session).deleteACL, needs: needs{mailbox: mayAdmin}},
	"LISTRIGHTS":     {in: loggedIn, run: (*session).listRights, needs: needs{mailbox: mayAdmin}},
	"MYRIGHTS":       {in: loggedIn, run: (*session).myRights}, // any of rightsToAsk
	"GETMETADATA":    {in: loggedIn, run: (*session).getMetadata, needs: needs{mailbox: maildir.RightLookup}},
	"SETMETADATA":    {in: loggedIn, run: (*session).setMetadata, needs: needs{mailbox: maildir.RightLookup}},
	"GENURLAUTH":     {in: loggedIn, run: (*session).genURLAuth}, // r on the mailbox of each URL
	"RESETKEY":       {in: loggedIn, run: (*session).resetKey, needs: needs{mailbox: mayRead}},
	"URLFETCH":       {in: loggedIn, run: (*session).urlFetch}, // what the signer may read
	"GETQUOTA":       {in: loggedIn, run: (*session).getQuota},
	"GETQUOTAROOT":   {in: loggedIn, run: (*session).getQuotaRoot, needs: needs{mailbox: mayRead}},
	"SETQUOTA":       {in: loggedIn, run: (*session).setQuota},
	"UNAUTHENTICATE": {in: loggedIn, run: (*session).unauthenticate},

	"CHECK":        {in: selected, run: (*session).noop, looks: true},
	"CLOSE":        {in: selected, run: (*session).closeMailbox},
	"UNSELECT":     {in: selected, run: (*session).unselect},
	"EXPUNGE":      {in: selected, run: (*session).expunge, looks: true, needs: needs{selected: mayRead | maildir.RightExpunge}},
	"UID EXPUNGE":  {in: selected, run: (*session).uidExpunge, looks: true, needs: needs{selected: mayRead | maildir.RightExpunge}},
	"SEARCH":       {in: selected, run: (*session).search, holdsSeqs: true, bySeq: true, needs: needs{selected: mayRead}},
	"UID SEARCH":   {in: selected, run: (*session).search, needs: needs{selected: mayRead}},
	"CANCELUPDATE": {in: selected, run: (*session).cancelUpdate},
	"SORT":         {in: selected, run: (*session).sort, holdsSeqs: true, bySeq: true, needs: needs{selected: mayRead}},
	"UID SORT":     {in: selected, run: (*session).sort, needs: needs{selected: mayRead}},
	"THREAD":       {in: selected, run: (*session).thread, holdsSeqs: true, bySeq: true, needs: needs{selected: mayRead}},
	"UID THREAD":   {in: selected, run: (*session).thread, needs: needs{selected: mayRead}},
	"FETCH":        {in: selected, run: (*session).fetch, holdsSeqs: true, bySeq: true, needs: needs{selected: mayRead}},
	"UID FETCH":    {in: selected, run: (*session).fetch, needs: needs{selected: mayRead}},
	"STORE":        {in: selected, run: (*session).store, holdsSeqs: true, bySeq: true, needs: needs{selected: mayRead}},
	"UID STORE":    {in: selected, run: (*session).store, needs: needs{selected: mayRead}},
	"REPLACE":      {in: selected, run: (*session).replace, bySeq: true, needs: needs{mailbox: mayInsert, selected: mayRead | mayTake}},
	"UID REPLACE":  {in: selected, run: (*session).replace, needs: needs{mailbox: mayInsert, selected: mayRead | mayTake}},
	"COPY":         {in: selected, run: (*session).copy, bySeq: true, needs: needs{mailbox: mayInsert, selected: mayRead}},
	"UID COPY":     {in: selected, run: (*session).copy, needs: needs{mailbox: mayInsert, selected: mayRead}},
	"MOVE":         {in: selected, run: (*session).move, bySeq: true, needs: needs{mailbox: mayInsert, selected: mayRead | mayTake}},
	"UID MOVE":     {in: selected, run: (*session).move, needs: needs{mailbox: mayInsert, selected: mayRead | mayTake}},
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
	r.needs = cmd.needs
	if err == nil && cmd.needs.selected != 0 {
		err = s.permitSelected(cmd.needs.selected)
	}
	if err == nil {
		err = cmd.run(s, r)
	}
	return s.conclude(r, cmd, err)
}

// conclude answers a command that has run, err being what came of it.
func (s *session) conclude(r *request, cmd command, err error) error {
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
		if r.tellsModSeq {
			r.code = s.highestModSeqCode()
		}
	}
	s.tellAnnotations()
	if cmd.renames && err == nil {
		s.srv.sessions.poke(cmp.Or(r.tree, s.account.ID))
	}
	return s.answer(r, err)
}

// errUIDRequired is RFC 9586 3.
var errUIDRequired = &badError{"UIDREQUIRED", "Message numbers are not used after ENABLE UIDONLY"}

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
		return command{}, errUIDRequired
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
