package imapd

import (
	"crypto/sha256"
	"encoding/base64"

	"buzon/internal/message"
)

// appendObjectID appends an identifier of RFC 8474. An EMAILID is the same for the same message
// wherever it is, since it comes from its GUID.
func appendObjectID(b []byte, kind byte, of string) []byte {
	sum := sha256.Sum256([]byte(of))
	return base64.RawURLEncoding.AppendEncode(append(b, kind), sum[:15])
}

// threadID is what the THREADID of the message comes from: the id of the first message of its
// conversation, as its own references name it (RFC 8474 5.2 leaves the algorithm to the server).
// It is "" for a message without any id.
func (c *content) threadID() (string, error) {
	raw, err := c.someHeader(true)
	if err != nil {
		return "", err
	}
	h := message.ParseHeader(raw)
	for _, field := range []string{"References", "In-Reply-To", "Message-ID"} {
		if ids := message.MessageIDs(h.Get(field)); len(ids) > 0 {
			return ids[0], nil
		}
	}
	return "", nil
}
