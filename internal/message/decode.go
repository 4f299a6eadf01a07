package message

import (
	"io"
	"strings"
	"unicode/utf8"
)

// DecodeHeader turns the encoded words (RFC 2047) of an unfolded header value into UTF-8.
// Broken ones, and those of an unknown charset, stay as they are; raw 8-bit bytes that
// are not UTF-8 are read as Windows-1252. It never fails. Control characters in
// encoded words become spaces.
func DecodeHeader(s string) string {
	if !strings.Contains(s, "=?") {
		if utf8.ValidString(s) {
			return s
		}
		return guess8bit([]byte(s))
	}
	var out strings.Builder
	var run wordRun
	for s != "" {
		i := strings.Index(s, "=?")
		if i < 0 {
			break
		}
		w, rest, ok := cutWord(s[i:])
		if !ok {
			run.flush(&out)
			out.WriteString(guess8bit([]byte(s[:i+2])))
			s = s[i+2:]
			continue
		}
		// RFC 2047 6.2: white space between two encoded words is not shown.
		if between := s[:i]; !run.open() || strings.TrimLeft(between, " \t\r\n") != "" {
			run.flush(&out)
			out.WriteString(guess8bit([]byte(between)))
		}
		run.add(&out, w)
		s = rest
	}
	run.flush(&out)
	out.WriteString(guess8bit([]byte(s)))
	return out.String()
}

// word is an encoded word taken apart.
type word struct {
	raw     string // as it stands in the header
	charset string
	text    []byte // decoded, in charset
}

// cutWord reads "=?charset?q?text?=" at the start of s.
func cutWord(s string) (w word, rest string, ok bool) {
	charset, after, ok := strings.Cut(s[len("=?"):], "?")
	if !ok || len(charset) > 64 || strings.ContainsAny(charset, " \t\r\n") {
		return word{}, "", false
	}
	charset, _, _ = strings.Cut(charset, "*") // RFC 2231 5: a language
	if len(after) < 2 || after[1] != '?' {
		return word{}, "", false
	}
	text, rest, ok := strings.Cut(after[2:], "?")
	if !ok || !strings.HasPrefix(rest, "=") {
		return word{}, "", false
	}
	rest = rest[1:]
	w = word{raw: s[:len(s)-len(rest)], charset: charset}
	switch after[0] {
	case 'B', 'b':
		d := base64Decoder{}
		w.text, _ = d.decode(nil, []byte(text))
		w.text, _ = d.flush(w.text)
	case 'Q', 'q':
		w.text = decodeQ(text)
	default:
		return word{}, "", false
	}
	_, known := charsetNamed(charset)
	return w, rest, known && charset != ""
}

// decodeQ undoes the Q encoding of RFC 2047 4.2; an "=" that means nothing stays.
func decodeQ(s string) []byte {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '_':
			out = append(out, ' ')
		case c == '=' && i+2 < len(s) && hexValue(s[i+1]) >= 0 && hexValue(s[i+2]) >= 0:
			out = append(out, byte(hexValue(s[i+1])<<4|hexValue(s[i+2])))
			i += 2
		default:
			out = append(out, c)
		}
	}
	return out
}

// wordRun gathers adjacent words of one charset: many programs cut characters of several
// bytes in two.
type wordRun struct {
	charset string
	raw     []string
	text    []byte
}

func (r *wordRun) open() bool { return len(r.raw) > 0 }

func (r *wordRun) add(out *strings.Builder, w word) {
	if r.open() && !strings.EqualFold(r.charset, w.charset) {
		r.flush(out)
	}
	r.charset = w.charset
	r.raw = append(r.raw, w.raw)
	r.text = append(r.text, w.text...)
}

func (r *wordRun) flush(out *strings.Builder) {
	if !r.open() {
		return
	}
	if text, ok := decodeBytes(r.text, r.charset); ok {
		out.WriteString(strings.Map(noControl, text))
	} else {
		out.WriteString(strings.Join(r.raw, " "))
	}
	*r = wordRun{}
}

func noControl(r rune) rune {
	if r < ' ' || r == 0x7f {
		return ' '
	}
	return r
}

// DecodeText returns the body r of a part in UTF-8, as SEARCH needs it: the transfer
// encoding undone (tolerantly: what cannot be decoded is passed over) and the charset
// converted. Unknown encodings and charsets pass through. The result is valid UTF-8.
func DecodeText(r io.Reader, encoding, charset string) io.Reader {
	r, _ = decodeTransfer(r, encoding, false)
	return toUTF8(r, charset)
}
