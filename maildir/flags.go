package maildir

import (
	"math/bits"
	"slices"
	"strings"
)

// UID is a message's unique identifier in its mailbox (RFC 9051 2.3.1.1).
type UID uint32

// ModSeq is a modification sequence (RFC 7162). Ours come from the clock, in
// microseconds, so that they keep growing when every derived file is lost.
type ModSeq uint64

// Flags is the set of a message's system flags.
type Flags uint16

// The flags that have a letter of their own. FlagForwarded is the keyword
// $Forwarded, which Maildir writes as P ("passed").
const (
	FlagSeen Flags = 1 << iota
	FlagAnswered
	FlagFlagged
	FlagDeleted
	FlagDraft
	FlagForwarded
)

// Forwarded is the keyword that FlagForwarded stands for.
const Forwarded = "$Forwarded"

// KeywordSet is a set of a mailbox's keywords: bit i is State.Keywords()[i].
type KeywordSet uint64

const (
	letterKeywords = 26 // letters a to z, in dovecot-keywords
	maxKeywords    = 64 // beyond the letters they live in dovecot-keywords-more
	letterMask     = KeywordSet(1)<<letterKeywords - 1
)

// flagLetters is in ASCII order: the letters of a name must be sorted, notmuch
// refuses to touch it otherwise.
var flagLetters = [...]struct {
	letter byte
	flag   Flags
}{
	{'D', FlagDraft}, {'F', FlagFlagged}, {'P', FlagForwarded},
	{'R', FlagAnswered}, {'S', FlagSeen}, {'T', FlagDeleted},
}

func letterFlag(c byte) Flags {
	for _, l := range flagLetters {
		if l.letter == c {
			return l.flag
		}
	}
	return 0
}

// An info is the parsed second half of a name. What we do not know is kept.
type info struct {
	raw     string // as it stands in the name, "" or from the ':' on
	flags   Flags
	letters KeywordSet // a to z as bits 0 to 25
	unknown string     // other letters, sorted, each once
	extra   string     // from the comma after the letters on, with it
}

// parseInfo reads the flags after the last ':'. Anything but version 2 has no
// flags, and is replaced when flags are stored.
func parseInfo(raw string) info {
	in := info{raw: raw}
	i := strings.LastIndexByte(raw, ':')
	if i < 0 || !strings.HasPrefix(raw[i:], ":2,") {
		return in
	}
	letters := raw[i+3:]
	if j := strings.IndexByte(letters, ','); j >= 0 {
		letters, in.extra = letters[:j], letters[j:]
	}
	var unknown []byte
	for _, c := range []byte(letters) {
		switch f := letterFlag(c); {
		case f != 0:
			in.flags |= f
		case c >= 'a' && c <= 'z':
			in.letters |= 1 << (c - 'a')
		case !slices.Contains(unknown, c):
			unknown = append(unknown, c)
		}
	}
	slices.Sort(unknown)
	in.unknown = string(unknown)
	return in
}

// with returns the info text for other flags and keyword letters; unknown
// letters and extra fields stay.
func (in info) with(flags Flags, letters KeywordSet) string {
	out := make([]byte, 0, 16+len(in.unknown)+len(in.extra))
	for _, l := range flagLetters {
		if flags&l.flag != 0 {
			out = append(out, l.letter)
		}
	}
	for k := uint64(letters & letterMask); k != 0; k &= k - 1 {
		out = append(out, 'a'+byte(bits.TrailingZeros64(k)))
	}
	if in.unknown != "" {
		out = append(out, in.unknown...)
		slices.Sort(out)
	}
	return ":2," + string(out) + in.extra
}
