package imapd

import (
	"math/bits"
	"slices"
	"strings"

	"buzon/maildir"
)

// forwarded is a keyword to IMAP (RFC 5788 registers it) and a letter of its own to Maildir.
const forwarded = "$Forwarded"

// systemFlags in the order in which they are shown.
var systemFlags = []struct {
	name string
	flag maildir.Flags
}{
	{`\Answered`, maildir.FlagAnswered},
	{`\Flagged`, maildir.FlagFlagged},
	{`\Deleted`, maildir.FlagDeleted},
	{`\Seen`, maildir.FlagSeen},
	{`\Draft`, maildir.FlagDraft},
	{forwarded, maildir.FlagForwarded},
}

// flagTexts has the text of every combination of flags, each name followed by a space.
var flagTexts = func() (texts [64]string) {
	for set := range texts {
		for _, f := range systemFlags {
			if maildir.Flags(set)&f.flag != 0 {
				texts[set] += f.name + " "
			}
		}
	}
	return texts
}()

// appendFlags appends the flags of m as this session sees them, separated by spaces.
func (s *session) appendFlags(b []byte, m maildir.Message) []byte {
	start := len(b)
	b = append(b, flagTexts[m.Flags&63]...)
	if m.Keywords != 0 {
		names := s.view.state.Keywords()
		for set := uint64(m.Keywords); set != 0; set &= set - 1 {
			if i := bits.TrailingZeros64(set); i < len(names) && names[i] != "" {
				b = append(b, names[i]...)
				b = append(b, ' ')
			}
		}
	}
	if !s.has(rev2) && s.view.isRecent(m.UID) { // RFC 9051 has no \Recent
		b = append(b, `\Recent `...)
	}
	if len(b) > start {
		b = b[:len(b)-1]
	}
	return b
}

// flagSet is what a client gives to STORE and APPEND.
type flagSet struct {
	flags    maildir.Flags
	keywords []string
}

// parseFlags sorts names into flags and keywords. \Recent is passed over: it is the server's to
// set, and old clients copy it from a FETCH.
func parseFlags(names []string) (flagSet, error) {
	var fs flagSet
next:
	for _, name := range names {
		for _, f := range systemFlags {
			if strings.EqualFold(name, f.name) {
				fs.flags |= f.flag
				continue next
			}
		}
		switch {
		case strings.EqualFold(name, `\Recent`):
		case strings.HasPrefix(name, `\`):
			return fs, bad("No such system flag")
		case len(name) > 128:
			return fs, no("LIMIT", "The keyword is too long")
		case !slices.ContainsFunc(fs.keywords, func(k string) bool { return strings.EqualFold(k, name) }):
			fs.keywords = append(fs.keywords, name)
		}
	}
	return fs, nil
}

// writeFlags announces the flags in use in the selected mailbox and those that can be changed.
func (s *session) writeFlags() {
	s.enc.Raw("* FLAGS (")
	s.writeFlagNames(maildir.LockedFlags{})
	s.enc.Raw(")\r\n* OK [PERMANENTFLAGS (")
	if !s.view.readOnly {
		s.writeFlagNames(s.view.rights.LockedFlags())
		if s.view.rights.Has(maildir.RightWrite) {
			s.enc.Raw(` \*`)
		}
	}
	s.enc.Raw(")] Flags permitted\r\n")
}

// writeFlagNames lists the flags that are not locked.
func (s *session) writeFlagNames(locked maildir.LockedFlags) {
	space := ""
	for _, f := range systemFlags {
		if f.flag&locked.Flags == 0 {
			s.enc.Raw(space).Raw(f.name)
			space = " "
		}
	}
	for _, name := range s.view.state.Keywords() {
		if name != "" && !locked.Keywords {
			s.enc.Raw(space).Raw(name)
			space = " "
		}
	}
}
