package imapd

import (
	"crypto/sha256"
	"encoding/base64"
)

// appendObjectID appends an identifier of RFC 8474: it is the same for the same message wherever it
// is, since it comes from its GUID.
func appendObjectID(b []byte, kind byte, guid string) []byte {
	sum := sha256.Sum256([]byte(guid))
	return base64.RawURLEncoding.AppendEncode(append(b, kind), sum[:15])
}
