package imapd

import (
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"buzon/imapd/wire"
	"buzon/maildir"
)

// METADATA and METADATA-SERVER (RFC 5464). An entry is named /shared/… or /private/…; private ones
// are the account's own. The store keeps them; what is computed stands here: a mailbox's special use
// (RFC 6154 4) and whom to ask about the server.

const (
	sharedScope      = "/shared"
	privateScope     = "/private"
	specialUseEntry  = "/private/specialuse"
	serverAdminEntry = "/shared/admin"
	serverMailbox    = "" // how METADATA names the server

	mostEntries   = 200     // in one command
	metadataBytes = 1 << 20 // of all values of one SETMETADATA
)

// A metadataQuery is what GETMETADATA and LIST RETURN (METADATA …) ask for.
type metadataQuery struct {
	entries []string // lower case, with their scope
	depth   int      // levels below an entry; −1: all
	maxSize int64    // −1: any
	longest int64    // of the values that were too long
}

// anyDepth is DEPTH infinity.
const anyDepth = -1

// getMetadata is GETMETADATA (RFC 5464 4.2). Its examples have the options behind the mailbox, its
// grammar in front; clients do either.
func (s *session) getMetadata(r *request) error {
	q := newMetadataQuery()
	if r.SP().Peek() == '(' {
		q.readOptions(r)
		r.SP()
	}
	name := r.Mailbox()
	for r.Is(' ') {
		switch {
		case r.Peek() == '(' && len(q.entries) == 0 && r.PeekAt(1) != '/' && r.PeekAt(1) != '"':
			q.readOptions(r)
		case r.Peek() == '(':
			r.List(func() { q.readEntry(r) })
		default:
			q.readEntry(r)
		}
	}
	if len(q.entries) == 0 {
		r.Fail("expected an entry")
	}
	if err := r.End(); err != nil {
		return err
	}
	if err := s.writeMetadata(name, q); err != nil {
		return err
	}
	if q.longest > 0 { // RFC 5464 4.2.1
		r.code = "METADATA LONGENTRIES " + strconv.FormatInt(q.longest, 10)
	}
	return nil
}

func newMetadataQuery() *metadataQuery { return &metadataQuery{maxSize: -1} }

func (q *metadataQuery) readOptions(r *request) {
	r.List(func() {
		switch r.Word() {
		case "MAXSIZE":
			q.maxSize = int64(r.SP().Number())
		case "DEPTH":
			switch r.SP().Word() {
			case "0":
				q.depth = 0
			case "1":
				q.depth = 1
			case "INFINITY":
				q.depth = anyDepth
			default:
				r.Fail("expected 0, 1 or infinity")
			}
		default:
			r.Fail("no such option")
		}
	})
}

func (q *metadataQuery) readEntry(r *request) {
	entry := strings.ToLower(r.AString())
	if err := checkEntry(entry); err != "" {
		r.Fail(err)
	}
	if len(q.entries) == mostEntries {
		r.Fail("too many entries")
	}
	if !slices.Contains(q.entries, entry) {
		q.entries = append(q.entries, entry)
	}
}

// checkEntry says what is wrong with an entry's name (RFC 5464 3.2); it is in lower case.
func checkEntry(entry string) string {
	scope, name := cutScope(entry)
	switch {
	case scope == "":
		return "entries begin with /private or /shared"
	case len(name) > maildir.MaxAnnotationName:
		return "the entry's name is too long"
	case strings.HasSuffix(entry, "/"), strings.Contains(entry, "//"):
		return "an entry's name has no empty parts"
	}
	for i := range len(entry) {
		if c := entry[i]; c < ' ' || c >= 0x7f || c == '*' || c == '%' {
			return "a character that no entry's name has"
		}
	}
	return ""
}

// cutScope cuts /private/comment into /private and /comment.
func cutScope(entry string) (scope, name string) {
	for _, scope := range []string{sharedScope, privateScope} {
		if name, ok := strings.CutPrefix(entry, scope); ok && (name == "" || name[0] == '/') {
			return scope, name
		}
	}
	return "", ""
}

// takes says whether the query asks for entry.
func (q *metadataQuery) takes(entry string) bool {
	return slices.ContainsFunc(q.entries, func(asked string) bool {
		below, ok := strings.CutPrefix(entry, asked)
		switch {
		case !ok || below != "" && below[0] != '/':
			return false
		case below == "" || q.depth == anyDepth:
			return true
		}
		return strings.Count(below, "/") <= q.depth
	})
}

