package arc

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"buzon/internal/message"
)

// Key signs a set. Its public half is published like a DKIM key.
type Key struct {
	Domain   string
	Selector string
	Private  crypto.Signer // *rsa.PrivateKey or ed25519.PrivateKey
}

// covered are the fields that our message signatures cover, where they are.
var covered = []string{
	"From", "To", "Cc", "Subject", "Date", "Message-ID", "Reply-To", "In-Reply-To", "References",
	"MIME-Version", "Content-Type", "Content-Transfer-Encoding", "DKIM-Signature",
}

// ErrEnded is the answer to sealing a chain that has failed before, or that has
// no room: nothing may be added to it (RFC 8617 5.1).
var ErrEnded = errors.New("the chain has ended")

// Seal returns the fields of the next set of a chain, with CRLF, to be put on
// top of the message: seal, message signature and results (RFC 8617 5.1).
// results is what follows the field name of our Authentication-Results.
func (c Chain) Seal(key Key, results string, body io.Reader, now time.Time) ([]byte, error) {
	if c.Result != None && c.Result != Pass || c.Length >= maxChecked {
		return nil, ErrEnded
	}
	i := c.Length + 1
	algorithm := "rsa-sha256"
	if _, ok := key.Private.Public().(ed25519.PublicKey); ok {
		algorithm = "ed25519-sha256"
	}
	sum := sha256.New()
	if err := hashBody(sum, true, body); err != nil {
		return nil, fmt.Errorf("seal: read body: %w", err)
	}
	aar := fmt.Sprintf("ARC-Authentication-Results: i=%d; %s\r\n", i, results)

	names := c.namesToCover()
	ams := fmt.Sprintf("ARC-Message-Signature: i=%d; a=%s; c=relaxed/relaxed; d=%s; s=%s; t=%d;\r\n\th=%s;\r\n\tbh=%s;\r\n\tb=",
		i, algorithm, key.Domain, key.Selector, now.Unix(), strings.Join(names, ":\r\n\t "), base64.StdEncoding.EncodeToString(sum.Sum(nil)))
	sum.Reset()
	for _, f := range pick(c.header, lower(names)) {
		sum.Write(relaxedHeader(f.Raw))
	}
	sum.Write(trimEnd(relaxedHeader([]byte(ams))))
	b, err := key.sign(sum.Sum(nil))
	if err != nil {
		return nil, err
	}
	ams += b + "\r\n"

	cv := None
	if c.Length > 0 {
		cv = Pass
	}
	as := fmt.Sprintf("ARC-Seal: i=%d; a=%s; cv=%s; d=%s; s=%s; t=%d;\r\n\tb=", i, algorithm, cv, key.Domain, key.Selector, now.Unix())
	sets := append(c.sets[:len(c.sets):len(c.sets)], set{results: field(aar), signature: field(ams)})
	if b, err = key.sign(sealSum(sets, []byte(as))); err != nil {
		return nil, err
	}
	return []byte(as + b + "\r\n" + ams + aar), nil
}

func (c Chain) namesToCover() []string {
	var names []string
	for _, name := range covered {
		for range min(c.header.Count(name), maxChecked) {
			names = append(names, name)
		}
	}
	return names
}

func field(raw string) message.Field { return message.Field{Raw: []byte(raw)} }

func lower(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = strings.ToLower(n)
	}
	return out
}

func trimEnd(b []byte) []byte { return []byte(strings.TrimRight(string(b), "\r\n")) }

// sign returns the signature, folded.
func (k Key) sign(sum []byte) (string, error) {
	hash := crypto.SHA256
	if _, ok := k.Private.Public().(ed25519.PublicKey); ok {
		hash = 0 // RFC 8463 3: the signature is of the hash
	}
	raw, err := k.Private.Sign(rand.Reader, sum, hash)
	if err != nil {
		return "", fmt.Errorf("sign with %s._domainkey.%s: %w", k.Selector, k.Domain, err)
	}
	text := base64.StdEncoding.EncodeToString(raw)
	var b strings.Builder
	for ; len(text) > 72; text = text[72:] {
		b.WriteString(text[:72] + "\r\n\t ")
	}
	return b.String() + text, nil
}
