package imapd

// features are what ENABLE can turn on, with what each one brings along.
var features = []struct {
	name    string
	enables feature
}{
	{"CONDSTORE", condstore},
	{"QRESYNC", qresync | condstore}, // RFC 7162 3.2.3
	{"IMAP4REV2", rev2 | utf8Accept}, // RFC 9051 6.3.1
	{"UTF8=ACCEPT", utf8Accept},      // RFC 6855
	{"UIDONLY", uidOnly},             // RFC 9586
	{"METADATA", metadata},           // RFC 5464 4.1
	{"METADATA-SERVER", metadata | metadataServer},
}

// enable is ENABLE (RFC 9051 6.3.1, RFC 5161). What is not known is passed over.
func (s *session) enable(r *request) error {
	var wanted []string
	for r.Is(' ') {
		if !r.Item() {
			break
		}
		wanted = append(wanted, r.Word())
	}
	if len(wanted) == 0 {
		r.Fail("expected a capability")
	}
	if err := r.End(); err != nil {
		return err
	}
	before := s.enabled
	s.enc.Raw("* ENABLED")
	for _, name := range wanted {
		for _, f := range features {
			if f.name == name && s.enabled&f.enables != f.enables {
				s.enabled |= f.enables
				if name == "IMAP4REV2" {
					name = "IMAP4rev2"
				}
				s.enc.SP().Raw(name)
			}
		}
	}
	s.enc.CRLF()
	if s.has(metadata) || s.has(metadataServer) {
		s.hearAnnotations()
	}
	s.enc.UTF8 = s.has(utf8Accept)
	s.dec.UTF8 = s.has(utf8Accept)
	if s.view != nil && s.has(condstore) && before&condstore == 0 {
		s.writeHighestModSeq() // RFC 7162 3.1.2
	}
	return nil
}