// An entryValue is an entry as it is shown.
type entryValue struct {
	entry, value string
	none         bool
}

// writeMetadata answers the query for one mailbox, or for the server. An entry that was named and
// does not exist is NIL.
func (s *session) writeMetadata(name string, q *metadataQuery) error {
	all, err := s.metadataOf(name, q)
	if err != nil {
		return err
	}
	var shown []entryValue
	for _, asked := range q.entries {
		if i := slices.IndexFunc(all, func(e entryValue) bool { return e.entry == asked }); i < 0 && q.depth == 0 {
			shown = append(shown, entryValue{entry: asked, none: true})
		}
	}
	for _, e := range all {
		switch {
		case !q.takes(e.entry):
		case q.maxSize >= 0 && int64(len(e.value)) > q.maxSize:
			q.longest = max(q.longest, int64(len(e.value)))
		default:
			shown = append(shown, e)
		}
	}
	if len(shown) == 0 {
		return nil
	}
	slices.SortFunc(shown, func(a, b entryValue) int { return strings.Compare(a.entry, b.entry) })
	s.enc.Raw("* METADATA ").Mailbox(name).Raw(" (")
	for i, e := range shown {
		if i > 0 {
			s.enc.SP()
		}
		s.writeEntry(e.entry)
		s.enc.SP()
		s.writeEntryValue(e)
	}
	s.enc.Raw(")\r\n")
	return nil
}

func (s *session) writeEntry(entry string) {
	if wire.IsAtom(entry) {
		s.enc.Raw(entry)
	} else {
		s.enc.String(entry)
	}
}

// writeEntryValue writes nstring / literal8 (RFC 5464 5).
func (s *session) writeEntryValue(e entryValue) {
	if strings.IndexByte(e.value, 0) >= 0 {
		s.enc.Raw("~").Literal(int64(len(e.value))).Bytes([]byte(e.value))
		return
	}
	s.enc.NString(e.value, !e.none)
}

// metadataOf collects the entries that the account may see.
func (s *session) metadataOf(name string, q *metadataQuery) ([]entryValue, error) {
	p, _, err := s.permittedMetadata(name)
	if err != nil {
		return nil, err
	}
	notes, err := p.user.Annotations(s.ctx, p.name)
	if err != nil {
		return nil, err
	}
	var all []entryValue
	for _, n := range notes {
		switch n.Owner {
		case "":
			all = append(all, entryValue{entry: sharedScope + n.Name, value: n.Value})
		case string(s.account.ID):
			all = append(all, entryValue{entry: privateScope + n.Name, value: n.Value})
		}
	}
	if name == serverMailbox {
		admin := "mailto:postmaster@" + s.account.ID.Domain() // every host has one, RFC 5321 4.5.1
		return append(all, entryValue{entry: serverAdminEntry, value: admin}), nil
	}
	if q.takes(specialUseEntry) && !p.guest {
		use, err := p.user.SpecialUse(p.name)
		if err != nil {
			return nil, err
		}
		if use != "" {
			all = append(all, entryValue{entry: specialUseEntry, value: use})
		}
	}
	return all, nil
}

// permittedMetadata locates the mailbox that annotations are about. One needs l and a right to do
// something with its messages (RFC 5464 3.3).
func (s *session) permittedMetadata(name string) (place, maildir.Rights, error) {
	if name == serverMailbox {
		return place{user: s.user, owner: s.account.ID}, maildir.AllRights, nil
	}
	p, have, err := s.permitted(name, maildir.RightLookup)
	const some = mayRead | maildir.RightSeen | maildir.RightWrite | mayInsert | maildir.RightPost
	if err == nil && have&some == 0 {
		err = errNoPermission
	}
	return p, have, err
}

// setMetadata is SETMETADATA (RFC 5464 4.3). All is read and checked before anything is changed.
func (s *session) setMetadata(r *request) error {
	name := r.SP().Mailbox()
	o := &metadataOrder{}
	var failed error
	r.SP().List(func() {
		entry := strings.ToLower(r.AString())
		if err := checkNewEntry(entry); err != "" {
			r.Fail(err)
		}
		if err := o.readValue(r.SP(), entry); failed == nil {
			failed = err
		}
	})
	if failed != nil {
		return failed // a literal that was not accepted: nothing more can be read
	}
	if len(o.entries) == 0 {
		r.Fail("expected an entry")
	}
	if err := r.End(); err != nil {
		return err
	}
	return s.applyMetadata(name, o)
}

