package imapd

import (
	"cmp"
	"slices"
	"strconv"

	"buzon/maildir"
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
	if err := p.end(); err != nil {
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
	messages, err := s.threadMessages(found)
	if err != nil {
		return err
	}
	s.enc.Raw("* THREAD")
	if roots := build(messages); len(roots) > 0 {
		s.enc.SP()
		var line []byte
		for _, root := range roots {
			line = s.appendThread(line[:0], r, root)
			s.enc.Bytes(line)
		}
	}
	s.enc.CRLF()
	return nil
}

var threadAlgorithms = map[string]func(*threadInput) []*threadNode{
	"ORDEREDSUBJECT": threadBySubject,
	"REFERENCES":     func(in *threadInput) []*threadNode { return threadByReferences(in, true) },
	"REFS":           threadRefs,
}

// A threadNode is a message, or a place for one that is known only from the references of others.
type threadNode struct {
	i        int      // index in the view; −1 for a place without a message
	id       uint32   // ids are numbers; 0 is none
	refs     []uint32 // the oldest first
	subject  uint32   // base subjects are numbers; noSubject is the empty one
	isReply  bool
	sent     int64
	parent   *threadNode
	children []*threadNode
}

const noSubject = 0

func (n *threadNode) dummy() bool { return n.i < 0 }

// threadMessages collects what threading looks at. A message that is gone meanwhile is like one that
// says nothing.
func (s *session) threadMessages(found []int) (*threadInput, error) {
	facts, err := s.view.box.ThreadFacts(s.ctx, s.view.state)
	if err != nil {
		return nil, err
	}
	subjects, err := s.view.box.Places(s.ctx, s.view.state, maildir.SortSubject)
	if err != nil {
		return nil, err
	}
	in := &threadInput{nodes: make([]*threadNode, len(found)), ids: facts.IDs(), subjects: len(subjects) + 1}
	nodes := make([]threadNode, len(found))
	for k, i := range found {
		n := &nodes[k]
		in.nodes[k] = n
		n.i = i
		_, at := s.view.row(i)
		if at < 0 {
			continue
		}
		n.sent, n.id, n.refs = facts.Sent[at], facts.ID[at], facts.Refs(at)
		n.isReply = facts.Flags[at]&maildir.ThreadReply != 0
		if facts.Flags[at]&maildir.ThreadNoSubject == 0 {
			n.subject = subjects[at] + 1
		}
	}
	return in, nil
}

// A threadInput is what is put into threads.
type threadInput struct {
	nodes         []*threadNode
	ids, subjects int // above every number of one
}

// threadBySubject is ORDEREDSUBJECT: messages of the same base subject are one thread, all below
// its first.
func threadBySubject(in *threadInput) []*threadNode {
	ms := in.nodes
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

func bySent(a, b *threadNode) int { return cmp.Or(cmp.Compare(a.sent, b.sent), a.i-b.i) }

// threadByReferences is REFERENCES; the steps are those of RFC 5256 3.
func threadByReferences(in *threadInput, gather bool) []*threadNode {
	roots := linkReferences(in) // steps 1 and 2
	roots = prune(roots)        // step 3
	sortRoots(roots)            // step 4
	if gather {
		roots = gatherSubjects(roots, in.subjects) // step 5
	}
	for _, root := range roots {
		sortChildren(root) // step 6
	}
	slices.SortStableFunc(roots, byFirstSent)
	return roots
}

// linkReferences makes the tree that the ids describe, and returns its roots.
func linkReferences(in *threadInput) []*threadNode {
	byID := make([]*threadNode, in.ids)
	all := make([]*threadNode, 0, len(in.nodes))
	place := func(id uint32) *threadNode {
		n := byID[id]
		if n == nil {
			n = &threadNode{i: -1, id: id}
			byID[id] = n
			all = append(all, n)
		}
		return n
	}
	for _, m := range in.nodes {
		n := m
		// A second message with the same id is not the one that is referred to.
		if old := byID[m.id]; m.id == 0 || old != nil && !old.dummy() {
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
func gatherSubjects(roots []*threadNode, subjects int) []*threadNode {
	table := make([]*threadNode, subjects)
	for _, root := range roots {
		f := root.first()
		if f.subject == noSubject {
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
		if f.subject == noSubject || main == root || main == nil {
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
			main.id = 0
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
func threadRefs(in *threadInput) []*threadNode {
	roots := threadByReferences(in, false)
	newest := make(map[*threadNode]int64, len(roots))
	for _, root := range roots {
		newest[root] = root.newest()
	}
	slices.SortStableFunc(roots, func(a, b *threadNode) int { return cmp.Compare(newest[a], newest[b]) })
	return roots
}

func (n *threadNode) newest() int64 {
	t := n.sent
	for _, c := range n.children {
		t = max(t, c.newest())
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
