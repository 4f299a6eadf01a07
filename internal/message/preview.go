package message

import (
	"bufio"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// previewBytes is how much of a part's encoded body Preview reads, previewParts how many
// parts it tries.
const (
	previewBytes = 128 << 10
	previewParts = 8
)

// Preview returns at most max characters of the text that a person reads first in the
// message (RFC 8970 3): white space collapsed, HTML reduced to its text, quoted lines and
// what follows a signature mark left out where there is other text. p is r's tree.
func Preview(r io.ReaderAt, p *Part, max int) (string, error) {
	var quoted string
	tried := 0
	for _, text := range p.readable(nil) {
		if tried++; tried > previewParts {
			break
		}
		fresh, old, err := text.preview(r, max)
		if err != nil {
			return "", err
		}
		if fresh != "" {
			return fresh, nil
		}
		if quoted == "" {
			quoted = old
		}
	}
	return quoted, nil
}

// readable appends the text parts that are not attachments, in the order in which
// they are worth a look: of alternatives the plainest comes first already.
func (p *Part) readable(list []*Part) []*Part {
	switch {
	case len(list) >= previewParts, strings.EqualFold(p.Disposition, "attachment"):
	case p.IsMultipart() || p.IsMessage():
		for _, c := range p.Children {
			list = c.readable(list)
		}
	case strings.EqualFold(p.Type, "text") && (strings.EqualFold(p.Subtype, "plain") || strings.EqualFold(p.Subtype, "html")):
		list = append(list, p)
	}
	return list
}

// preview returns the start of p's own text and of the text that it quotes.
func (p *Part) preview(r io.ReaderAt, max int) (fresh, quoted string, err error) {
	body := io.NewSectionReader(r, p.Body.Start, min(p.Body.Len(), previewBytes))
	text := DecodeText(body, p.Encoding, p.Charset())
	own, other := excerpt{max: max}, excerpt{max: max}
	if strings.EqualFold(p.Subtype, "html") {
		err = htmlText(text, &own, &other)
	} else {
		err = plainText(text, &own, &other)
	}
	return own.String(), other.String(), err
}

// plainText tells the lines of a text from those that it quotes.
func plainText(r io.Reader, own, quoted *excerpt) error {
	b := bufio.NewReader(r)
	for !own.full() {
		line, err := b.ReadString('\n')
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(trimmed, ">"):
			quoted.write(strings.TrimLeft(trimmed, "> "))
			quoted.space()
		case strings.TrimRight(line, "\r\n") == "-- ":
			return nil // what follows is a signature
		default:
			own.write(line)
			own.space()
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// htmlText takes the text out of HTML. It reads tokens, builds no tree, and gives up at
// markup that has no end.
func htmlText(r io.Reader, own, quoted *excerpt) error {
	z := html.NewTokenizer(r)
	z.SetMaxBuf(previewBytes)
	hidden, quotes := 0, 0
	for !own.full() {
		switch z.Next() {
		case html.ErrorToken:
			if err := z.Err(); err != io.EOF && err != html.ErrBufferExceeded {
				return err
			}
			return nil
		case html.TextToken:
			switch {
			case hidden > 0:
			case quotes > 0:
				quoted.write(string(z.Text()))
			default:
				own.write(html.UnescapeString(string(z.Raw())))
			}
		case html.StartTagToken:
			tag, _ := z.TagName()
			switch a := atom.Lookup(tag); {
			case isHidden(a):
				hidden++
			case a == atom.Blockquote:
				quotes++
			case !isInline(a):
				own.space()
				quoted.space()
			}
		case html.EndTagToken:
			tag, _ := z.TagName()
			switch a := atom.Lookup(tag); {
			case isHidden(a):
				hidden = max(hidden-1, 0)
			case a == atom.Blockquote:
				quotes = max(quotes-1, 0)
			case !isInline(a):
				own.space()
				quoted.space()
			}
		case html.SelfClosingTagToken:
			own.space()
		}
	}
	return nil
}

func isHidden(a atom.Atom) bool {
	switch a {
	case atom.Head, atom.Style, atom.Script, atom.Title, atom.Noscript, atom.Template:
		return true
	}
	return false
}

func isInline(a atom.Atom) bool {
	switch a {
	case atom.A, atom.B, atom.I, atom.U, atom.S, atom.Em, atom.Strong, atom.Span, atom.Font, atom.Small, atom.Big,
		atom.Sub, atom.Sup, atom.Code, atom.Tt, atom.Abbr, atom.Mark, atom.Q, atom.Wbr:
		return true
	}
	return false
}

// excerpt gathers at most max characters, with white space collapsed.
type excerpt struct {
	b     strings.Builder
	n     int
	max   int
	blank bool // white space is due
}

func (e *excerpt) full() bool { return e.n >= e.max }

func (e *excerpt) space() { e.blank = e.n > 0 }

func (e *excerpt) write(s string) {
	for _, r := range s {
		switch {
		case e.full():
			return
		case unicode.IsSpace(r):
			e.space()
			continue
		case r == utf8.RuneError, padding(r):
			continue
		case joiner(r) && (e.blank || e.n == 0), !joiner(r) && !unicode.IsPrint(r):
			continue
		}
		if e.blank {
			e.blank = false
			e.n++
			e.b.WriteByte(' ')
			if e.full() {
				return
			}
		}
		e.n++
		e.b.WriteRune(r)
	}
}

// joiner reports whether r, though it shows nothing, is part of a word or a picture.
func joiner(r rune) bool {
	return r == 0x200c || r == 0x200d || unicode.Is(unicode.Variation_Selector, r)
}

// padding reports whether r is one of those that newsletters fill the preview with.
func padding(r rune) bool {
	return r == 0x34f || r == 0xad || r == 0x200b || r == 0xfeff || r == 0x2007
}

func (e *excerpt) String() string { return strings.TrimSpace(e.b.String()) }
