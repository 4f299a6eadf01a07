package sieve

import (
	"fmt"
	"slices"
	"strings"
)

// step is a compiled command, check a compiled test.
type (
	step  func(*run) error
	check func(*run) (bool, error)
)

// compiler turns nodes into steps and checks, and finds what is wrong with
// them as far as it does not depend on a message.
type compiler struct{ requires map[string]bool }

// program compiles a whole script. Commands named require stand first.
func (c *compiler) program(nodes []node) ([]step, error) {
	for len(nodes) > 0 && nodes[0].name == "require" {
		p := c.params(nodes[0], nil, 1, 1)
		for _, name := range p.rawList(0) {
			if !slices.Contains(extensions, name) {
				return nil, wrong(nodes[0].line, "the extension %q is not known here; known are %s", name, strings.Join(extensions, ", "))
			}
			c.requires[name] = true
		}
		if p.err != nil {
			return nil, p.err
		}
		nodes = nodes[1:]
	}
	if c.requires["spamtestplus"] {
		c.requires["spamtest"] = true
	}
	if c.requires["vacation-seconds"] { // RFC 6131 2
		c.requires["vacation"] = true
	}
	return c.block(nodes)
}

func (c *compiler) block(nodes []node) (steps []step, err error) {
	for len(nodes) > 0 {
		var s step
		if nodes[0].name == "if" {
			s, nodes, err = c.choice(nodes)
		} else {
			s, err = c.command(nodes[0])
			nodes = nodes[1:]
		}
		if err != nil {
			return nil, err
		}
		steps = append(steps, s)
	}
	return steps, nil
}

// choice compiles if with the elsif and else that follow it (RFC 5228 3.1).
func (c *compiler) choice(nodes []node) (step, []node, error) {
	type branch struct {
		when check // nil for else
		then []step
	}
	var branches []branch
	for i := 0; len(nodes) > 0; i++ {
		n := nodes[0]
		if i == 0 != (n.name == "if") || n.name != "if" && n.name != "elsif" && n.name != "else" {
			break
		}
		nodes = nodes[1:]
		var b branch
		var err error
		switch {
		case !n.hasBlock:
			return nil, nil, wrong(n.line, "%q must have a block", n.name)
		case len(n.args) > 0:
			return nil, nil, wrong(n.line, "%q takes a test and a block", n.name)
		case n.name == "else" && len(n.tests) > 0:
			return nil, nil, wrong(n.line, `"else" takes no test; "elsif" does`)
		case n.name != "else" && len(n.tests) != 1:
			return nil, nil, wrong(n.line, "%q takes one test; anyof and allof join several", n.name)
		case n.name != "else":
			if b.when, err = c.test(n.tests[0]); err != nil {
				return nil, nil, err
			}
		}
		if b.then, err = c.block(n.block); err != nil {
			return nil, nil, err
		}
		branches = append(branches, b)
		if n.name == "else" {
			break
		}
	}
	return func(r *run) error {
		for _, b := range branches {
			if b.when != nil {
				if ok, err := r.check(b.when); err != nil {
					return err
				} else if !ok {
					continue
				}
			}
			return r.do(b.then)
		}
		return nil
	}, nodes, nil
}

// command compiles one command that is not if.
func (c *compiler) command(n node) (step, error) {
	switch n.name {
	case "require":
		return nil, wrong(n.line, `"require" must stand before all other commands`)
	case "elsif", "else":
		return nil, wrong(n.line, `%q must follow the block of an "if" or "elsif"`, n.name)
	}
	compile := map[string]func(*compiler, node) (step, error){
		"stop": (*compiler).stop, "keep": (*compiler).keep, "discard": (*compiler).discard,
		"fileinto": (*compiler).fileinto, "redirect": (*compiler).redirect,
		"reject": (*compiler).reject, "ereject": (*compiler).reject,
		"setflag": (*compiler).changeFlags, "addflag": (*compiler).changeFlags, "removeflag": (*compiler).changeFlags,
		"set": (*compiler).set, "vacation": (*compiler).vacation,
		"addheader": (*compiler).addHeader, "deleteheader": (*compiler).deleteHeader,
	}[n.name]
	if compile == nil {
		return nil, wrong(n.line, "there is no command %q", n.name)
	}
	if n.hasBlock {
		return nil, wrong(n.line, "%q takes no block", n.name)
	}
	if len(n.tests) > 0 {
		return nil, wrong(n.tests[0].line, "%q stands where an argument or \";\" must", n.tests[0].name)
	}
	return compile(c, n)
}

// test compiles one test.
func (c *compiler) test(n node) (check, error) {
	switch n.name {
	case "not", "anyof", "allof":
		return c.logic(n)
	}
	compile := map[string]func(*compiler, node) (check, error){
		"true": (*compiler).constant, "false": (*compiler).constant,
		"header": (*compiler).header, "address": (*compiler).address, "envelope": (*compiler).envelope,
		"exists": (*compiler).exists, "size": (*compiler).size, "body": (*compiler).body,
		"date": (*compiler).date, "currentdate": (*compiler).date,
		"string": (*compiler).stringTest, "hasflag": (*compiler).hasFlag,
		"mailboxexists": (*compiler).mailboxExists, "specialuse_exists": (*compiler).specialUseExists,
		"duplicate": (*compiler).duplicate, "spamtest": (*compiler).spamTest, "environment": (*compiler).environment,
	}[n.name]
	if compile == nil {
		return nil, wrong(n.line, "there is no test %q", n.name)
	}
	if len(n.tests) > 0 {
		return nil, wrong(n.tests[0].line, "%q takes no tests", n.name)
	}
	return compile(c, n)
}

