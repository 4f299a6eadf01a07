package imapd

import (
	"math"
	"slices"

	"buzon/imapd/wire"
	"buzon/internal/message"
	"buzon/maildir"
)

// A fetchItem is one thing that FETCH tells of a message.
type fetchItem uint8

const (
	itemFlags fetchItem = iota
	itemUID
	itemInternalDate
	itemSize
	itemModSeq
	itemEmailID
	itemThreadID
	itemSaveDate
	itemEnvelope
	itemBody
	itemBodyStructure
	itemPreview
	itemSection // BODY[…], RFC822…, BINARY[…]
)

// fetchNames are the items without arguments (RFC 9051 6.4.5, RFC 7162, RFC 8474, RFC 8514).
var fetchNames = map[string]fetchItem{
	"FLAGS": itemFlags, "UID": itemUID, "INTERNALDATE": itemInternalDate, "RFC822.SIZE": itemSize, "MODSEQ": itemModSeq,
	"EMAILID": itemEmailID, "THREADID": itemThreadID, "SAVEDATE": itemSaveDate, "ENVELOPE": itemEnvelope, "BODYSTRUCTURE": itemBodyStructure,
	"PREVIEW": itemPreview,
}

// fetchMacros stand alone (RFC 9051 6.4.5).
var fetchMacros = map[string][]fetchItem{
	"ALL":  {itemFlags, itemInternalDate, itemSize, itemEnvelope},
	"FAST": {itemFlags, itemInternalDate, itemSize},
	"FULL": {itemFlags, itemInternalDate, itemSize, itemEnvelope, itemBody},
}

// A fetchOrder is what FETCH is asked for.
type fetchOrder struct {
	set      wire.Set
	items    []fetchItem
	sections []section // of the itemSection items, in order

	changedSince maildir.ModSeq
	changedOnly  bool // CHANGEDSINCE was given
	vanished     bool // RFC 7162 3.2.6
	partial      *partialRange
	lazyPreview  bool
}

// marksSeen says whether fetching marks messages as read.
func (o *fetchOrder) marksSeen() bool {
	return slices.ContainsFunc(o.sections, func(sec section) bool { return sec.marksSeen })
}

func (o *fetchOrder) has(item fetchItem) bool { return slices.Contains(o.items, item) }

// itemDepths say how much of a message must be parsed for an item that the store keeps.
var itemDepths = map[fetchItem]maildir.Depth{
	itemEnvelope: maildir.ParseEnvelope, itemBody: maildir.ParseAll, itemBodyStructure: maildir.ParseAll, itemPreview: maildir.ParsePreview,
}

// rendered says whether something is asked for that the store keeps as it is sent, and how much of
// a message must be parsed for that.
func (o *fetchOrder) rendered() (depth maildir.Depth, any bool) {
	for _, item := range o.items {
		if d, ok := itemDepths[item]; ok {
			depth, any = max(depth, d), true
		}
	}
	return depth, any
}

// parsed is rendered, with what the store keeps of headers.
func (o *fetchOrder) parsed() (depth maildir.Depth, any bool) {
	depth, any = o.rendered()
	return depth, any || slices.ContainsFunc(o.sections, func(sec section) bool { return sec.cached })
}

func (o *fetchOrder) add(item fetchItem) {
	if item == itemSection || !o.has(item) {
		o.items = append(o.items, item)
	}
}

// A section is a piece of a message's content: BODY[…], BINARY[…], or one of the old names.
type section struct {
	label     string // as it is answered, up to and with "]"
	marksSeen bool
	binary    bool // decoded, RFC 3516; of headers too, as Dovecot has it
	sizeOnly  bool // BINARY.SIZE
	nonPart   bool // RFC822 and its kind: never NIL

	path   []int
	what   message.Specifier
	fields *message.FieldFilter // of HEADER.FIELDS and HEADER.FIELDS.NOT
	cached bool                 // the fields are among those that the store keeps at hand

	partial      bool
	offset, size int64
}

// header says whether the section can be had from the message's own header alone.
func (sec *section) header() bool { return len(sec.path) == 0 && sec.what == message.Head }

// readFetch reads the arguments of FETCH (RFC 9051 section 9, fetch).
func (s *session) readFetch(r *request) (*fetchOrder, error) {
	o := &fetchOrder{set: r.SP().Set()}
	r.SP()
	if r.Peek() == '(' {
		r.List(func() { o.readItem(r, false) })
		if len(o.items) == 0 {
			r.Fail("expected FETCH items")
		}
	} else {
		o.readItem(r, true)
	}
	if r.Is(' ') {
		r.List(func() { o.readModifier(s, r) })
	}
	if err := r.End(); err != nil {
		return nil, err
	}
	if o.vanished && (!o.changedOnly || !r.uid || !s.has(qresync)) {
		return nil, bad("VANISHED needs UID FETCH with CHANGEDSINCE, after ENABLE QRESYNC") // RFC 7162 3.2.6
	}
	if r.uid && !o.has(itemUID) {
		o.items = slices.Insert(o.items, 0, itemUID)
	}
	if o.changedOnly || o.has(itemModSeq) {
		s.enableCondstore() // RFC 7162 3.1
	}
	if o.changedOnly {
		o.add(itemModSeq)
	}
	return o, nil
}

