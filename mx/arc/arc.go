// Package arc checks and adds links of an Authenticated Received Chain (RFC
// 8617): what the hosts that forwarded a message say of how it came to them.
// It knows the chain's form and cryptography; whom to believe it does not.
package arc

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"hash"
	"io"
	"strconv"
	"strings"

	"buzon/internal/message"
	"buzon/mx/dns"
)

// Result is the chain validation status (RFC 8617 4.4).
type Result string

// The results. TempError is not one of the chain: a key could not be looked up.
const (
	None      Result = "none"
	Pass      Result = "pass"
	Fail      Result = "fail"
	TempError Result = "temperror"
)

// Limits on one chain.
const (
	maxSets    = 50       // RFC 8617 4.2.1
	maxChecked = 10       // of which more would be a loop; each costs a signature and a question
	maxFields  = 250      // names in h=: each is searched for in the whole header
	maxKeyText = 8 << 10  // bytes of a key record
	minRSABits = 1024     // RFC 8301 3.2
	maxRSABits = 4096     // as for DKIM
	maxHeader  = 64 << 10 // bytes of all ARC fields
)

// Chain is what is known of a message's chain.
type Chain struct {
	Result  Result
	Reason  string   // why it did not pass, in our words
	Length  int      // sets
	Sealers []string // who sealed it, the last one first; only of a chain that passed
	// Results is the text of the newest ARC-Authentication-Results without
	// its instance, only of a chain that passed.
	Results string
	header  *message.Header
	sets    []set
}

// set is one ARC Set.
type set struct {
	results, signature, seal message.Field
	n                        int // fields of it that were found
}

// Resolver finds key records. Errors are final or temporary as dns.NotFound says.
type Resolver interface {
	TXT(ctx context.Context, name string) ([]string, dns.Answer, error)
}

// Validate checks the chain of a message (RFC 8617 5.2). body is read once, and
// only when the chain could pass. The error is one of reading it.
func Validate(ctx context.Context, r Resolver, header *message.Header, body io.Reader) (Chain, error) {
	c := Chain{Result: Fail, header: header}
	c.sets, c.Reason = collect(header)
	c.Length = len(c.sets)
	if c.Length == 0 && c.Reason == "" {
		c.Result = None
		return c, nil
	}
	if c.Reason == "" {
		c.Reason = checkForm(c.sets)
	}
	if c.Reason != "" {
		return c, nil
	}
	newest := c.sets[c.Length-1]
	err := c.message(ctx, r, header, newest, body)
	for i := c.Length; i > 0 && err == nil; i-- {
		err = c.seal(ctx, r, c.sets[:i])
	}
	switch err := err.(type) {
	case nil:
		c.Result, c.Reason = Pass, ""
		for i := c.Length - 1; i >= 0; i-- {
			c.Sealers = append(c.Sealers, parseTags(c.sets[i].seal.Value()).get("d"))
		}
		_, c.Results, _ = strings.Cut(newest.results.Value(), ";")
		c.Results = strings.TrimSpace(c.Results)
	case broken:
		c.Reason = string(err)
	case unanswered:
		c.Result, c.Reason = TempError, "a key cannot be looked up"
	default:
		return Chain{}, err
	}
	return c, nil
}

// broken says why a chain fails; unanswered that nobody can tell now.
type (
	broken     string
	unanswered struct{ error }
)

func (b broken) Error() string { return string(b) }

// collect finds the sets, by instance. reason is about what can be no chain.
func collect(header *message.Header) (sets []set, reason string) {
	size := 0
	for f := range header.Fields() {
		var part func(*set) *message.Field
		switch strings.ToLower(f.Name) {
		case "arc-authentication-results":
			part = func(s *set) *message.Field { return &s.results }
		case "arc-message-signature":
			part = func(s *set) *message.Field { return &s.signature }
		case "arc-seal":
			part = func(s *set) *message.Field { return &s.seal }
		default:
			continue
		}
		if size += len(f.Raw); size > maxHeader {
			return sets, "it is too large"
		}
		i, err := strconv.Atoi(instance(f))
		if err != nil || i < 1 || i > maxSets {
			return sets, "an instance is not a number from 1 to 50"
		}
		for len(sets) < i {
			sets = append(sets, set{})
		}
		s := &sets[i-1]
		if part(s).Raw != nil {
			return sets, fmt.Sprintf("instance %d is there twice", i)
		}
		*part(s) = f
		s.n++
	}
	return sets, ""
}

// instance is i= of a field: a tag, or what stands first in the results.
func instance(f message.Field) string {
	if !strings.EqualFold(f.Name, "ARC-Authentication-Results") {
		return parseTags(f.Value()).get("i")
	}
	first, _, _ := strings.Cut(f.Value(), ";")
	name, value, ok := strings.Cut(first, "=")
	if !ok || strings.TrimSpace(name) != "i" {
		return ""
	}
	return strings.TrimSpace(value)
}

// checkForm checks what can be checked without keys (RFC 8617 5.2 steps 2, 3).
func checkForm(sets []set) (reason string) {
	for i, s := range sets {
		if s.n != 3 {
			return fmt.Sprintf("instance %d is not whole", i+1)
		}
		tags := parseTags(s.seal.Value())
		want := "pass"
		if i == 0 {
			want = "none"
		}
		if cv := strings.ToLower(tags.get("cv")); cv != want {
			return fmt.Sprintf("instance %d says cv=%s", i+1, known(cv, "none", "pass", "fail"))
		}
		if _, ok := tags.lookup("h"); ok { // RFC 8617 4.1.3
			return fmt.Sprintf("the seal of instance %d lists fields", i+1)
		}
	}
	if len(sets) > maxChecked {
		return fmt.Sprintf("it is longer than the %d that are looked at", maxChecked)
	}
	return ""
}

