package ledger

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
)

// A Message is made to be found again: by its Message-ID, and by the sum of its
// body, which no host may change.
type Message struct {
	ID       string
	From, To string
	Raw      []byte // with CRLF line ends
	Sum      string
}

// NewMessage makes a message that nobody has seen before. Most are small, one
// in sixteen is of a mebibyte; some lines begin with a dot.
func NewMessage(from, to string) Message {
	m := Message{ID: "ledger." + rand.Text() + "@ledger.test", From: from, To: to}
	size := 1 + mathrand.IntN(32<<10)
	if mathrand.IntN(16) == 0 {
		size = 1 << 20
	}
	noise := make([]byte, size*3/4)
	rand.Read(noise)
	text := base64.StdEncoding.EncodeToString(noise)
	var body strings.Builder
	for len(text) > 0 {
		n := min(76, len(text))
		if mathrand.IntN(8) == 0 {
			body.WriteByte('.')
		}
		body.WriteString(text[:n])
		body.WriteString("\r\n")
		text = text[n:]
	}
	sum := sha256.Sum256([]byte(body.String()))
	m.Sum = hex.EncodeToString(sum[:])
	m.Raw = fmt.Appendf(nil, "From: <%s>\r\nTo: <%s>\r\nSubject: ledger\r\nDate: Mon, 02 Jan 2006 15:04:05 +0000\r\nMessage-ID: <%s>\r\n\r\n%s",
		from, to, m.ID, body.String())
	return m
}

// identify finds the Message-ID and the sum of the body of a whole message, as
// a host stored or sent it. Line ends may have become LF.
func identify(raw string) (id, sum string) {
	raw = strings.ReplaceAll(raw, "\r\n", "\n")
	header, body, _ := strings.Cut(raw, "\n\n")
	for line := range strings.SplitSeq(header, "\n") {
		name, value, _ := strings.Cut(line, ":")
		if strings.EqualFold(name, "Message-ID") {
			id = strings.Trim(strings.TrimSpace(value), "<>")
		}
	}
	digest := sha256.Sum256([]byte(strings.ReplaceAll(body, "\n", "\r\n")))
	return id, hex.EncodeToString(digest[:])
}
