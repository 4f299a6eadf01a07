// Package dkim checks the signatures of messages and makes ours (RFC 6376,
// 8301, 8463). It knows keys as files and as DNS records, and nothing of
// policy. The cryptography is that of go-msgauth; what a stranger could make
// it do for too long, or what it does not tell, is dealt with here.
package dkim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"buzon/internal/message"
	"buzon/mx/dns"
)

// Result is one of the words of RFC 8601 2.7.1.
type Result string

// The results. A message without a signature has none of them.
const (
	Pass      Result = "pass"
	Fail      Result = "fail"
	Policy    Result = "policy" // verified or not, it is of a kind that is not accepted
	TempError Result = "temperror"
	PermError Result = "permerror"
)

// Limits on the work that the signatures of one message may cause.
const (
	maxSignatures = 5         // that are looked at, as chasquid has it
	maxFields     = 250       // names in h=: each is searched for in the whole header
	maxKeyText    = 8 << 10   // of a key record, in bytes; RSA-4096 has 800
	maxEmpty      = 64 << 10  // bytes of empty lines in a row: the library holds them in memory
	maxFuture     = time.Hour // that a signer's clock may be ahead of ours
)

// Signature is what is known of one DKIM-Signature field.
type Signature struct {
	Domain    string // d=, as mx/dns wants it; "" when it is no domain
	Selector  string // s=; "" when it is none
	Algorithm string // a=: "rsa-sha256" or "ed25519-sha256"; "" when neither
	Short     string // the first 8 characters of b=, which tell it from others (RFC 6008)
	KeyBits   int    // of an RSA key; 0 when unknown
	Testing   bool   // the key's owner only tests (t=y): a failure means nothing
	Result    Result
	Reason    string // why it did not pass, in our words
}

// Resolver finds key records. Errors are final or temporary as dns.NotFound says.
type Resolver interface {
	TXT(ctx context.Context, name string) ([]string, dns.Answer, error)
}

// Verify checks the first five signatures of a message in one pass over its
// body, and returns them from the top of the header. header is the raw header
// as message.Header has it. The error is one of reading body.
func Verify(ctx context.Context, r Resolver, header *message.Header, body io.Reader, now time.Time) ([]Signature, error) {
	var list []*candidate
	var raw bytes.Buffer
	for f := range header.Fields() {
		if !strings.EqualFold(f.Name, "DKIM-Signature") {
			raw.Write(f.Raw)
			continue
		}
		if len(list) == maxSignatures {
			continue
		}
		c := newCandidate(f.Value(), now)
		list = append(list, c)
		if c.Result == "" {
			raw.Write(f.Raw) // what the library is not to look at, it does not see
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	raw.WriteString(missingEnd(raw.Bytes()))
	raw.WriteString("\r\n")
	if err := verify(ctx, r, list, &raw, body); err != nil {
		return nil, err
	}
	out := make([]Signature, len(list))
	for i, c := range list {
		out[i] = c.Signature
	}
	return out, nil
}

// missingEnd is the end of a last line that has none.
func missingEnd(raw []byte) string {
	if len(raw) > 0 && raw[len(raw)-1] != '\n' {
		return "\r\n"
	}
	return ""
}

// candidate is a signature on its way to a result. It has none yet where the
// library must decide.
type candidate struct {
	Signature
	query string // the name of its key record
	ident string // the domain of i=
}

// newCandidate reads a signature as far as it can be judged without its key.
func newCandidate(value string, now time.Time) *candidate {
	c := &candidate{}
	tags := parseTags(value)
	refuse := func(result Result, format string, args ...any) *candidate {
		c.Result, c.Reason = result, fmt.Sprintf(format, args...)
		return c
	}
	c.Short = short(tags["b"])
	domain, err := dns.Name(tags["d"])
	if err != nil || strings.HasSuffix(tags["d"], ".") {
		return refuse(PermError, "the signing domain is malformed")
	}
	c.Domain = domain
	c.query = tags["s"] + "._domainkey." + domain
	if name, err := dns.Name(c.query); err != nil || tags["s"] == "" || !strings.EqualFold(name, c.query) {
		return refuse(PermError, "the selector is malformed")
	}
	c.Selector = strings.ToLower(tags["s"])
	c.query = strings.ToLower(c.query)
	switch a := strings.ToLower(tags["a"]); a {
	case "rsa-sha256", "ed25519-sha256":
		c.Algorithm = a
	case "rsa-sha1":
		return refuse(Policy, "SHA-1 is not accepted") // RFC 8301 3.1
	default:
		return refuse(PermError, "unknown algorithm")
	}
	if _, ok := tags["l"]; ok {
		return refuse(Policy, "it covers a part of the body only")
	}
	if strings.Count(tags["h"], ":") >= maxFields {
		return refuse(Policy, "it names too many fields")
	}
	_, c.ident, _ = strings.Cut(strings.ToLower(tags["i"]), "@")
	made, hasTime := unixTime(tags["t"])
	ends, hasEnd := unixTime(tags["x"])
	switch {
	case hasTime && made.Sub(now) > maxFuture:
		return refuse(Fail, "it was made in the future")
	case hasEnd && hasTime && ends.Before(made): // RFC 6376 3.5
		return refuse(PermError, "it ends before it begins")
	case hasEnd && now.After(ends):
		return refuse(Fail, "it has expired")
	}
	return c
}

// verify gives the library what it has to decide, and takes its results.
func verify(ctx context.Context, r Resolver, list []*candidate, header *bytes.Buffer, body io.Reader) error {
	var open []*candidate
	for _, c := range list {
		if c.Result == "" {
			open = append(open, c)
		}
	}
	if len(open) == 0 {
		return nil
	}
	guard := &bodyGuard{r: body}
	keys := &keyring{ctx: ctx, r: r, open: open}
	verdicts, err := msgauth.VerifyWithOptions(io.MultiReader(header, guard), &msgauth.VerifyOptions{LookupTXT: keys.lookup})
	switch {
	case guard.err != nil:
		return fmt.Errorf("read body: %w", guard.err)
	case err != nil || len(verdicts) != len(open): // the library has then cleared one error, which must not become a pass
		for _, c := range open {
			c.Result, c.Reason = PermError, "the message cannot be taken apart"
		}
		return nil
	}
	for i, v := range verdicts {
		open[i].settle(v, guard.refused)
	}
	return nil
}

// settle takes over the library's verdict.
func (c *candidate) settle(v *msgauth.Verification, refused bool) {
	switch {
	case c.Result != "": // the key had something to say
	case refused:
		c.Result, c.Reason = Policy, "the body has too many empty lines"
	case v == nil:
		c.Result, c.Reason = PermError, "the signature cannot be checked"
	case v.Err == nil:
		c.Result = Pass
	case msgauth.IsTempFail(v.Err):
		c.Result, c.Reason = TempError, "the key cannot be looked up"
	case msgauth.IsPermFail(v.Err):
		c.Result, c.Reason = PermError, ourWords(v.Err)
	default:
		c.Result, c.Reason = Fail, ourWords(v.Err)
	}
}

// ourWords cuts from an error what the library has from the message.
func ourWords(err error) string {
	text, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "dkim: "), ":")
	return text
}

