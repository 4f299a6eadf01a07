package message

// BaseSubject returns the base subject of RFC 5256 2.1 of a decoded subject, and
// whether it was a reply or forward.
func BaseSubject(subject string) (base string, reply bool) { panic("todo") }

// MessageIDs returns the message ids in a References, In-Reply-To or Message-ID
// value, without angle brackets and with needless quoting undone (RFC 5256 3),
// at most MaxMessageIDs of them.
func MessageIDs(value string) []string { panic("todo") }
