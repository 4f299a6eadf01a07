package stress

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// patience is how long any answer may take: longer means that it will never come.
const patience = 60 * time.Second

// conn is an IMAP connection as lines. Literals are part of their line.
type conn struct {
	net.Conn
	r        *bufio.Reader
	tag      int
	command  string // the last one that was sent
	dialogue []string
}

// remembered is how many lines are shown with a violation.
const remembered = 40

func (c *conn) remember(line string) {
	if len(line) > 400 {
		line = line[:400] + "..."
	}
	if c.dialogue = append(c.dialogue, line); len(c.dialogue) > 4*remembered {
		c.dialogue = append(c.dialogue[:0:0], c.last()...)
	}
}

func (c *conn) last() []string { return c.dialogue[max(0, len(c.dialogue)-remembered):] }

// send begins a command and returns its tag. Literals in it are non-synchronizing.
func (c *conn) send(command string) (tag string, err error) {
	c.tag++
	tag = "t" + strconv.Itoa(c.tag)
	c.command = tag + " " + command
	return tag, c.write(c.command)
}

func (c *conn) write(line string) error {
	c.remember("C: " + line)
	_ = c.SetDeadline(time.Now().Add(patience))
	_, err := io.WriteString(c.Conn, line+"\r\n")
	return err
}

// receive reads a whole response.
func (c *conn) receive() (string, error) {
	var whole strings.Builder
	for {
		part, err := c.r.ReadString('\n')
		if err != nil {
			return "", fmt.Errorf("after %.80q: %w", whole.String()+part, err)
		}
		if !strings.HasSuffix(part, "\r\n") {
			return "", violation("a line that does not end with CRLF: %.200q", part)
		}
		whole.WriteString(part)
		size := literalSize(part)
		if size < 0 {
			line := strings.TrimSuffix(whole.String(), "\r\n")
			c.remember("S: " + line)
			return line, nil
		}
		if _, err := io.CopyN(&whole, c.r, size); err != nil {
			return "", fmt.Errorf("in a literal: %w", err)
		}
	}
}

// literalSize is the n of a line that ends with {n}; -1 for others.
func literalSize(line string) int64 {
	line = strings.TrimSuffix(line, "\r\n")
	open := strings.LastIndexByte(line, '{')
	if open < 0 || !strings.HasSuffix(line, "}") {
		return -1
	}
	n, err := strconv.ParseInt(line[open+1:len(line)-1], 10, 32)
	if err != nil {
		return -1
	}
	return n
}

// value is an atom or a string, or a list of values.
type value struct {
	text string
	list []value
}

// parseValues cuts a response into values. Brackets have no meaning: [UIDNEXT 4] is two atoms.
func parseValues(s string) []value {
	values, _ := valuesUntil(s, false)
	return values
}

func valuesUntil(s string, inList bool) (values []value, rest string) {
	for s != "" {
		switch s[0] {
		case ' ':
			s = s[1:]
		case ')':
			if inList {
				return values, s[1:]
			}
			s = s[1:]
		case '(':
			var v value
			v.list, s = valuesUntil(s[1:], true)
			values = append(values, v)
		case '"':
			var v value
			v.text, s = quoted(s[1:])
			values = append(values, v)
		case '{':
			head, after, ok := strings.Cut(s, "}\r\n")
			n, err := strconv.Atoi(strings.TrimPrefix(head, "{"))
			if !ok || err != nil || n > len(after) {
				return values, ""
			}
			values, s = append(values, value{text: after[:n]}), after[n:]
		default:
			end := strings.IndexAny(s, " ()\"")
			if end < 0 {
				end = len(s)
			}
			values, s = append(values, value{text: s[:end]}), s[end:]
		}
	}
	return values, ""
}

func quoted(s string) (text, rest string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:]
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}

// code returns the values after a response code's name: "[APPENDUID 7 3] Done" for APPENDUID is 7 and 3.
func code(text, name string) ([]string, bool) {
	_, after, ok := strings.Cut(text, "["+name)
	if !ok {
		return nil, false
	}
	inside, _, ok := strings.Cut(after, "]")
	return strings.Fields(inside), ok
}

// numbers reads "1:3,7"; nothing else is in the responses that it is used for.
func numbers(set string) (all []uint32) {
	for part := range strings.SplitSeq(set, ",") {
		low, high, _ := strings.Cut(part, ":")
		if high == "" {
			high = low
		}
		a, err1 := strconv.ParseUint(low, 10, 32)
		b, err2 := strconv.ParseUint(high, 10, 32)
		if err1 != nil || err2 != nil {
			return nil
		}
		if a > b {
			a, b = b, a
		}
		for n := a; n <= b; n++ {
			all = append(all, uint32(n))
		}
	}
	return all
}
