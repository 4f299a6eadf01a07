package imapd

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"buzon/internal/message"
)

// thread is THREAD and UID THREAD (RFC 5256 3): REFERENCES and ORDEREDSUBJECT, and REFS, which is
// REFERENCES without gathering by subject, the threads in order of their newest message
// (draft-ietf-morg-inthread).
func (s *session) thread(r *request) error {
	algorithm := r.SP().Word()
	p := &searchReader{s: s, r: r, charset: "UTF-8"}
	r.SP()
	if err := p.readCharsetName(); err != nil {
		return err
	}
	r.SP()
	key := p.keys()
	if err := r.End(); err != nil {
		return err
	}
	build, ok := threadAlgorithms[algorithm]
	if !ok {
		return bad("No such threading algorithm")
	}
	found, err := s.matching(r, key)
	if err != nil {
		return err
	}
	messages, err := s.threadMessages(found, algorithm != "ORDEREDSUBJECT")
	if err != nil {
		return err
	}
	s.enc.Raw("* THREAD")
	if roots := build(messages); len(roots) > 0 {
		s.enc.SP()
		for _, root := range roots {
			s.enc.Bytes(s.appendThread(nil, r, root))
		}
	}
	s.enc.CRLF()
	return nil
}

var threadAlgorithms = map[string]func([]*threadNode) []*threadNode{
	"ORDEREDSUBJECT": threadBySubject,
	"REFERENCES":     func(ms []*threadNode) []*threadNode { return threadByReferences(ms, true) },
	"REFS":           threadRefs,
}

// A threadNode is a message, or a place for one that is known only from the references of others.
type threadNode struct {
	i        int // index in the view; −1 for a place without a message
	id       string
	refs     []string
	subject  string
	isReply  bool
	sent     time.Time
	parent   *threadNode
	children []*threadNode
}

func (n *threadNode) dummy() bool { return n.i < 0 }

// threadMessages collects what threading looks at.
func (s *session) threadMessages(found []int, references bool) ([]*threadNode, error) {
	s.parseAhead(found)
	nodes := make([]threadNode, len(found))
	out := make([]*threadNode, len(found))
	c := &candidate{s: s, content: content{s: s, box: s.view.box}}
	defer c.content.close()
	for k, i := range found {
		facts, err := s.sortFacts(i, needsEnvelope)
		if err != nil {
			return nil, err
		}
		n := &nodes[k]
		out[k] = n
		n.i = i
		n.sent = facts.sent()
		base, reply := message.BaseSubject(message.DecodeHeader(string(facts.envelope.subject)))
		n.subject, n.isReply = message.Fold(base), reply
		if ids := message.MessageIDs(string(facts.envelope.messageID)); len(ids) > 0 {
			n.id = ids[0]
		}
		if references {
			if n.refs, err = c.references(i, string(facts.envelope.inReplyTo)); err != nil {
				return nil, err
			}
		}
		if k%fetchBatch == 0 && s.ctx.Err() != nil {
			return nil, s.ctx.Err()
		}
	}
	return out, nil
}

// references are the ids in References, or where there are none the first one in In-Reply-To (RFC
// 5256 3, step 1).
func (c *candidate) references(i int, inReplyTo string) ([]string, error) {
	c.i = i
	c.m, c.at = c.s.view.row(i)
	c.content.at(c.m.UID)
	h, err := c.header(true)
	if isGone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if refs := message.MessageIDs(h.Get("References")); len(refs) > 0 {
		return refs, nil
	}
	return firstOf(message.MessageIDs(inReplyTo)), nil
}

func firstOf(ids []string) []string { return ids[:min(len(ids), 1)] }

// threadBySubject is ORDEREDSUBJECT: messages of the same base subject are one thread, all below
// its first.
func threadBySubject(ms []*threadNode) []*threadNode {
	slices.SortStableFunc(ms, func(a, b *threadNode) int {
		return cmp.Or(cmp.Compare(a.subject, b.subject), bySent(a, b))
	})
	var roots []*threadNode
	for k, m := range ms {
		if k > 0 && ms[k-1].subject == m.subject {
			root := roots[len(roots)-1]
			root.children = append(root.children, m)
		} else {
			roots = append(roots, m)
		}
	}
	slices.SortStableFunc(roots, bySent)
	return roots
}

func bySent(a, b *threadNode) int { return cmp.Or(a.sent.Compare(b.sent), a.i-b.i) }

// threadByReferences is REFERENCES; the steps are those of RFC 5256 3.
func threadByReferences(ms []*threadNode, gather bool) []*threadNode {
	roots := linkReferences(ms) // steps 1 and 2
	roots = prune(roots)        // step 3
	sortRoots(roots)            // step 4
	if gather {
		roots = gatherSubjects(roots) // step 5
	}
	for _, root := range roots {
		sortChildren(root) // step 6
	}
	slices.SortStableFunc(roots, byFirstSent)
	return roots
}

