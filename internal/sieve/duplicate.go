package sieve

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
)

// duplicate compiles the test of RFC 7352 3: whether a message like this one
// was seen before. Seen is what a finished run remembers.
func (c *compiler) duplicate(n node) (check, error) {
	p := c.params(n, map[string]tagRule{
		"handle": {value: aString}, "header": {value: aString}, "uniqueid": {value: aString}, "seconds": {value: aNumber}, "last": {},
	}, 0, 0)
	p.need("duplicate")
	p.only("header", "uniqueid")
	handle, field, unique := p.tagText("handle"), text{constant: "Message-ID"}, p.tagText("uniqueid")
	if p.has("header") {
		field = p.tagText("header")
	}
	keep := 7 * 24 * time.Hour
	if p.has("seconds") {
		keep = time.Duration(min(p.tags["seconds"].number, 365*86400)) * time.Second
	}
	last, byID := p.has("last"), p.has("uniqueid")
	return func(r *run) (bool, error) {
		id := unique.value(r)
		if !byID {
			fields := r.header.named(field.value(r))
			if len(fields) == 0 || fields[0].value == "" {
				return false, nil
			}
			id = fields[0].value
		}
		if err := r.spend(len(id)); err != nil {
			return false, err
		}
		key := key("duplicate", handle.value(r), id)
		seen := r.env.Known != nil && r.env.Known(key)
		if !seen || last {
			r.remember(key, keep)
		}
		return seen, nil
	}, p.err
}

// key is a name of fixed length for what is to be remembered.
func key(words ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(words, "\x00")))
	return words[0] + "-" + hex.EncodeToString(sum[:16])
}

func (r *run) remember(key string, keep time.Duration) {
	for _, m := range r.outcome.Remember {
		if m.Key == key {
			return
		}
	}
	r.outcome.Remember = append(r.outcome.Remember, Memory{Key: key, For: keep})
}
