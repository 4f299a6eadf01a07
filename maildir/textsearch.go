package maildir

import (
	"errors"
	"io"
	"strings"
	"sync"

	"buzon/internal/message"
	"buzon/maildir/textindex"
)

// A TextQuery asks which messages hold a text.
type TextQuery struct {
	Needle *message.Needle
	// Headers: look into the message's own header and those of its parts; Body: into
	// text parts, and headers of messages within the message (message.VisitTexts).
	Headers, Body bool
	// Field: only in header fields of this name. An empty Needle asks whether there is
	// one.
	Field string
}

func (q TextQuery) inIndex() textindex.Query {
	x := textindex.Query{Texts: []string{q.Needle.Folded}}
	if q.Field != "" {
		x.Texts = append(x.Texts, message.Fold(q.Field+": "))
	}
	if q.Body {
		x.Kinds = append(x.Kinds, textindex.Body)
	}
	if q.Headers {
		x.Kinds = append(x.Kinds, textindex.Header)
	}
	return x
}

// TextVerdict is what the text index says of one message.
type TextVerdict uint8

const (
	TextUnknown TextVerdict = iota // it does not know the message: it must be read
	TextNo                         // the message does not hold the text
	TextMaybe                      // it must be read to tell
	TextYes                        // it holds the text
)

// TextHits is the text index's answer to a query. It is safe for concurrent use.
type TextHits struct {
	Query TextQuery
	index textindex.Query
	in    []textHits
	// Unknown is about how many messages the index does not know.
	Unknown int
}

type textHits struct {
	segment *textSegment
	result  *textindex.Result
}

// FindTexts asks the text index about the messages of s. Without an index it knows
// none of them.
func (m *Mailbox) FindTexts(s *State, q TextQuery) *TextHits {
	h := &TextHits{Query: q, index: q.inIndex(), Unknown: s.Len()}
	x := m.index.Load()
	if x == nil {
		return h
	}
	for _, seg := range x.texts.open() {
		if seg.UIDValidity() != s.validity {
			continue
		}
		r, err := seg.Find(h.index)
		if err != nil {
			if errors.Is(err, textindex.ErrDamaged) {
				x.texts.drop(seg)
			}
			continue // its messages are read
		}
		h.in = append(h.in, textHits{seg, r})
		h.Unknown -= len(seg.UIDs())
	}
	return h
}

// Of returns what is known of a message.
func (h *TextHits) Of(uid UID) TextVerdict {
	for i := range h.in {
		x := &h.in[i]
		n, ok := x.segment.Number(uint32(uid))
		if !ok {
			continue
		}
		switch may, full := x.result.Has(n); {
		case !may:
			return TextNo
		case h.index.Exact() && !full:
			return TextYes
		}
		return TextMaybe
	}
	return TextUnknown
}

// textGatherers is how many searches put what they read into an index at a time:
// each takes up to 40 MiB with its buffers.
const textGatherers = 2

// TextWorth is how many messages are worth a segment: fewer are read in no time.
const TextWorth = 128

// A TextGatherer indexes what a search had to read. It is safe for concurrent use.
type TextGatherer struct {
	files    *textFiles
	validity uint32

	mu      sync.Mutex
	builder *textindex.Builder
	spare   *textindex.Builder // nil: another one is made
	known   map[UID]bool       // those in builder, and those written
}

// GatherTexts begins to index messages of s; nil where the mailbox has no index, or
// others are at it. The caller must Close it.
func (m *Mailbox) GatherTexts(s *State) *TextGatherer {
	x := m.index.Load()
	if x == nil || x.broken.Load() {
		return nil
	}
	select {
	case m.user.store.gatherers <- struct{}{}:
		return &TextGatherer{files: &x.texts, validity: s.validity, builder: &textindex.Builder{}, known: map[UID]bool{}}
	default:
		return nil
	}
}

// add takes a message's trigrams.
func (g *TextGatherer) add(uid UID, grams textindex.Grams) {
	g.mu.Lock()
	if g.known[uid] {
		g.mu.Unlock()
		return
	}
	g.known[uid] = true
	var ready *textindex.Builder
	if g.builder.Add(uint32(uid), grams) {
		ready, g.builder, g.spare = g.builder, g.spare, nil
		if g.builder == nil {
			g.builder = &textindex.Builder{}
		}
	}
	g.mu.Unlock()
	if ready != nil {
		g.write(ready)
		g.mu.Lock()
		g.spare = ready
		g.mu.Unlock()
	}
}

// write writes a segment and empties the builder. An index that cannot be written costs
// time, nothing else.
func (g *TextGatherer) write(b *textindex.Builder) {
	if g.files.add(func(w io.Writer) error { return b.WriteTo(w, g.validity) }, nil) != nil {
		b.Reset()
	}
}

// Close writes what is worth it.
func (g *TextGatherer) Close() {
	if g.builder.Len() >= TextWorth {
		g.write(g.builder)
	}
	<-g.files.mailbox.user.store.gatherers
}

// A TextReader reads the texts of one message after the other for a TextGatherer. It
// is for one goroutine.
type TextReader struct {
	gather    *TextGatherer
	collector textindex.Collector
	pieces    message.FoldReader
	uid       UID // that the collector holds
}

// Reader returns a reader of its own for a goroutine.
func (g *TextGatherer) Reader() *TextReader { return &TextReader{gather: g} }

// May says whether the message may be one of the hits of h, and has it indexed. f is
// the message, open, and root its tree.
func (r *TextReader) May(h *TextHits, uid UID, root *message.Part, f *File) (bool, error) {
	if r.uid != uid {
		r.uid = 0
		if err := r.read(root, f); err != nil {
			return false, err
		}
		r.uid = uid
		r.gather.add(uid, r.collector.Grams())
	}
	return r.collector.May(h.index), nil
}

// read takes all texts of a message.
func (r *TextReader) read(root *message.Part, f *File) error {
	r.collector.Reset()
	_, err := root.VisitTexts(f, true, r)
	return err
}

// Header implements message.TextVisitor.
func (r *TextReader) Header(h *message.Header, inBody bool) bool {
	kind := textindex.Header
	if inBody {
		kind = textindex.Body
	}
	h.EachFolded(func(text []byte) {
		r.collector.Begin(kind)
		r.collector.Write(text)
		r.collector.End()
	})
	return false
}

// Body implements message.TextVisitor.
func (r *TextReader) Body(text io.Reader) (bool, error) {
	r.collector.Begin(textindex.Body)
	defer r.collector.End()
	r.pieces.Reset(text)
	for {
		piece, err := r.pieces.Next()
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		r.collector.Write(piece)
	}
}

// SearchesField says whether the index can tell of a header field called name.
func SearchesField(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool { return r < 0x21 || r >= 0x7f || r == ':' })
}
