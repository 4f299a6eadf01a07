package maildir

import "strings"

// Rights are what somebody may do with a mailbox (RFC 4314 2.1).
type Rights uint16

// The rights, in the order in which Dovecot writes them.
const (
	RightLookup  Rights = 1 << iota // l: see that it is there
	RightRead                       // r: open it
	RightWrite                      // w: flags other than these two
	RightSeen                       // s: \Seen
	RightDeleted                    // t: \Deleted
	RightInsert                     // i: APPEND, COPY into it
	RightPost                       // p: mail to its address; nothing of IMAP
	RightExpunge                    // e
	RightCreate                     // k: mailboxes below it
	RightDelete                     // x: the mailbox itself
	RightAdmin                      // a: change the rights

	AllRights Rights = 1<<iota - 1
	NoRights  Rights = 0
)

const rightLetters = "lrwstipekxa"

// rightNames are Dovecot's long names, in the same order.
var rightNames = [...]string{"lookup", "read", "write", "write-seen", "write-deleted", "insert", "post", "expunge", "create", "delete", "admin"}

// Has says whether all of want are among them.
func (r Rights) Has(want Rights) bool { return r&want == want }

// String writes one letter for each right.
func (r Rights) String() string {
	b := make([]byte, 0, len(rightLetters))
	for i := range len(rightLetters) {
		if r&(1<<i) != 0 {
			b = append(b, rightLetters[i])
		}
	}
	return string(b)
}

// ParseRights reads letters. The obsolete ones are c for kx and d for et (RFC 4314 2.1.1); ok is
// false for any other.
func ParseRights(letters string) (r Rights, ok bool) {
	for i := range len(letters) {
		switch c := letters[i]; c {
		case 'c':
			r |= RightCreate | RightDelete
		case 'd':
			r |= RightExpunge | RightDeleted
		default:
			n := strings.IndexByte(rightLetters, c)
			if n < 0 {
				return 0, false
			}
			r |= 1 << n
		}
	}
	return r, true
}

// LockedFlags are flags that are not the caller's to change. The zero value is none.
type LockedFlags struct {
	Flags    Flags
	Keywords bool
}

// LockedFlags are the flags that need more rights than these: s for \Seen, t for \Deleted, w for all
// others (RFC 4314 4).
func (r Rights) LockedFlags() (l LockedFlags) {
	if !r.Has(RightSeen) {
		l.Flags |= FlagSeen
	}
	if !r.Has(RightDeleted) {
		l.Flags |= FlagDeleted
	}
	if !r.Has(RightWrite) {
		l.Flags |= ^(FlagSeen | FlagDeleted)
		l.Keywords = true
	}
	return l
}

// Cut removes what is locked.
func (l LockedFlags) Cut(f Flags, keywords []string) (Flags, []string) {
	if l.Keywords {
		keywords = nil
	}
	return f &^ l.Flags, keywords
}