// linkReferences makes the tree that the ids describe, and returns its roots.
func linkReferences(ms []*threadNode) []*threadNode {
	byID := make(map[string]*threadNode, len(ms))
	var all []*threadNode
	place := func(id string) *threadNode {
		n := byID[id]
		if n == nil {
			n = &threadNode{i: -1, id: id}
			byID[id] = n
			all = append(all, n)
		}
		return n
	}
	for _, m := range ms {
		n := m
		// A second message with the same id is not the one that is referred to.
		if old := byID[m.id]; m.id == "" || old != nil && !old.dummy() {
			all = append(all, n)
		} else if old == nil {
			byID[m.id] = n
			all = append(all, n)
		} else { // takes the place that was kept for it
			old.i, old.refs, old.subject, old.isReply, old.sent = m.i, m.refs, m.subject, m.isReply, m.sent
			n = old
		}
		var parent *threadNode
		for _, ref := range m.refs {
			next := place(ref)
			if parent != nil && next.parent == nil && !within(parent, next) {
				link(parent, next)
			}
			parent = next
		}
		if n.parent != nil { // set by the references of others: this message knows better
			unlink(n)
		}
		if parent != nil && !within(parent, n) {
			link(parent, n)
		}
	}
	var roots []*threadNode
	for _, n := range all {
		if n.parent == nil {
			roots = append(roots, n)
		}
	}
	return roots
}

// within says whether n is above or at where parent stands: linking would make a loop.
func within(parent, n *threadNode) bool {
	for p := parent; p != nil; p = p.parent {
		if p == n {
			return true
		}
	}
	return false
}

func link(parent, n *threadNode) {
	n.parent = parent
	parent.children = append(parent.children, n)
}

func unlink(n *threadNode) {
	n.parent.children = slices.DeleteFunc(n.parent.children, func(c *threadNode) bool { return c == n })
	n.parent = nil
}

// prune removes places without a message: those without children, and those whose children can take
// their place. At the top a place with several children stays.
func prune(roots []*threadNode) []*threadNode {
	var out []*threadNode
	for _, root := range roots {
		root.children = pruneChildren(root.children)
		switch {
		case !root.dummy() || len(root.children) > 1:
			out = append(out, root)
		case len(root.children) == 1:
			out = append(out, root.children[0])
		}
	}
	return out
}

func pruneChildren(children []*threadNode) []*threadNode {
	var out []*threadNode
	for _, c := range children {
		c.children = pruneChildren(c.children)
		if c.dummy() {
			out = append(out, c.children...)
		} else {
			out = append(out, c)
		}
	}
	return out
}

func sortRoots(roots []*threadNode) {
	for _, root := range roots {
		if root.dummy() {
			slices.SortStableFunc(root.children, bySent)
		}
	}
	slices.SortStableFunc(roots, byFirstSent)
}

// first is the message that stands for a root: itself, or the first below its place.
func (n *threadNode) first() *threadNode {
	if n.dummy() && len(n.children) > 0 {
		return n.children[0]
	}
	return n
}

func byFirstSent(a, b *threadNode) int { return bySent(a.first(), b.first()) }

// gatherSubjects joins threads of the same base subject (RFC 5256 3, step 5).
func gatherSubjects(roots []*threadNode) []*threadNode {
	table := make(map[string]*threadNode)
	for _, root := range roots {
		f := root.first()
		if f.subject == "" {
			continue
		}
		old := table[f.subject]
		if old == nil || !old.dummy() && (root.dummy() || old.isReply && !f.isReply) {
			table[f.subject] = root
		}
	}
	var out []*threadNode
	gone := make(map[*threadNode]bool)
	for _, root := range roots {
		f := root.first()
		main := table[f.subject]
		if f.subject == "" || main == root || main == nil {
			continue
		}
		gone[root] = true
		switch {
		case main.dummy() && root.dummy():
			main.children = append(main.children, root.children...)
		case main.dummy():
			main.children = append(main.children, root)
		case f.isReply && !main.isReply:
			main.children = append(main.children, root)
		default: // both become children of a place above them, which takes main's
			twin := *main
			main.i, main.children = -1, []*threadNode{&twin, root}
			main.id = ""
		}
	}
	for _, root := range roots {
		if !gone[root] {
			out = append(out, root)
		}
	}
	return out
}

func sortChildren(n *threadNode) {
	for _, c := range n.children {
		sortChildren(c)
	}
	slices.SortStableFunc(n.children, byFirstSent)
}

// threadRefs is REFS: by references alone, threads in order of their newest message.
func threadRefs(ms []*threadNode) []*threadNode {
	roots := threadByReferences(ms, false)
	newest := make(map[*threadNode]time.Time, len(roots))
	for _, root := range roots {
		newest[root] = root.newest()
	}
	slices.SortStableFunc(roots, func(a, b *threadNode) int { return newest[a].Compare(newest[b]) })
	return roots
}

func (n *threadNode) newest() time.Time {
	t := n.sent
	for _, c := range n.children {
		if ct := c.newest(); ct.After(t) {
			t = ct
		}
	}
	return t
}

// appendThread appends a thread: numbers in a row as long as each has one child, and branches in
// parentheses (RFC 5256 4).
func (s *session) appendThread(b []byte, r *request, root *threadNode) []byte {
	b = append(b, '(')
	for n := root; ; n = n.children[0] {
		if !n.dummy() {
			if b[len(b)-1] != '(' {
				b = append(b, ' ')
			}
			b = strconv.AppendUint(b, uint64(s.num(r, n.i)), 10)
		}
		if len(n.children) == 1 && !n.dummy() {
			continue
		}
		if len(n.children) > 0 && b[len(b)-1] != '(' {
			b = append(b, ' ')
		}
		for _, c := range n.children {
			b = s.appendThread(b, r, c)
		}
		return append(b, ')')
	}
}
