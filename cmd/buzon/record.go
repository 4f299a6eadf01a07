package main

import (
	"fmt"
	"strings"

	"buzon/mx/dkim"
)

// record is one record that a domain should publish.
type record struct {
	name  string // without the final dot
	kind  string // "MX", "TXT", …
	value string // as in a zone file; of TXT the text itself
	why   string // one sentence for people
	needs string // what the host must have first, or ""
}

// recordTTL is an hour: mistakes are mended soon, and nobody asks too often.
const recordTTL = 3600

// line is the record as it stands in a zone file (RFC 1035 5.1).
func (r record) line() string {
	value := r.value
	if r.kind == "TXT" {
		value = quoteTXT(value)
	}
	return fmt.Sprintf("%s.\t%d\tIN\t%s\t%s", r.name, recordTTL, r.kind, value)
}

// quoteTXT splits a text into the strings of at most 255 bytes that a TXT
// record has (RFC 1035 3.3.14); whoever reads it joins them.
func quoteTXT(text string) string {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	var parts []string
	for len(text) > 255 {
		parts = append(parts, `"`+escape.Replace(text[:255])+`"`)
		text = text[255:]
	}
	return strings.Join(append(parts, `"`+escape.Replace(text)+`"`), " ")
}

// keyRecord is the record of a DKIM key.
func keyRecord(k dkim.StoredKey) (record, error) {
	text, err := dkim.Record(k.Private.Public())
	if err != nil {
		return record{}, err
	}
	why := "DKIM: the key with which others check that a message is ours and unchanged."
	if k.State == dkim.Next {
		why = "DKIM: a key that will sign after the next buzon domain rotate."
	}
	return record{name: k.Name(), kind: "TXT", value: text, why: why}, nil
}