func (o *fetchOrder) readItem(r *request, alone bool) {
	name := r.Name()
	if macro, ok := fetchMacros[name]; ok && alone {
		o.items = append(o.items, macro...)
		return
	}
	if item, ok := fetchNames[name]; ok {
		o.add(item)
		if item == itemPreview && r.Peek() == ' ' && !alone {
			o.readLazy(r)
		}
		return
	}
	if name == "BODY" && r.Peek() != '[' {
		o.add(itemBody)
		return
	}
	sec, ok := oldSections[name]
	if !ok {
		if sec, ok = newSections[name]; !ok || !r.Is('[') {
			r.Fail("no such FETCH item")
			return
		}
		sec.readSpec(r)
		sec.readPartial(r)
	}
	o.add(itemSection)
	o.sections = append(o.sections, sec)
}

// readLazy reads the modifier of PREVIEW (RFC 8970 3.2): PREVIEW (LAZY). The list it stands in goes
// on behind.
func (o *fetchOrder) readLazy(r *request) {
	// The space before "(" belongs to the modifier; before another item it belongs to the list,
	// whose next element cannot begin so.
	if r.PeekAt(1) != '(' {
		return
	}
	r.SP().List(func() {
		if r.Word() != "LAZY" {
			r.Fail("expected LAZY")
		}
	})
	o.lazyPreview = true
}

// oldSections are the names of RFC 3501 for what BODY[…] says better.
var oldSections = map[string]section{
	"RFC822":        {label: "RFC822", marksSeen: true, nonPart: true},
	"RFC822.HEADER": {label: "RFC822.HEADER", what: message.Head, nonPart: true},
	"RFC822.TEXT":   {label: "RFC822.TEXT", what: message.Text, marksSeen: true, nonPart: true},
}

var newSections = map[string]section{
	"BODY":        {label: "BODY", marksSeen: true},
	"BODY.PEEK":   {label: "BODY"},
	"BINARY":      {label: "BINARY", marksSeen: true, binary: true},
	"BINARY.PEEK": {label: "BINARY", binary: true},
	"BINARY.SIZE": {label: "BINARY.SIZE", binary: true, sizeOnly: true},
}

// deepest is more parts within parts than any message may have (message.MaxDepth).
const deepest = message.MaxDepth + 1

// readSpec reads what stands between "[" and "]" (RFC 9051 section 9: section-spec).
func (sec *section) readSpec(r *request) {
	label := []byte(sec.label + "[")
	for c := r.Peek(); c >= '1' && c <= '9'; c = r.Peek() {
		n := r.NZNumber()
		if len(sec.path) < deepest {
			sec.path = append(sec.path, int(min(n, 1<<30)))
		}
		label = wire.AppendList(label, []uint32{n})
		if !r.Is('.') {
			break
		}
		label = append(label, '.')
	}
	switch c := r.Peek(); {
	case c == ']':
		if n := len(label); n > 0 && label[n-1] == '.' {
			r.Fail("a section cannot end in a dot")
		}
	case len(sec.path) > 0 && label[len(label)-1] != '.':
		r.Fail("expected ]")
	default:
		label = sec.readText(r, label)
	}
	r.Expect(']')
	sec.label = string(append(label, ']'))
}

// readText reads HEADER, HEADER.FIELDS, TEXT or MIME.
func (sec *section) readText(r *request, label []byte) []byte {
	name := r.Name()
	label = append(label, name...)
	switch name {
	case "HEADER":
		sec.what = message.Head
	case "TEXT":
		sec.what = message.Text
	case "MIME":
		sec.what = message.MIME
		if len(sec.path) == 0 {
			r.Fail("MIME is of a part")
		}
	case "HEADER.FIELDS", "HEADER.FIELDS.NOT":
		sec.what = message.Head
		label = append(label, " ("...)
		var fields []string
		sec.cached = name == "HEADER.FIELDS"
		r.SP().List(func() {
			field := r.AString()
			if len(fields) > 0 {
				label = append(label, ' ')
			}
			fields = append(fields, field)
			sec.cached = sec.cached && isCached(field)
			if wire.IsAtom(field) {
				label = append(label, field...)
			} else {
				label = wire.AppendString(label, field, false)
			}
		})
		label = append(label, ')')
		if len(fields) == 0 {
			r.Fail("expected header fields")
		}
		sec.fields = message.NewFieldFilter(fields, name == "HEADER.FIELDS.NOT")
	default:
		r.Fail("no such section")
	}
	return label
}

// readPartial reads <offset.size>; the answer names the offset only.
func (sec *section) readPartial(r *request) {
	if sec.sizeOnly || !r.Is('<') {
		return
	}
	sec.partial = true
	sec.offset = r.Number64()
	if sec.size = math.MaxInt64; r.Peek() != '>' { // without a size: to the end, as Dovecot has it
		sec.size = r.Expect('.').Number64()
	}
	if sec.size == 0 {
		r.Fail("a size of zero")
	}
	r.Expect('>')
	sec.label += "<" + number(sec.offset) + ">"
}

// readModifier reads one of (CHANGEDSINCE n VANISHED).
func (o *fetchOrder) readModifier(s *session, r *request) {
	switch r.Word() {
	case "CHANGEDSINCE":
		o.changedOnly = true
		o.changedSince = maildir.ModSeq(r.SP().Number64())
	case "VANISHED":
		o.vanished = true
	case "PARTIAL":
		o.partial = readPartialRange(r)
	default:
		r.Fail("no such FETCH modifier")
	}
}