// keyring looks up keys, for several signatures at once.
type keyring struct {
	ctx  context.Context
	r    Resolver
	mu   sync.Mutex // guards the candidates
	open []*candidate
}

var errKey = errors.New("key is not accepted")

func (k *keyring) lookup(name string) ([]string, error) {
	texts, _, err := k.r.TXT(k.ctx, name)
	if err != nil {
		final := dns.NotFound(err)
		return nil, &net.DNSError{Err: "no answer", IsNotFound: final, IsTemporary: !final}
	}
	var found []string
	for _, text := range texts { // a wildcard may have put other texts beside it
		if _, ok := parseTags(text)["p"]; ok && len(text) <= maxKeyText {
			found = append(found, text)
		}
	}
	if len(found) != 1 {
		return found, nil
	}
	key := readKey(found[0])
	k.mu.Lock()
	defer k.mu.Unlock()
	refused := false
	for _, c := range k.open {
		if c.query != strings.ToLower(name) || c.Result != "" {
			continue
		}
		c.KeyBits, c.Testing = key.bits, key.testing
		switch {
		case key.bits > maxRSABits:
			c.Result, c.Reason, refused = Policy, fmt.Sprintf("an RSA key of %d bits is not accepted", key.bits), true
		case key.strict && c.ident != "" && c.ident != c.Domain: // RFC 6376 3.6.1, t=s
			c.Result, c.Reason = PermError, "the key is not for subdomains"
		}
	}
	if refused {
		return nil, errKey
	}
	return []string{key.text}, nil
}

// bodyGuard is the body as the library gets it: it never fails, for the
// library leaves goroutines behind then, and ends before too many empty lines.
type bodyGuard struct {
	r       io.Reader
	err     error
	refused bool
	empty   int // bytes of line ends in a row
}

func (g *bodyGuard) Read(p []byte) (int, error) {
	if g.refused || g.err != nil {
		return 0, io.EOF
	}
	n, err := g.r.Read(p)
	if err != nil && err != io.EOF {
		g.err = err
		return 0, io.EOF
	}
	for _, c := range p[:n] {
		switch c {
		case '\r', '\n', ' ', '\t':
			g.empty++
		default:
			g.empty = 0
		}
		if g.empty > maxEmpty {
			g.refused = true
			return 0, io.EOF
		}
	}
	return n, err
}

// parseTags reads a tag-list (RFC 6376 3.2) without the white space of its
// values; of tags that stand there twice the first counts.
func parseTags(s string) map[string]string {
	tags := make(map[string]string)
	for part := range strings.SplitSeq(s, ";") {
		name, value, ok := strings.Cut(part, "=")
		name = strings.TrimSpace(name)
		if _, twice := tags[name]; !ok || twice {
			continue
		}
		tags[name] = strings.Map(func(r rune) rune {
			if r == ' ' || r == '\t' || r == '\r' || r == '\n' {
				return -1
			}
			return r
		}, value)
	}
	return tags
}

// short is what of b= may stand in a result: base64 and nothing else.
func short(b string) string {
	b = b[:min(len(b), 8)]
	for i := range len(b) {
		if c := b[i]; !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '+' || c == '/' || c == '=') {
			return ""
		}
	}
	return b
}

func unixTime(s string) (time.Time, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > 1<<40 {
		return time.Time{}, false
	}
	return time.Unix(n, 0), true
}