// A metadataOrder is what SETMETADATA is asked to do.
type metadataOrder struct {
	entries []entryValue
	bytes   int
}

// checkNewEntry is stricter than checkEntry: RFC 5464 3.2.
func checkNewEntry(entry string) string {
	if err := checkEntry(entry); err != "" {
		return err
	}
	_, name := cutScope(entry)
	switch parts := strings.Count(name, "/"); {
	case parts == 0:
		return "the entry's name needs two parts"
	case parts < 3 && strings.HasPrefix(name+"/", "/vendor/"):
		return "a vendor's entry needs four parts"
	}
	return ""
}

var errMetadataTooBig = no("METADATA MAXSIZE "+strconv.Itoa(maildir.MaxAnnotationValue), "The value is too big")

var errMetadataTooMany = no("METADATA TOOMANY", "Too many annotations")

// readValue reads NIL, a string or a literal8. One that is too big is refused before the client
// sends it, if it waits for that.
func (o *metadataOrder) readValue(r *wire.Decoder, entry string) error {
	e := entryValue{entry: entry}
	switch c := r.Peek(); c {
	case '{', '~':
		l := r.Literal()
		if r.Err() != nil {
			return nil
		}
		if l.Size > maildir.MaxAnnotationValue {
			return errMetadataTooBig
		}
		if o.bytes += int(l.Size); o.bytes > metadataBytes || len(o.entries) == mostEntries {
			return errMetadataTooMany
		}
		if err := l.Accept(); err != nil {
			return err
		}
		var content io.Reader = l
		if !l.Binary {
			content = noNUL{l}
		}
		value, err := io.ReadAll(content)
		if err != nil {
			return err
		}
		e.value = string(value)
	default:
		value, ok := r.NString()
		if r.Err() != nil {
			return nil
		}
		e.value, e.none = value, !ok
		if len(value) > maildir.MaxAnnotationValue {
			return errMetadataTooBig
		}
	}
	o.entries = append(o.entries, e)
	return nil
}

// applyMetadata makes the changes, and tells other sessions of them.
func (s *session) applyMetadata(name string, o *metadataOrder) error {
	p, have, err := s.permittedMetadata(name)
	if err != nil {
		return err
	}
	var changes []maildir.AnnotationChange
	var use *entryValue
	for i, e := range o.entries {
		scope, entry := cutScope(e.entry)
		switch {
		case name == serverMailbox && scope == sharedScope:
			return no("NOPERM", "What is said of the server is the administrator's to say")
		case scope == sharedScope && !have.Has(maildir.RightWrite):
			return errNoPermission
		case e.entry == specialUseEntry && p.guest:
			return no("CANNOT", "What a mailbox is for is its owner's to say")
		case e.entry == specialUseEntry && name != serverMailbox:
			use = &o.entries[i]
			continue
		}
		c := maildir.AnnotationChange{Annotation: maildir.Annotation{Name: entry, Value: e.value}, Remove: e.none}
		if scope == privateScope {
			c.Owner = string(s.account.ID)
		}
		changes = append(changes, c)
	}
	if use != nil {
		if err := s.setSpecialUse(p, *use); err != nil {
			return err
		}
	}
	changed, err := p.user.Annotate(s.ctx, p.name, changes)
	if errors.Is(err, maildir.ErrLimit) {
		return errMetadataTooMany
	}
	if err != nil {
		return err
	}
	s.srv.sessions.annotated(s, p, changed)
	return nil
}

// setSpecialUse changes what the mailbox is for (RFC 6154 4).
func (s *session) setSpecialUse(p place, e entryValue) error {
	use := strings.TrimSpace(e.value)
	if use != "" {
		i := slices.IndexFunc(specialUses, func(known string) bool { return strings.EqualFold(known, use) })
		if i < 0 {
			return no("CANNOT", "No such special use")
		}
		use = specialUses[i]
	}
	if err := p.user.SetSpecialUse(s.ctx, p.name, use); err != nil {
		return err
	}
	s.srv.sessions.annotated(s, p, []maildir.Annotation{{Owner: string(s.account.ID), Name: "/specialuse"}})
	s.srv.sessions.poke(s.account.ID)
	return nil
}
