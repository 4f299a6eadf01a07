package imapd

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"unicode/utf8"
)

// checkResponses reads what a server has said as RFC 9051 section 9 has it: lines that end with CRLF,
// quoted strings, literals, and parentheses that close. A client that gets out of step here takes the
// content of mail for answers. allows8bit: quoted strings may be UTF-8 (RFC 6855).
func checkResponses(said []byte, allows8bit bool) error {
	if i := bytes.Index(said, []byte("Compression is on\r\n")); i >= 0 { // nothing can be read from there on
		said = said[:bytes.LastIndexByte(said[:i], '\n')+1]
	}
	for len(said) > 0 {
		r := responseReader{said: said, allows8bit: allows8bit}
		if err := r.response(); err != nil {
			return fmt.Errorf("%w at %d of %.300q", err, r.at, said)
		}
		said = said[r.at:]
	}
	return nil
}

// A responseReader reads one response.
type responseReader struct {
	said       []byte
	at         int
	depth      int
	allows8bit bool
}

// response reads to the end of the response at hand.
func (r *responseReader) response() error {
	line, _, _ := bytes.Cut(r.said, []byte("\r\n"))
	words := bytes.SplitN(line, []byte(" "), 3)
	if len(words) < 2 {
		return errors.New("a response of less than two words")
	}
	if string(words[0]) == "+" || slices.Contains([]string{"OK", "NO", "BAD", "BYE", "PREAUTH"}, string(words[1])) {
		return r.text()
	}
	if string(words[0]) != "*" {
		return errors.New("a tag without a status")
	}
	return r.data()
}

// text is text for humans, in which only control characters mean something.
func (r *responseReader) text() error {
	for ; r.at < len(r.said); r.at++ {
		if c := r.said[r.at]; c < ' ' || c == 0x7f {
			return r.lineEnd()
		}
	}
	return errors.New("the line does not end")
}

func (r *responseReader) lineEnd() error {
	if r.depth != 0 {
		return fmt.Errorf("the line ends within %d parentheses", r.depth)
	}
	if !bytes.HasPrefix(r.said[r.at:], []byte("\r\n")) {
		return fmt.Errorf("the character %q", r.said[r.at])
	}
	r.at += 2
	return nil
}

// data is made of atoms, strings and lists.
func (r *responseReader) data() error {
	for r.at < len(r.said) {
		switch c := r.said[r.at]; {
		case c == '"':
			if err := r.quoted(); err != nil {
				return err
			}
			continue
		case c == '{':
			if err := r.literal(); err != nil {
				return err
			}
			continue
		case c == '(':
			r.depth++
		case c == ')':
			if r.depth--; r.depth < 0 {
				return errors.New("a parenthesis that was not opened")
			}
		case c < ' ' || c == 0x7f:
			return r.lineEnd()
		case c >= 0x80:
			return errors.New("an atom of more than ASCII")
		}
		r.at++
	}
	return errors.New("the line does not end")
}

func (r *responseReader) quoted() error {
	start := r.at + 1
	for r.at = start; r.at < len(r.said); r.at++ {
		switch c := r.said[r.at]; {
		case c == '"':
			if inside := r.said[start:r.at]; !utf8.Valid(inside) {
				return errors.New("a quoted string that is not UTF-8")
			}
			r.at++
			return nil
		case c == '\\':
			if r.at++; r.at == len(r.said) || r.said[r.at] != '"' && r.said[r.at] != '\\' {
				return errors.New("a backslash in front of nothing")
			}
		case c == '\r' || c == '\n' || c == 0:
			return errors.New("a quoted string over the end of the line")
		case c >= 0x80 && !r.allows8bit:
			return errors.New("a quoted string of more than ASCII")
		}
	}
	return errors.New("a quoted string that does not end")
}

func (r *responseReader) literal() error {
	size, after, ok := bytes.Cut(r.said[r.at+1:], []byte("}\r\n"))
	n, err := strconv.Atoi(string(size))
	if !ok || err != nil || n > len(after) {
		return errors.New("not a literal")
	}
	r.at += 1 + len(size) + 3 + n
	return nil
}

func TestCheckResponses(t *testing.T) {
	for _, good := range []string{
		"a OK Done\r\n", "* 1 FETCH (FLAGS (\\Seen) BODY[HEADER.FIELDS (a \"b \\\" c\")] {3}\r\n\r\n( X NIL)\r\n", "+ \r\n", "* SEARCH\r\na NO (\"\r\n",
	} {
		if err := checkResponses([]byte(good), false); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"a OK Done", "a OK a\rb\r\n", "* LIST (\r\n", "* LIST )\r\n", "* X \"a\r\n\"\r\n", "* X \"\\a\"\r\n", "* X {3}\r\nab\r\n", "* X \"\xc3\xbc\"\r\n", "* X \xc3\r\n", "x\r\n",
	} {
		if err := checkResponses([]byte(bad), false); err == nil {
			t.Errorf("%q is taken for responses", bad)
		}
	}
}
