package differential

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// patience is how long an answer may take: longer means never.
const patience = 30 * time.Second

// conn is one connection to one server.
type conn struct {
	net.Conn
	r       *bufio.Reader
	tag     int
	highest uint64 // HIGHESTMODSEQ as STATUS has shown it last
	exists  int
}

func open(account Account) (*conn, error) {
	nc, login, err := account.Dial()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: nc, r: bufio.NewReaderSize(nc, 32<<10)}
	if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if _, err = c.response(); err == nil && login != "" {
		_, err = c.do(login)
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

// answer is what a server has said to one command.
type answer struct {
	raw      []string // untagged, then the tagged one
	untagged []response
	status   string // OK, NO, BAD
	code     []value
	conn     *conn
	before   int // messages before the command
}

type response struct {
	kind   string // the word that says what it is
	number int
	values []value // behind it
}

// do runs a command to its end. IDLE is ended at once.
func (c *conn) do(command string) (*answer, error) {
	c.tag++
	tag := "t" + strconv.Itoa(c.tag)
	command = c.expand(command)
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, tag+" "+command+"\r\n"); err != nil {
		return nil, err
	}
	if verb, _, _ := strings.Cut(command, " "); slices.Contains([]string{"SELECT", "EXAMINE", "CLOSE", "UNSELECT"}, verb) {
		c.exists = 0
	}
	a := &answer{conn: c, before: c.exists}
	for {
		line, err := c.response()
		if err != nil {
			return nil, err
		}
		if line[0] == '+' {
			if _, err := io.WriteString(c, "DONE\r\n"); err != nil {
				return nil, err
			}
			continue
		}
		a.raw = append(a.raw, line)
		if rest, ok := strings.CutPrefix(line, tag+" "); ok {
			return a, a.end(rest)
		}
		if err := a.hear(line); err != nil {
			return nil, err
		}
	}
}

// settled is do, and what the server still has to tell afterwards: when it tells news is its choice.
func (c *conn) settled(command string) (*answer, error) {
	a, err := c.do(command)
	if err != nil {
		return nil, err
	}
	news, err := c.do("NOOP")
	if err != nil {
		return nil, err
	}
	a.untagged = append(a.untagged, news.untagged...)
	a.raw = append(a.raw, news.raw...)
	return a, nil
}

// expand puts this server's mod-sequences in.
func (c *conn) expand(command string) string {
	if !strings.Contains(command, "{highest}") {
		return command
	}
	return strings.ReplaceAll(command, "{highest}", strconv.FormatUint(c.highest, 10))
}

func (a *answer) end(rest string) error {
	status, text, _ := strings.Cut(rest, " ")
	a.status = status
	a.code = codeOf(text)
	return nil
}

// codeOf is what stands between the brackets.
func codeOf(text string) []value {
	if !strings.HasPrefix(text, "[") {
		return nil
	}
	inside, _, ok := strings.Cut(text[1:], "]")
	if !ok {
		return nil
	}
	return parse(inside)
}

func (a *answer) hear(line string) error {
	if strings.HasPrefix(line, "* BYE") {
		return fmt.Errorf("the connection ends: %s", line)
	}
	if text, ok := strings.CutPrefix(line, "* OK "); ok {
		a.untagged = append(a.untagged, response{kind: "OK", values: codeOf(text)})
		return nil
	}
	values := parse(strings.TrimPrefix(line, "* "))
	if len(values) == 0 {
		return errors.New("an empty response")
	}
	r := response{kind: strings.ToUpper(values[0].text), values: values[1:]}
	if n, err := strconv.Atoi(values[0].text); err == nil && len(values) > 1 {
		r = response{strings.ToUpper(values[1].text), n, values[2:]}
	}
	switch r.kind {
	case "EXISTS":
		a.conn.exists = r.number
	case "STATUS":
		a.conn.noteHighest(r.values)
	case "EXPUNGE":
		a.conn.exists--
	case "VANISHED":
		if len(r.values) == 1 {
			a.conn.exists -= strings.Count(numberSet(r.values), " ") + 1
		}
	}
	a.untagged = append(a.untagged, r)
	return nil
}

func (c *conn) noteHighest(values []value) {
	if len(values) == 2 && len(values[1].list) == 2 && values[1].list[0].text == "HIGHESTMODSEQ" {
		c.highest, _ = strconv.ParseUint(values[1].list[1].text, 10, 64)
	}
}

// response reads a line with its literals.
func (c *conn) response() (string, error) {
	var whole strings.Builder
	for {
		part, err := c.r.ReadString('\n')
		if err != nil {
			return "", fmt.Errorf("after %.80q: %w", whole.String()+part, err)
		}
		size := literalSize(part)
		if size < 0 {
			whole.WriteString(strings.TrimSuffix(part, "\r\n"))
			return whole.String(), nil
		}
		whole.WriteString(part)
		if _, err := io.CopyN(&whole, c.r, size); err != nil {
			return "", err
		}
	}
}

func literalSize(line string) int64 {
	line = strings.TrimSuffix(line, "\r\n")
	open := strings.LastIndexByte(line, '{')
	if open < 0 || !strings.HasSuffix(line, "}") {
		return -1
	}
	n, err := strconv.ParseInt(strings.TrimSuffix(line[open+1:len(line)-1], "+"), 10, 32)
	if err != nil {
		return -1
	}
	return n
}

// value is an atom, a string or a list.
type value struct {
	text   string
	quoted bool // or a literal
	isList bool
	list   []value
}

func parse(s string) []value {
	values, _ := parseUntil(s, false)
	return values
}

func parseUntil(s string, inList bool) (values []value, rest string) {
	for s != "" {
		switch {
		case s[0] == ' ':
			s = s[1:]
		case s[0] == ')':
			s = s[1:]
			if inList {
				return values, s
			}
		case s[0] == '(':
			v := value{isList: true}
			v.list, s = parseUntil(s[1:], true)
			values = append(values, v)
		case s[0] == '"':
			v := value{quoted: true}
			v.text, s = unquote(s[1:])
			values = append(values, v)
		case s[0] == '{' || strings.HasPrefix(s, "~{"):
			head, after, ok := strings.Cut(s, "}\r\n")
			n, err := strconv.Atoi(strings.TrimLeft(head, "~{"))
			if !ok || err != nil || n > len(after) {
				return values, ""
			}
			values, s = append(values, value{text: after[:n], quoted: true}), after[n:]
		default:
			end := atomEnd(s)
			values, s = append(values, value{text: s[:end]}), s[end:]
		}
	}
	return values, ""
}

// atomEnd finds the end of an atom; a section in brackets belongs to it.
func atomEnd(s string) int {
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '[':
			depth++
		case ']':
			depth--
		case ' ', '(', ')', '"':
			if depth <= 0 {
				return max(i, 1)
			}
		}
	}
	return len(s)
}

func unquote(s string) (text, rest string) {
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
