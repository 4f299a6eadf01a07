package wire

import (
	"encoding/base64"
	"errors"
	"unicode/utf16"
	"unicode/utf8"
)

// Modified UTF-7 of mailbox names (RFC 3501 5.1.3): printable US-ASCII stands for itself, "&" is
// "&-", and everything else is UTF-16 in base64 with "," for "/" between "&" and "-".
var base64UTF7 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding).Strict()

var errUTF7 = errors.New("mailbox name is not modified UTF-7")

// DecodeUTF7 returns the name in UTF-8. Names that are not in their only right form are refused:
// two spellings of one name would be two mailboxes to some clients.
func DecodeUTF7(s string) (string, error) {
	i := 0
	for i < len(s) && s[i] >= 0x20 && s[i] < 0x7f && s[i] != '&' {
		i++
	}
	if i == len(s) {
		return s, nil
	}
	out := make([]byte, 0, len(s))
	shifted := -1 // where the last shift ended: two in a row are one wrongly split
	for i = 0; i < len(s); i++ {
		c := s[i]
		if c < 0x20 || c >= 0x7f {
			return "", errUTF7
		}
		if c != '&' {
			out = append(out, c)
			continue
		}
		end := i + 1
		for end < len(s) && s[end] != '-' {
			if s[end] < 0x20 { // CR and LF, which the decoder of base64 would pass over
				return "", errUTF7
			}
			end++
		}
		if end == len(s) {
			return "", errUTF7
		}
		if end == i+1 {
			out = append(out, '&')
			i = end
			continue
		}
		if shifted == i {
			return "", errUTF7
		}
		var ok bool
		if out, ok = appendShifted(out, s[i+1:end]); !ok {
			return "", errUTF7
		}
		i = end
		shifted = end + 1
	}
	return string(out), nil
}

func appendShifted(out []byte, s string) ([]byte, bool) {
	b, err := base64UTF7.DecodeString(s)
	if err != nil || len(b)%2 != 0 {
		return nil, false
	}
	for i := 0; i < len(b); i += 2 {
		r := rune(b[i])<<8 | rune(b[i+1])
		if utf16.IsSurrogate(r) {
			if i += 2; i >= len(b) {
				return nil, false
			}
			if r = utf16.DecodeRune(r, rune(b[i])<<8|rune(b[i+1])); r == utf8.RuneError {
				return nil, false
			}
		}
		if r >= 0x20 && r < 0x7f || r == 0 {
			return nil, false // has a direct form
		}
		out = utf8.AppendRune(out, r)
	}
	return out, true
}

// AppendUTF7 appends name, which is UTF-8, in modified UTF-7.
func AppendUTF7(b []byte, name string) []byte {
	for len(name) > 0 {
		if c := name[0]; c >= 0x20 && c < 0x7f {
			b = append(b, c)
			if c == '&' {
				b = append(b, '-')
			}
			name = name[1:]
			continue
		}
		var units []byte
		for len(name) > 0 && (name[0] < 0x20 || name[0] >= 0x7f) {
			r, n := utf8.DecodeRuneInString(name)
			name = name[n:]
			if hi, lo := utf16.EncodeRune(r); hi != utf8.RuneError {
				units = append(units, byte(hi>>8), byte(hi), byte(lo>>8), byte(lo))
			} else {
				units = append(units, byte(r>>8), byte(r))
			}
		}
		b = append(b, '&')
		b = base64UTF7.AppendEncode(b, units)
		b = append(b, '-')
	}
	return b
}

// EncodeUTF7 returns name, which is UTF-8, in modified UTF-7.
func EncodeUTF7(name string) string { return string(AppendUTF7(nil, name)) }
