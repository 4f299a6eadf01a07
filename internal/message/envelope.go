package message

// Envelope is what IMAP calls so: fields of a message's header, unfolded but not
// decoded (RFC 9051 7.5.2). From, Sender and ReplyTo are what the header says; that
// Sender and ReplyTo default to From is applied when it is written.
type Envelope struct {
	Date, Subject         string
	From, Sender, ReplyTo []Address
	To, Cc, Bcc           []Address
	InReplyTo, MessageID  string

	present fieldSet // which of the strings the header has, even if empty
}

type fieldSet uint8

const (
	hasDate fieldSet = 1 << iota
	hasSubject
	hasInReplyTo
	hasMessageID
)

// envelopeField reports whether name is a field of the envelope.
func envelopeField(name []byte) bool {
	switch len(name) {
	case 2:
		return equalFold(name, "to") || equalFold(name, "cc")
	case 3:
		return equalFold(name, "bcc")
	case 4:
		return equalFold(name, "from") || equalFold(name, "date")
	case 6:
		return equalFold(name, "sender")
	case 7:
		return equalFold(name, "subject")
	case 8:
		return equalFold(name, "reply-to")
	case 10:
		return equalFold(name, "message-id")
	case 11:
		return equalFold(name, "in-reply-to")
	}
	return false
}

// set takes one field. Of several strings with one name the last wins, of several
// address lists all stand: a client must not show less than the sender wrote.
func (e *Envelope) set(name, value []byte) {
	switch {
	case equalFold(name, "date"):
		e.Date, e.present = string(value), e.present|hasDate
	case equalFold(name, "subject"):
		e.Subject, e.present = string(value), e.present|hasSubject
	case equalFold(name, "in-reply-to"):
		e.InReplyTo, e.present = string(value), e.present|hasInReplyTo
	case equalFold(name, "message-id"):
		e.MessageID, e.present = string(value), e.present|hasMessageID
	case equalFold(name, "from"):
		e.From = addAddresses(e.From, value)
	case equalFold(name, "sender"):
		e.Sender = addAddresses(e.Sender, value)
	case equalFold(name, "reply-to"):
		e.ReplyTo = addAddresses(e.ReplyTo, value)
	case equalFold(name, "to"):
		e.To = addAddresses(e.To, value)
	case equalFold(name, "cc"):
		e.Cc = addAddresses(e.Cc, value)
	case equalFold(name, "bcc"):
		e.Bcc = addAddresses(e.Bcc, value)
	}
}

// addAddresses adds those of one field, up to MaxAddresses in all.
func addAddresses(list []Address, value []byte) []Address {
	if len(list) == 0 {
		return parseAddresses(value)
	}
	if len(list) < MaxAddresses {
		list = append(list, parseAddresses(value)...)
	}
	return list
}

// Append appends e in IMAP syntax, ready to send.
func (e *Envelope) Append(dst []byte) []byte {
	sender, replyTo := e.Sender, e.ReplyTo
	if sender == nil { // RFC 9051 7.5.2: the server supplies the default
		sender = e.From
	}
	if replyTo == nil {
		replyTo = e.From
	}
	dst = append(dst, '(')
	dst = appendNString(dst, e.Date, e.present&hasDate != 0)
	dst = append(dst, ' ')
	if e.present&hasSubject != 0 {
		dst = appendText(dst, e.Subject)
	} else {
		dst = append(dst, "NIL"...)
	}
	for _, list := range [...][]Address{e.From, sender, replyTo, e.To, e.Cc, e.Bcc} {
		dst = append(dst, ' ')
		dst = appendAddresses(dst, list)
	}
	dst = append(dst, ' ')
	dst = appendNString(dst, e.InReplyTo, e.present&hasInReplyTo != 0)
	dst = append(dst, ' ')
	dst = appendNString(dst, e.MessageID, e.present&hasMessageID != 0)
	return append(dst, ')')
}

func appendAddresses(dst []byte, list []Address) []byte {
	if len(list) == 0 {
		return append(dst, "NIL"...)
	}
	dst = append(dst, '(')
	for _, a := range list {
		dst = append(dst, '(')
		dst = a.append(dst)
		dst = append(dst, ')')
	}
	return append(dst, ')')
}

func (a Address) append(dst []byte) []byte {
	switch a.Group {
	case GroupStart:
		dst = append(dst, "NIL NIL "...)
		dst = appendString(dst, a.Mailbox)
		return append(dst, " NIL"...)
	case GroupEnd:
		return append(dst, "NIL NIL NIL NIL"...)
	}
	if a.Name == "" && a.flaws&emptyName == 0 {
		dst = append(dst, "NIL"...)
	} else {
		dst = appendText(dst, a.Name)
	}
	dst = append(dst, ' ')
	switch {
	case a.flaws&badRoute != 0:
		dst = append(dst, `"INVALID_ROUTE"`...)
	case a.Route == "":
		dst = append(dst, "NIL"...)
	default:
		dst = appendString(dst, a.Route)
	}
	dst = append(dst, ' ')
	if a.flaws&noMailbox != 0 {
		dst = append(dst, `"MISSING_MAILBOX"`...)
	} else {
		dst = appendString(dst, a.Mailbox)
	}
	dst = append(dst, ' ')
	switch {
	case a.flaws&badSyntax != 0:
		return append(dst, `"SYNTAX_ERROR"`...)
	case a.flaws&noHost != 0:
		return append(dst, `"MISSING_DOMAIN"`...)
	}
	return appendString(dst, a.Host)
}
