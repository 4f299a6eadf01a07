package maildir

import (
	"bytes"
	"slices"

	"buzon/internal/message"
)

// A parseGoal is how much must be known of a message. The Envelope and the keys for
// sorting follow from the fields in Header, so that they are made only when somebody asks:
// the file need not be read for them.
type parseGoal struct {
	depth Depth
	keys  bool
}

// reaches says whether p has what the goal asks for.
func (p *Parsed) reaches(g parseGoal) bool {
	return p.Depth >= g.depth && (!g.keys || len(p.keys) > 0)
}

// complete makes what follows from Header, and reports whether p reaches the goal then.
func (p *Parsed) complete(g parseGoal) bool {
	if p.HeaderCut || p.reaches(g) || g.depth > max(p.Depth, ParseEnvelope) {
		return p.reaches(g)
	}
	env := message.ParseEnvelope(p.Header)
	if p.Depth < g.depth {
		p.setEnvelope(env)
		p.Depth = ParseEnvelope
	}
	if g.keys && len(p.keys) == 0 {
		p.setKeys(env, p.Header)
	}
	return p.reaches(g)
}

// setHeader fills in what raw tells, the message's header. env is what is in it; nil: it may be
// made later, where Header has all of it. cut: raw is not all of the header.
func (p *Parsed) setHeader(raw []byte, env *message.Envelope, cut bool) {
	header := bytes.TrimSuffix(cachedFields.Append(slices.Grow(p.Header[:0], 1024), raw), []byte("\r\n"))
	if len(header) > 0 && !bytes.HasSuffix(header, []byte("\r\n")) {
		header = append(header, '\r', '\n')
	}
	p.Header, p.HeaderCut = header, cut || len(header) > maxCachedHeader
	if p.HeaderCut && env == nil {
		env = message.ParseEnvelope(raw)
	}
	if env != nil {
		p.setEnvelope(env)
		p.Depth = max(p.Depth, ParseEnvelope)
	}
	if p.HeaderCut { // nobody can make the keys any more
		p.setKeys(env, header)
	}
	if len(header) > maxCachedHeader {
		p.Header = nil
	}
}

func (p *Parsed) setEnvelope(env *message.Envelope) {
	p.Envelope = env.Append(slices.Grow(p.Envelope[:0], 512))
}

func (p *Parsed) setKeys(env *message.Envelope, header []byte) {
	p.keys = appendSortKeys(slices.Grow(p.keys[:0], 256), env, header)
}
