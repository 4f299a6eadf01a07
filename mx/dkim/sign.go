package dkim

import (
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"strings"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"buzon/internal/message"
)

// Key is a private key with the name under which its public half is published.
type Key struct {
	Domain   string
	Selector string
	Private  crypto.Signer // *rsa.PrivateKey or ed25519.PrivateKey
}

// Algorithm is the key's kind as k= has it: "rsa" or "ed25519".
func (k Key) Algorithm() string {
	if _, ok := k.Private.Public().(ed25519.PublicKey); ok {
		return "ed25519"
	}
	return "rsa"
}

// oversigned are the fields that are signed once more than they are there:
// another one that somebody adds on the way breaks the signature (RFC 6376
// 8.15). Readers show or act upon each of them.
var oversigned = []string{
	"From", "To", "Cc", "Subject", "Date", "Message-ID", "Reply-To", "In-Reply-To", "References",
	"MIME-Version", "Content-Type", "Content-Transfer-Encoding",
}

// signed are the fields that are signed where they are. Mailing lists and
// others on the way may add them.
var signed = []string{
	"Sender", "Resent-From", "Resent-To", "Resent-Date", "Resent-Message-ID", "Auto-Submitted",
	"List-Id", "List-Unsubscribe", "List-Unsubscribe-Post", "TLS-Required",
}

// maxSigned bounds how many fields of one name are signed.
const maxSigned = 20

// errTooMany is about a message in which a field that must be signed stands
// there more often than any program has a reason for.
var errTooMany = errors.New("too many fields of one name")

// Sign returns a DKIM-Signature field for each of keys, with CRLF, to be put
// on top of the message. header is the raw header, body what follows it.
func Sign(keys []Key, header *message.Header, body io.Reader) ([]byte, error) {
	names, err := fieldsToSign(header)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	signers := make([]*msgauth.Signer, 0, len(keys))
	writers := make([]io.Writer, 0, len(keys))
	defer func() { // a signer that is left open keeps its goroutine
		for _, s := range signers {
			s.Close()
		}
	}()
	for _, k := range keys {
		s, err := msgauth.NewSigner(&msgauth.SignOptions{
			Domain: k.Domain, Selector: k.Selector, Signer: k.Private, Hash: crypto.SHA256,
			HeaderCanonicalization: msgauth.CanonicalizationRelaxed,
			BodyCanonicalization:   msgauth.CanonicalizationRelaxed,
			HeaderKeys:             names,
		})
		if err != nil {
			return nil, fmt.Errorf("sign with %s._domainkey.%s: %w", k.Selector, k.Domain, err)
		}
		signers, writers = append(signers, s), append(writers, s)
	}
	if err := feed(io.MultiWriter(writers...), header, body); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	var fields strings.Builder
	for i, s := range signers {
		if err := s.Close(); err != nil {
			return nil, fmt.Errorf("sign with %s._domainkey.%s: %w", keys[i].Selector, keys[i].Domain, err)
		}
		fields.WriteString(s.Signature())
	}
	return []byte(fields.String()), nil
}

// feed writes the message, with the empty line that a header without a body
// may lack.
func feed(w io.Writer, header *message.Header, body io.Reader) error {
	raw := header.Raw()
	if _, err := w.Write(raw); err != nil {
		return err
	}
	if !endsWithEmptyLine(raw) {
		if _, err := io.WriteString(w, missingEnd(raw)+"\r\n"); err != nil {
			return err
		}
	}
	_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{body}, make([]byte, 32<<10))
	return err
}

func endsWithEmptyLine(raw []byte) bool {
	s := string(raw[max(0, len(raw)-4):])
	return strings.HasSuffix(s, "\r\n\r\n") || strings.HasSuffix(s, "\n\n") || s == "\r\n" || s == "\n"
}

// fieldsToSign lists the names for h=.
func fieldsToSign(header *message.Header) ([]string, error) {
	var names []string
	for _, name := range oversigned {
		n := header.Count(name)
		if n > maxSigned {
			return nil, fmt.Errorf("%s: %w", name, errTooMany)
		}
		for range n + 1 {
			names = append(names, name)
		}
	}
	for _, name := range signed {
		for range min(header.Count(name), maxSigned) {
			names = append(names, name)
		}
	}
	return names, nil
}
