package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

// maxRSABits is the size of key that a signature may have: what is larger costs
// more than it proves. Less than 1024 is refused by RFC 8301 3.2.
const maxRSABits = 4096

// keyRecord is what of a key record (RFC 6376 3.6.1) the library does not tell.
type keyRecord struct {
	text    string // with the white space taken out of the key, for the library
	bits    int    // of an RSA key, 0 for others
	testing bool   // t=y
	strict  bool   // t=s
}

func readKey(text string) keyRecord {
	tags := parseTags(text)
	k := keyRecord{}
	flags := strings.Split(tags["t"], ":")
	k.testing, k.strict = slices.Contains(flags, "y"), slices.Contains(flags, "s")
	if der, err := base64.StdEncoding.DecodeString(tags["p"]); err == nil && (tags["k"] == "" || tags["k"] == "rsa") {
		k.bits = rsaBits(der)
	}
	parts := strings.Split(text, ";")
	for i, part := range parts {
		if name, _, _ := strings.Cut(part, "="); strings.TrimSpace(name) == "p" {
			parts[i] = "p=" + tags["p"]
		}
	}
	k.text = strings.Join(parts, ";")
	return k
}

func rsaBits(der []byte) int {
	if pub, err := x509.ParsePKIXPublicKey(der); err == nil {
		if key, ok := pub.(*rsa.PublicKey); ok {
			return key.N.BitLen()
		}
	}
	if key, err := x509.ParsePKCS1PublicKey(der); err == nil {
		return key.N.BitLen()
	}
	return 0
}

// Record returns the text of the key record for a public key.
func Record(pub crypto.PublicKey) (string, error) {
	switch key := pub.(type) {
	case ed25519.PublicKey: // RFC 8463 4
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(key), nil
	case *rsa.PublicKey:
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			return "", err
		}
		return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der), nil
	}
	return "", fmt.Errorf("a key of type %T signs no mail", pub)
}

// SameKey reports whether a record that was found holds the key of one that
// was published.
func SameKey(found, published string) bool {
	a, b := parseTags(found), parseTags(published)
	kind := func(t map[string]string) string {
		if t["k"] == "" {
			return "rsa"
		}
		return t["k"]
	}
	return a["p"] != "" && a["p"] == b["p"] && kind(a) == kind(b)
}
