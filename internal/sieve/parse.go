package sieve

// node is a command or a test with its arguments (RFC 5228 8.2). What they
// mean is not yet known.
type node struct {
	line     int
	name     string
	args     []arg
	tests    []node
	block    []node
	hasBlock bool
}

// arg is a tag, a number, a string or a string list.
type arg struct {
	line    int
	kind    kind // tag, number or str
	tag     string
	number  uint64
	strings []string
	list    bool // written in brackets
}

type parser struct {
	tokens []token
	depth  int
}

func parse(src []byte) ([]node, error) {
	tokens, err := tokenize(src)
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: tokens}
	nodes, err := p.commands()
	if err != nil {
		return nil, err
	}
	if t := p.peek(); t.kind != end {
		return nil, wrong(t.line, "%s has no opening brace", t)
	}
	return nodes, nil
}

func (p *parser) peek() token { return p.tokens[0] }

func (p *parser) next() token {
	t := p.tokens[0]
	if t.kind != end {
		p.tokens = p.tokens[1:]
	}
	return t
}

// enter counts nesting, of blocks and of tests.
func (p *parser) enter(line int) error {
	if p.depth++; p.depth > maxNesting {
		return wrong(line, "this is nested deeper than %d levels", maxNesting)
	}
	return nil
}

func (p *parser) commands() (nodes []node, err error) {
	for p.peek().kind == identifier {
		n, err := p.node()
		if err != nil {
			return nil, err
		}
		switch t := p.next(); {
		case t.is(";"):
		case t.is("{"):
			if err := p.enter(t.line); err != nil {
				return nil, err
			}
			if n.block, err = p.commands(); err != nil {
				return nil, err
			}
			p.depth--
			n.hasBlock = true
			if closing := p.next(); !closing.is("}") {
				return nil, wrong(closing.line, `%s stands where a command or "}" must: the block opened in line %d is not closed`, closing, t.line)
			}
		default:
			return nil, wrong(t.line, `%s stands where %q must end with ";" or a block`, t, n.name)
		}
		nodes = append(nodes, n)
	}
	if t := p.peek(); t.kind != end && !t.is("}") {
		return nil, wrong(t.line, "%s stands where a command must begin", t)
	}
	return nodes, nil
}

// node reads a command or a test: its name, arguments, and tests.
func (p *parser) node() (n node, err error) {
	name := p.next()
	n = node{line: name.line, name: name.text}
	for {
		t := p.peek()
		switch {
		case t.kind == tag:
			p.next()
			n.args = append(n.args, arg{line: t.line, kind: tag, tag: t.text})
		case t.kind == number:
			p.next()
			n.args = append(n.args, arg{line: t.line, kind: number, number: t.number})
		case t.kind == str:
			p.next()
			n.args = append(n.args, arg{line: t.line, kind: str, strings: []string{t.text}})
		case t.is("["):
			list, err := p.list()
			if err != nil {
				return n, err
			}
			n.args = append(n.args, arg{line: t.line, kind: str, strings: list, list: true})
		case t.kind == identifier || t.is("("):
			n.tests, err = p.tests()
			return n, err
		default:
			return n, nil
		}
	}
}

// tests reads one test, or several in parentheses.
func (p *parser) tests() (tests []node, err error) {
	open := p.peek()
	if err := p.enter(open.line); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	if open.kind == identifier {
		n, err := p.node()
		return []node{n}, err
	}
	p.next()
	for {
		if t := p.peek(); t.kind != identifier {
			return nil, wrong(t.line, "%s stands where a test must begin", t)
		}
		n, err := p.node()
		if err != nil {
			return nil, err
		}
		tests = append(tests, n)
		switch t := p.next(); {
		case t.is(")"):
			return tests, nil
		case !t.is(","):
			return nil, wrong(t.line, `%s stands where "," or ")" must`, t)
		}
	}
}

func (p *parser) list() (list []string, err error) {
	p.next()
	for {
		t := p.next()
		if t.kind != str {
			return nil, wrong(t.line, "%s stands where a string must", t)
		}
		list = append(list, t.text)
		switch t := p.next(); {
		case t.is("]"):
			return list, nil
		case !t.is(","):
			return nil, wrong(t.line, `%s stands where "," or "]" must`, t)
		}
	}
}
