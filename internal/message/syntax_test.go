package message

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// node is a parsed IMAP response value: a list, a string, or an atom (NIL, a number).
type node struct {
	atom string
	str  *string
	list []node
	kind byte // 'a', 's', 'l'
}

func (n node) String() string {
	switch n.kind {
	case 's':
		return strconv.Quote(*n.str)
	case 'l':
		parts := make([]string, len(n.list))
		for i, c := range n.list {
			parts[i] = c.String()
		}
		return "(" + strings.Join(parts, " ") + ")"
	}
	return n.atom
}

// parseSyntax reads one IMAP value from b and returns what is left. It is
// strict: what it takes, any client takes.
func parseSyntax(b []byte) (node, []byte, error) {
	var stack []node
	for {
		n, rest, err := parseToken(b)
		if err != nil {
			return node{}, nil, err
		}
		b = rest
		switch n.kind {
		case '(':
			stack = append(stack, node{kind: 'l'})
			continue
		case ')':
			if len(stack) == 0 {
				return node{}, nil, errors.New("stray )")
			}
			n = stack[len(stack)-1]
			stack = stack[:len(stack)-1]
		}
		if len(stack) == 0 {
			return n, b, nil
		}
		top := &stack[len(stack)-1]
		top.list = append(top.list, n)
		if len(b) == 0 {
			return node{}, nil, errors.New("unexpected end in list")
		}
		// BODYSTRUCTURE has no space between the parts of a multipart, and
		// ENVELOPE none between addresses.
		if b[0] == ' ' {
			b = b[1:]
		} else if b[0] != ')' && !(n.kind == 'l' && b[0] == '(') {
			return node{}, nil, fmt.Errorf("no space before %.20q", b)
		}
	}
}

func parseToken(b []byte) (node, []byte, error) {
	if len(b) == 0 {
		return node{}, nil, errors.New("unexpected end")
	}
	switch b[0] {
	case '(', ')':
		return node{kind: b[0]}, b[1:], nil
	case '"':
		var s []byte
		for i := 1; i < len(b); i++ {
			switch c := b[i]; {
			case c == '"':
				str := string(s)
				return node{kind: 's', str: &str}, b[i+1:], nil
			case c == '\\':
				if i++; i == len(b) || b[i] != '"' && b[i] != '\\' {
					return node{}, nil, errors.New("bad escape")
				}
				s = append(s, b[i])
			case c == '\r' || c == '\n' || c == 0 || c >= 0x80:
				return node{}, nil, fmt.Errorf("byte %#x in quoted string", c)
			default:
				s = append(s, c)
			}
		}
		return node{}, nil, errors.New("quoted string not ended")
	case '{':
		end := bytes.Index(b, []byte("}\r\n"))
		if end < 0 {
			return node{}, nil, errors.New("bad literal")
		}
		n, err := strconv.Atoi(string(b[1:end]))
		if err != nil || n > len(b)-end-3 {
			return node{}, nil, errors.New("bad literal size")
		}
		str := string(b[end+3 : end+3+n])
		if strings.IndexByte(str, 0) >= 0 {
			return node{}, nil, errors.New("NUL in literal")
		}
		return node{kind: 's', str: &str}, b[end+3+n:], nil
	}
	end := bytes.IndexAny(b, " ()")
	if end < 0 {
		end = len(b)
	}
	a := string(b[:end])
	if a != "NIL" {
		if _, err := strconv.ParseUint(a, 10, 63); err != nil {
			return node{}, nil, fmt.Errorf("atom %q", a)
		}
	}
	return node{kind: 'a', atom: a}, b[end:], nil
}
