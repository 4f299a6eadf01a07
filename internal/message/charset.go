package message

import (
	"encoding/binary"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/transform"
)

// charsetNamed returns the encoding that mail calls name, nil for UTF-8 and its subset
// ASCII. known is false for a name that nobody knows. Names are read as browsers read
// them, so that ISO-8859-1 means Windows-1252 and GB2312 means GBK: that is what senders
// mean.
func charsetNamed(name string) (e encoding.Encoding, known bool) {
	name = strings.ToLower(strings.Trim(name, " \t\"'"))
	switch name {
	case "", "utf-8", "utf8", "us-ascii", "ascii", "ansi_x3.4-1968", "unknown-8bit", "x-unknown", "default":
		return nil, true
	case "utf-7", "unicode-1-1-utf-7", "utf7":
		return utf7{}, true
	case "cp-850", "cp850":
		return charmap.CodePage850, true
	case "hz-gb-2312":
		return simplifiedchinese.HZGB2312, true
	}
	if e, err := htmlindex.Get(name); err == nil {
		if n, _ := htmlindex.Name(e); n == "utf-8" {
			return nil, true
		} else if n == "replacement" { // for browsers, not for mail: ISO-2022-KR and others
			return nil, false
		}
		return e, true
	}
	if e, err := ianaindex.MIME.Encoding(name); err == nil && e != nil {
		return e, true
	}
	if e, err := ianaindex.IANA.Encoding(name); err == nil && e != nil {
		return e, true
	}
	return nil, false
}

// KnownCharset reports whether text in the named charset can be decoded. SEARCH refuses
// others (RFC 9051 6.4.4).
func KnownCharset(name string) bool {
	_, known := charsetNamed(name)
	return known
}

// DecodeCharset returns s, which is in the named charset, in UTF-8; ok is false where the
// charset is not known or s is not valid in it.
func DecodeCharset(s, name string) (text string, ok bool) {
	e, known := charsetNamed(name)
	if !known {
		return "", false
	}
	if e == nil {
		return s, utf8.ValidString(s)
	}
	text, err := e.NewDecoder().String(s)
	return text, err == nil && !strings.ContainsRune(text, utf8.RuneError)
}

// decodeBytes returns text in the named charset as valid UTF-8, whatever it holds.
func decodeBytes(b []byte, charset string) (string, bool) {
	e, known := charsetNamed(charset)
	if !known {
		return "", false
	}
	if e == nil {
		return guess8bit(b), true
	}
	out, err := e.NewDecoder().Bytes(b)
	if err != nil {
		return "", false
	}
	return strings.ToValidUTF8(string(out), nulReplacement), true
}

// guess8bit reads bytes that should be UTF-8: what is not is taken for Windows-1252,
// the charset of programs that send without naming one.
func guess8bit(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	out, err := charmap.Windows1252.NewDecoder().Bytes(b)
	if err != nil {
		return strings.ToValidUTF8(string(b), nulReplacement)
	}
	return string(out)
}

// toUTF8 converts a stream. The result is valid UTF-8.
func toUTF8(r io.Reader, charset string) io.Reader {
	e, known := charsetNamed(charset)
	if e == nil || !known {
		return &utf8Reader{r: r}
	}
	return transform.NewReader(r, e.NewDecoder())
}

// utf8OrLatin passes UTF-8 on and reads each other byte as Windows-1252.
type utf8OrLatin struct{ transform.NopResetter }

func (utf8OrLatin) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		n := asciiPrefix(src[nSrc:])
		if n > 0 {
			n = copy(dst[nDst:], src[nSrc:nSrc+n])
			nDst += n
			nSrc += n
			if nSrc < len(src) && nDst == len(dst) {
				return nDst, nSrc, transform.ErrShortDst
			}
			continue
		}
		r, size := utf8.DecodeRune(src[nSrc:])
		if r == utf8.RuneError && size == 1 {
			if !atEOF && !utf8.FullRune(src[nSrc:]) {
				return nDst, nSrc, transform.ErrShortSrc
			}
			r = charmap.Windows1252.DecodeByte(src[nSrc])
		}
		if nDst+utf8.RuneLen(r) > len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += utf8.EncodeRune(dst[nDst:], r)
		nSrc += size
	}
	return nDst, nSrc, nil
}

// asciiPrefix returns how much of b is US-ASCII before the first byte that is not.
func asciiPrefix(b []byte) int {
	n := 0
	for ; len(b)-n >= 8; n += 8 {
		if binary.LittleEndian.Uint64(b[n:])&0x8080808080808080 != 0 {
			break
		}
	}
	for n < len(b) && b[n] < utf8.RuneSelf {
		n++
	}
	return n
}
