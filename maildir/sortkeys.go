package maildir

import (
	"crypto/sha256"
	"encoding/binary"

	"buzon/internal/message"
)

// SortKeys are what SORT and THREAD compare of a message (RFC 5256 2 and 3, RFC 5957
// 3). Texts are folded, so that they are in order as bytes. It points into Parsed.
type SortKeys struct {
	Sent    int64 // of the Date field, Unix seconds
	HasSent bool
	Subject []byte // base subject
	Reply   bool   // the subject is that of a reply or a forward
	// From, To and Cc are local parts of the first addresses; the others are what
	// mail readers show of them.
	From, To, Cc, DisplayFrom, DisplayTo []byte
	// ID is the message's id, and Refs those that it refers to, the oldest first: the
	// References, or where there are none the first In-Reply-To. 0 is none.
	ID   MessageID
	refs []byte
}

// MessageID stands for a message id: 64 bits of its SHA-256.
type MessageID uint64

func hashMessageID(id string) MessageID {
	sum := sha256.Sum256([]byte(id))
	return max(MessageID(binary.LittleEndian.Uint64(sum[:])), 1)
}

// Refs is the number of references.
func (k *SortKeys) Refs() int { return len(k.refs) / 8 }

// Ref is reference i.
func (k *SortKeys) Ref(i int) MessageID { return MessageID(binary.LittleEndian.Uint64(k.refs[8*i:])) }

// referencesField picks what a reply refers to.
var referencesField = message.NewFieldFilter([]string{"References"}, false)

// appendSortKeys encodes the keys of a message with this envelope and header.
func appendSortKeys(e encoder, env *message.Envelope, header []byte) encoder {
	sent, ok := message.Date(env.Date)
	e.bool(ok)
	if ok {
		e.int(sent.Unix())
	}
	base, reply := message.BaseSubject(message.DecodeHeader(env.Subject))
	e.text(message.Fold(base))
	e.bool(reply)
	for _, list := range [...][]message.Address{env.From, env.To, env.Cc} {
		e.text(message.Fold(first(list).Mailbox))
	}
	e.text(displayKey(first(env.From)))
	e.text(displayKey(first(env.To)))
	id := MessageID(0)
	if ids := message.MessageIDs(env.MessageID); len(ids) > 0 {
		id = hashMessageID(ids[0])
	}
	e.uint(uint64(id))
	var refs []string
	if only := referencesField.Append(nil, header); len(only) > len("\r\n") {
		refs = message.MessageIDs(message.ParseHeader(only).Get("References"))
	}
	if len(refs) == 0 {
		if refs = message.MessageIDs(env.InReplyTo); len(refs) > 1 {
			refs = refs[:1]
		}
	}
	var b []byte
	for _, ref := range refs {
		b = binary.LittleEndian.AppendUint64(b, uint64(hashMessageID(ref)))
	}
	e.bytes(b)
	return e
}

func first(list []message.Address) message.Address {
	if len(list) == 0 {
		return message.Address{}
	}
	return list[0]
}

func displayKey(a message.Address) string {
	switch {
	case a.Name != "":
		return message.Fold(message.DecodeHeader(a.Name))
	case a.Mailbox == "" && a.Host == "":
		return ""
	}
	return message.Fold(a.Mailbox + "@" + a.Host)
}

// decodeSortKeys reads what appendSortKeys wrote; what is damaged is empty.
func decodeSortKeys(data []byte) (k SortKeys) {
	d := decoder{data: data}
	if k.HasSent = d.bool(); k.HasSent {
		k.Sent = d.int()
	}
	k.Subject, k.Reply = d.bytes(), d.bool()
	k.From, k.To, k.Cc = d.bytes(), d.bytes(), d.bytes()
	k.DisplayFrom, k.DisplayTo = d.bytes(), d.bytes()
	k.ID, k.refs = MessageID(d.uint()), d.bytes()
	if d.bad {
		return SortKeys{}
	}
	return k
}
