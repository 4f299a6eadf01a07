package managesieve

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"buzon/internal/sieve"
)

// Limits on what a client sends.
const (
	maxWord    = 64
	maxQuoted  = 1024     // of what we send (RFC 5804 4, quoted)
	maxString  = 16 << 10 // of a quoted string, and of all that strangers send: SASL with tokens
	maxLiteral = 1 << 20  // read to its end even where it is too large to keep, up to here
	maxArgs    = 3
)

// errLine ends the session: what follows cannot be told apart any more.
var errLine = errors.New("malformed command")

// arg is a string or a number.
type arg struct {
	text   string
	number uint32
	isText bool
	over   bool // a literal that was larger than allowed; text is empty
}

// readCommand reads a word and its arguments (RFC 5804 4); strangers may send
// less. Every error but the connection's is errLine.
func readCommand(r *bufio.Reader, strangers bool) (name string, args []arg, err error) {
	if name, err = word(r); err != nil {
		return "", nil, err
	}
	for {
		c, err := r.ReadByte()
		switch {
		case err != nil:
			return "", nil, err
		case c == '\n':
			return strings.ToUpper(name), args, nil
		case c == '\r':
			if c, err = r.ReadByte(); err == nil && c != '\n' {
				err = errLine
			}
			return strings.ToUpper(name), args, err
		case c != ' ' || len(args) == maxArgs:
			return "", nil, errLine
		}
		a, err := argument(r, strangers)
		if err != nil {
			return "", nil, err
		}
		args = append(args, a)
	}
}

func word(r *bufio.Reader) (string, error) {
	var b strings.Builder
	for {
		c, err := r.ReadByte()
		if err != nil {
			return "", err
		}
		if c|0x20 < 'a' || c|0x20 > 'z' {
			return b.String(), r.UnreadByte()
		}
		if b.Len() == maxWord {
			return "", errLine
		}
		b.WriteByte(c)
	}
}

func argument(r *bufio.Reader, strangers bool) (arg, error) {
	c, err := r.ReadByte()
	switch {
	case err != nil:
		return arg{}, err
	case c == '"':
		return quoted(r)
	case c == '{':
		return literal(r, strangers)
	case '0' <= c && c <= '9':
		digits := string(c)
		for {
			if c, err = r.ReadByte(); err != nil {
				return arg{}, err
			}
			if c < '0' || c > '9' {
				break
			}
			if digits += string(c); len(digits) > 10 {
				return arg{}, errLine
			}
		}
		n, err := strconv.ParseUint(digits, 10, 32)
		if err != nil {
			return arg{}, errLine
		}
		return arg{number: uint32(n)}, r.UnreadByte()
	}
	return arg{}, errLine
}

func quoted(r *bufio.Reader) (arg, error) {
	var b strings.Builder
	for {
		c, err := r.ReadByte()
		if err == nil && c == '\\' {
			if c, err = r.ReadByte(); err == nil && c != '"' && c != '\\' {
				err = errLine
			}
		} else if err == nil && c == '"' {
			if !utf8.ValidString(b.String()) {
				return arg{}, errLine
			}
			return arg{text: b.String(), isText: true}, nil
		}
		switch {
		case err != nil:
			return arg{}, err
		case c == 0 || c == '\r' || c == '\n' || b.Len() == maxString:
			return arg{}, errLine
		}
		b.WriteByte(c)
	}
}

// literal reads {n+} and n octets. The client does not wait (RFC 5804 1.1):
// what is too large must be read all the same, or, from strangers, ends the
// session.
func literal(r *bufio.Reader, strangers bool) (arg, error) {
	var head []byte
	for {
		c, err := r.ReadByte()
		if err != nil {
			return arg{}, err
		}
		if head = append(head, c); c == '\n' {
			break
		}
		if len(head) > 16 {
			return arg{}, errLine
		}
	}
	digits, ok := strings.CutSuffix(string(head), "+}\r\n")
	n, err := strconv.ParseUint(digits, 10, 32)
	if !ok || err != nil || digits[0] < '0' || digits[0] > '9' || n > maxLiteral || strangers && n > maxString {
		return arg{}, errLine
	}
	if n > sieve.MaxScript {
		_, err := io.CopyN(io.Discard, r, int64(n))
		return arg{isText: true, over: true}, err
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return arg{}, err
	}
	return arg{text: string(b), isText: true}, nil
}

// quote writes s as a string: quoted where it can be, else as a literal.
func quote(s string) string {
	if len(s) > maxQuoted || strings.ContainsAny(s, "\x00\r\n") {
		return fmt.Sprintf("{%d}\r\n%s", len(s), s)
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
