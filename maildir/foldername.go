package maildir

import (
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Mailbox names are UTF-8 with "/" between their parts. On disk a mailbox other
// than INBOX is the directory "." + parts joined by ".", each in modified UTF-7
// (RFC 3501 5.1.3), as Dovecot has it: "Büro/Rechnung" is ".B&APw-ro.Rechnung".

const (
	inbox = "INBOX"
	// maxFolderDir keeps room for the endings that a name gets under NAME_MAX.
	maxFolderDir = 240
	// maxFolderDepth bounds the hierarchy.
	maxFolderDepth = 50
)

// canonicalName is name with INBOX, in any case, written in capitals where it is
// the first part (RFC 9051 5.1).
func canonicalName(name string) string {
	first, rest, found := strings.Cut(name, "/")
	if !strings.EqualFold(first, inbox) {
		return name
	}
	if !found {
		return inbox
	}
	return inbox + "/" + rest
}

// checkMailboxName reports why a name cannot be a mailbox here. A "." inside a
// part cannot be stored: on disk it is the separator.
func checkMailboxName(name string) error {
	bad := func(why string) error {
		return fmt.Errorf("mailbox %.80q: %s: %w", name, why, ErrBadName)
	}
	if !utf8.ValidString(name) {
		return bad("not UTF-8")
	}
	parts := strings.Split(name, "/")
	if len(parts) > maxFolderDepth {
		return bad("too deep")
	}
	for _, p := range parts {
		switch {
		case p == "":
			return bad("empty part")
		case strings.Contains(p, "."):
			return bad(`"." is not possible in names`)
		case strings.HasPrefix(p, "~"):
			return bad(`"~" at the beginning`)
		}
		for _, r := range p {
			// RFC 5198 2, RFC 9051 5.1: no control characters.
			if r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r == utf8.RuneError {
				return bad("control character")
			}
		}
	}
	if len(folderDir(name)) > maxFolderDir {
		return fmt.Errorf("mailbox %.80q: name too long: %w", name, ErrLimit)
	}
	return nil
}

// folderDir is the directory of a mailbox that is made by us; "" is INBOX, the
// root itself.
func folderDir(name string) string {
	if name == inbox {
		return ""
	}
	var b strings.Builder
	for p := range strings.SplitSeq(name, "/") {
		b.WriteByte('.')
		b.WriteString(encodeFolderPart(p))
	}
	return b.String()
}

// folderName is the name of the mailbox in a directory of the tree; ok is false
// for directories that are none: "..DOVECOT-TRASHED", ".", and names with which
// no client could work.
func folderName(dir string) (name string, ok bool) {
	if len(dir) < 2 || dir[0] != '.' || dir[1] == '.' {
		return "", false
	}
	parts := strings.Split(dir[1:], ".")
	for i, p := range parts {
		parts[i] = decodeFolderPart(p)
	}
	name = canonicalName(strings.Join(parts, "/"))
	return name, name != inbox && checkMailboxName(name) == nil
}

// modifiedBase64 is RFC 3501 5.1.3's: "," for "/", no padding.
var modifiedBase64 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

func encodeFolderPart(s string) string {
	var b strings.Builder
	var run []uint16
	flush := func() {
		if run == nil {
			return
		}
		raw := make([]byte, 0, 2*len(run))
		for _, u := range run {
			raw = append(raw, byte(u>>8), byte(u))
		}
		b.WriteString("&" + modifiedBase64.EncodeToString(raw) + "-")
		run = nil
	}
	for _, r := range s {
		if r < ' ' || r > '~' {
			run = utf16.AppendRune(run, r)
			continue
		}
		flush()
		b.WriteRune(r)
		if r == '&' {
			b.WriteByte('-')
		}
	}
	flush()
	return b.String()
}

// decodeFolderPart reads modified UTF-7. What is not well-formed is returned as
// it stands: Courier stores plain UTF-8.
func decodeFolderPart(s string) string {
	var b strings.Builder
	for rest := s; rest != ""; {
		plain, shifted, found := strings.Cut(rest, "&")
		b.WriteString(plain)
		if !found {
			break
		}
		code, after, found := strings.Cut(shifted, "-")
		if !found {
			return s
		}
		rest = after
		if code == "" {
			b.WriteByte('&')
			continue
		}
		raw, err := modifiedBase64.DecodeString(code)
		if err != nil || len(raw)%2 != 0 {
			return s
		}
		units := make([]uint16, len(raw)/2)
		for i := range units {
			units[i] = uint16(raw[2*i])<<8 | uint16(raw[2*i+1])
		}
		b.WriteString(string(utf16.Decode(units)))
	}
	// Only what encodes to the same bytes was modified UTF-7 as it should be: the
	// other way would lead to a different directory.
	if out := b.String(); encodeFolderPart(out) == s {
		return out
	}
	return s
}