func known(s string, words ...string) string {
	for _, w := range words {
		if s == w {
			return s
		}
	}
	return "?"
}

// message checks the newest ARC-Message-Signature.
func (c *Chain) message(ctx context.Context, r Resolver, header *message.Header, s set, body io.Reader) error {
	tags := parseTags(s.signature.Value())
	if tags.twice {
		return broken("the message signature has a tag twice")
	}
	names := strings.Split(strings.ToLower(tags.get("h")), ":")
	headCanon, bodyCanonName := canonicalizations(tags.get("c"))
	switch {
	case headCanon == "" || bodyCanonName == "":
		return broken("unknown canonicalization")
	case len(names) > maxFields:
		return broken("the message signature names too many fields")
	case contains(names, "arc-seal"): // RFC 8617 4.1.2
		return broken("the message signature covers a seal")
	case !contains(names, "from"):
		return broken("the message signature does not cover From")
	}
	if _, ok := tags.lookup("l"); ok {
		return broken("the message signature covers a part of the body only")
	}
	sum := sha256.New()
	if err := hashBody(sum, bodyCanonName == "relaxed", body); err != nil {
		return fmt.Errorf("read body: %w", err)
	}
	want, err := base64.StdEncoding.DecodeString(tags.get("bh"))
	if err != nil || subtle.ConstantTimeCompare(want, sum.Sum(nil)) != 1 {
		return broken("the body has changed")
	}
	canon := relaxedHeader
	if headCanon == "simple" {
		canon = func(raw []byte) []byte { return raw }
	}
	sum.Reset()
	for _, f := range pick(header, names) {
		sum.Write(canon(f.Raw))
	}
	sum.Write(bytes.TrimRight(canon(withoutSignature(s.signature.Raw)), "\r\n"))
	return checkSignature(ctx, r, tags, sum.Sum(nil), "the message signature")
}

func hashBody(sum hash.Hash, relaxed bool, body io.Reader) error {
	w := &bodyCanon{w: sum, relaxed: relaxed}
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{body}, make([]byte, 32<<10)); err != nil {
		return err
	}
	return w.Close()
}

// seal checks the ARC-Seal of the last of sets, which covers all of them.
func (c *Chain) seal(ctx context.Context, r Resolver, sets []set) error {
	last := sets[len(sets)-1]
	tags := parseTags(last.seal.Value())
	if tags.twice {
		return broken("a seal has a tag twice")
	}
	return checkSignature(ctx, r, tags, sealSum(sets, last.seal.Raw), fmt.Sprintf("the seal of instance %d", len(sets)))
}

// sealSum is the hash that a seal signs (RFC 8617 5.1.1): the sets in order,
// the last seal, which is given, without its signature.
func sealSum(sets []set, last []byte) []byte {
	sum := sha256.New()
	for i, s := range sets {
		sum.Write(relaxedHeader(s.results.Raw))
		sum.Write(relaxedHeader(s.signature.Raw))
		if i < len(sets)-1 {
			sum.Write(relaxedHeader(s.seal.Raw))
		}
	}
	sum.Write(bytes.TrimRight(relaxedHeader(withoutSignature(last)), "\r\n"))
	return sum.Sum(nil)
}

// checkSignature looks up the key and verifies b= over sum.
func checkSignature(ctx context.Context, r Resolver, t tags, sum []byte, what string) error {
	domain, err := dns.Name(t.get("d"))
	if err != nil {
		return broken(what + " has a malformed domain")
	}
	name := t.get("s") + "._domainkey." + domain
	if clean, err := dns.Name(name); err != nil || t.get("s") == "" || !strings.EqualFold(clean, name) {
		return broken(what + " has a malformed selector")
	}
	signature, err := base64.StdEncoding.DecodeString(t.get("b"))
	if err != nil || len(signature) == 0 {
		return broken(what + " is malformed")
	}
	texts, _, err := r.TXT(ctx, name)
	if err != nil {
		if !dns.NotFound(err) {
			return unanswered{err}
		}
		return broken(what + " has no key")
	}
	for _, text := range texts {
		if pub := publicKey(text, t.get("a")); pub != nil && verifies(pub, sum, signature) {
			return nil
		}
	}
	return broken(what + " does not verify")
}

// publicKey reads a key record for an algorithm; nil when it has none.
func publicKey(text, algorithm string) crypto.PublicKey {
	if len(text) > maxKeyText {
		return nil
	}
	t := parseTags(text)
	if v, given := t.lookup("v"); given && v != "DKIM1" {
		return nil
	}
	der, err := base64.StdEncoding.DecodeString(t.get("p"))
	if err != nil || len(der) == 0 {
		return nil
	}
	kind, _, _ := strings.Cut(algorithm, "-")
	if cmp.Or(t.get("k"), "rsa") != kind {
		return nil
	}
	switch algorithm {
	case "ed25519-sha256":
		if len(der) == ed25519.PublicKeySize {
			return ed25519.PublicKey(der)
		}
	case "rsa-sha256":
		key, _ := x509.ParsePKIXPublicKey(der)
		pub, ok := key.(*rsa.PublicKey)
		if !ok {
			pub, err = x509.ParsePKCS1PublicKey(der)
			ok = err == nil
		}
		if ok && pub.N.BitLen() >= minRSABits && pub.N.BitLen() <= maxRSABits {
			return pub
		}
	}
	return nil
}

func verifies(pub crypto.PublicKey, sum, signature []byte) bool {
	switch pub := pub.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(pub, sum, signature)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(pub, crypto.SHA256, sum, signature) == nil
	}
	return false
}
