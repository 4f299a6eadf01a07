package imapd

import (
	"slices"
	"strconv"
	"strings"
)

// capability is CAPABILITY (RFC 9051 6.1.1).
func (s *session) capability(r *request) error {
	if err := r.End(); err != nil {
		return err
	}
	s.enc.Raw("* CAPABILITY ")
	s.writeCapabilities()
	s.enc.CRLF()
	return nil
}

// always are the capabilities that have no state.
var always = []string{"IMAP4rev1", "IMAP4rev2", "LITERAL+", "SASL-IR", "ID", "ENABLE"}

// afterLogin are those that a client can use once it is logged in. Each one is a file of this
// package, and a row of docs/protocols.md.
var afterLogin = []string{
	// mailboxes
	"NAMESPACE", "CHILDREN", "SPECIAL-USE", "CREATE-SPECIAL-USE", "LIST-EXTENDED", "LIST-STATUS",
	"STATUS=SIZE", "QUOTA", "QUOTA=RES-STORAGE", "QUOTA=RES-MESSAGE", "OBJECTID", "UNSELECT",
	"METADATA", "METADATA-SERVER", "LIST-METADATA", "ACL", "RIGHTS=kxte", "LIST-MYRIGHTS",
	// messages
	"UIDPLUS", "MOVE", "MULTIAPPEND", "CATENATE", "URLAUTH", "URL-PARTIAL", "REPLACE", "BINARY", "SAVEDATE", "PREVIEW",
	// news
	"IDLE", "NOTIFY", "CONDSTORE", "QRESYNC", "UIDONLY", "INPROGRESS",
	// searching
	"ESEARCH", "SEARCHRES", "WITHIN", "PARTIAL", "SEARCH=FUZZY", "CONTEXT=SEARCH", "CONTEXT=SORT", "MULTISEARCH",
	"SORT", "SORT=DISPLAY", "ESORT", "I18NLEVEL=1",
	"THREAD=REFERENCES", "THREAD=REFS", "THREAD=ORDEREDSUBJECT",
	// the session
	"UTF8=ACCEPT", "UNAUTHENTICATE",
}

func (s *session) writeCapabilities() { s.enc.Raw(strings.Join(s.capabilities(), " ")) }

// capabilities lists what works in the session's state (RFC 9051 6.1.1).
func (s *session) capabilities() []string {
	caps := slices.Clone(always)
	if s.state == notAuthenticated {
		if !s.tls && s.srv.cfg.TLS != nil {
			caps = append(caps, "STARTTLS")
		}
		mechanisms := s.srv.cfg.Logins.Mechanisms(s.client())
		if len(mechanisms) == 0 {
			caps = append(caps, "LOGINDISABLED")
		}
		for _, name := range mechanisms {
			caps = append(caps, "AUTH="+name)
		}
		return caps
	}
	caps = append(caps, afterLogin...)
	if s.stream.deflate == nil {
		caps = append(caps, "COMPRESS=DEFLATE")
	}
	caps = append(caps, "APPENDLIMIT="+strconv.FormatInt(s.srv.cfg.MessageSize, 10))
	return slices.DeleteFunc(caps, s.hides)
}

// hides says whether a capability is not shown to the account: named as it is, or without what stands
// behind its "=".
func (s *session) hides(c string) bool {
	kind, _, _ := strings.Cut(c, "=")
	return slices.ContainsFunc(s.account.HiddenCapabilities, func(hidden string) bool {
		return strings.EqualFold(hidden, c) || strings.EqualFold(hidden, kind)
	})
}