func (c *compiler) constant(n node) (check, error) {
	yes := n.name == "true"
	return func(*run) (bool, error) { return yes, nil }, c.params(n, nil, 0, 0).err
}

// logic compiles not, anyof and allof (RFC 5228 5.2, 5.3, 5.10). Tests whose
// outcome does not matter are not run.
func (c *compiler) logic(n node) (check, error) {
	if len(n.args) > 0 {
		return nil, wrong(n.line, "%q takes tests only", n.name)
	}
	if len(n.tests) == 0 || n.name == "not" && len(n.tests) > 1 {
		return nil, wrong(n.line, "%q takes %s", n.name, map[bool]string{true: "one test", false: "tests in parentheses"}[n.name == "not"])
	}
	checks := make([]check, len(n.tests))
	for i, t := range n.tests {
		var err error
		if checks[i], err = c.test(t); err != nil {
			return nil, err
		}
	}
	decides := n.name == "anyof" // the outcome of one test that settles the whole
	if n.name == "not" {
		return func(r *run) (bool, error) {
			ok, err := r.check(checks[0])
			return !ok, err
		}, nil
	}
	return func(r *run) (bool, error) {
		for _, check := range checks {
			if ok, err := r.check(check); err != nil || ok == decides {
				return ok, err
			}
		}
		return !decides, nil
	}, nil
}

// value is what follows a tag.
type value uint8

const (
	nothing value = iota
	aNumber
	aString
	aList
)

// tagRule says what follows a tag, and which extension it belongs to.
type tagRule struct {
	value     value
	extension string
}

// params are the arguments of a node, sorted into tags and the others. The
// first thing that is wrong with them is kept in err, so that it need be asked
// for only once.
type params struct {
	c    *compiler
	node node
	tags map[string]arg
	args []arg
	err  error
}

// params sorts the arguments of n, which takes at least min and at most max
// beside its tags.
func (c *compiler) params(n node, rules map[string]tagRule, min, max int) *params {
	p := &params{c: c, node: n, tags: map[string]arg{}}
	for i := 0; i < len(n.args); i++ {
		a := n.args[i]
		if a.kind != tag {
			p.args = append(p.args, a)
			continue
		}
		rule, known := rules[a.tag]
		switch {
		case !known:
			p.fail(a.line, "%q takes no \":%s\"", n.name, a.tag)
		case rule.extension != "" && !c.requires[rule.extension]:
			p.fail(a.line, "\":%s\" needs require %q", a.tag, rule.extension)
		}
		if _, twice := p.tags[a.tag]; twice {
			p.fail(a.line, "\":%s\" is given twice", a.tag)
		}
		given := a
		if rule.value != nothing {
			if i++; i == len(n.args) || !rule.value.takes(n.args[i]) {
				p.fail(a.line, "\":%s\" must be followed by %s", a.tag, rule.value)
				return p
			}
			given = n.args[i]
		}
		p.tags[a.tag] = given
	}
	if len(p.args) < min || len(p.args) > max {
		p.fail(n.line, "%q takes %s beside its tags, and %d are given", n.name, count(min, max), len(p.args))
	}
	return p
}

func count(min, max int) string {
	if min == max {
		return fmt.Sprintf("%d arguments", min)
	}
	return fmt.Sprintf("%d to %d arguments", min, max)
}

func (v value) takes(a arg) bool {
	switch v {
	case aNumber:
		return a.kind == number
	case aString:
		return a.kind == str && !a.list
	}
	return a.kind == str
}

func (v value) String() string {
	return [...]string{nothing: "nothing", aNumber: "a number", aString: "a string", aList: "strings"}[v]
}

func (p *params) fail(line int, format string, args ...any) {
	if p.err == nil {
		p.err = wrong(line, format, args...)
	}
}

// need demands an extension.
func (p *params) need(extension string) {
	if !p.c.requires[extension] {
		p.fail(p.node.line, "%q needs require %q", p.node.name, extension)
	}
}

func (p *params) has(tag string) bool {
	_, ok := p.tags[tag]
	return ok
}

// only demands that at most one of some tags is given.
func (p *params) only(tags ...string) (which string) {
	for _, t := range tags {
		if p.has(t) && which != "" {
			p.fail(p.node.line, "\":%s\" and \":%s\" exclude each other", which, t)
		} else if p.has(t) {
			which = t
		}
	}
	return which
}

func (p *params) at(i int, v value) arg {
	if i >= len(p.args) {
		return arg{strings: []string{""}} // an error by now
	}
	a := p.args[i]
	if !v.takes(a) {
		p.fail(a.line, "argument %d of %q must be %s", i+1, p.node.name, v)
		return arg{line: a.line, strings: []string{""}}
	}
	return a
}

func (p *params) number(i int) uint64     { return p.at(i, aNumber).number }
func (p *params) rawList(i int) []string  { return p.at(i, aList).strings }
func (p *params) text(i int) text         { return p.compile(p.at(i, aString))[0] }
func (p *params) list(i int) []text       { return p.compile(p.at(i, aList)) }
func (p *params) tagText(tag string) text { return p.compile(p.tagArg(tag))[0] }
func (p *params) tagList(tag string) []text {
	return p.compile(p.tagArg(tag))
}

// tagArg is what follows a tag, or an empty string.
func (p *params) tagArg(tag string) arg {
	if a, ok := p.tags[tag]; ok && a.strings != nil {
		return a
	}
	return arg{strings: []string{""}}
}

func (p *params) compile(a arg) []text {
	texts := make([]text, len(a.strings))
	for i, s := range a.strings {
		t, err := p.c.text(s)
		if err != nil {
			p.fail(a.line, "%v", err)
		}
		texts[i] = t
	}
	return texts
}
