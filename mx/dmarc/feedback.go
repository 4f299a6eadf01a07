package dmarc

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Limits on a report that is received.
const (
	maxExpanded = 10 << 20 // bytes of it, expanded; the largest real ones have one
	maxRatio    = 100      // expanded to compressed; XML comes to about 20
	ratioFloor  = 64 << 10 // expanded bytes that are always allowed
)

// ErrTooLarge is the answer to what expands to more than a report has.
var ErrTooLarge = errors.New("it expands to more than a report may have")

// Feedback is an aggregate report that somebody has sent us (RFC 9990, RFC 7489
// appendix C). Its texts are foreign.
type Feedback struct {
	Organization string    `xml:"report_metadata>org_name"`
	Email        string    `xml:"report_metadata>email"`
	ID           string    `xml:"report_metadata>report_id"`
	Begin        int64     `xml:"report_metadata>date_range>begin"` // Unix seconds
	End          int64     `xml:"report_metadata>date_range>end"`
	Domain       string    `xml:"policy_published>domain"`
	Policy       string    `xml:"policy_published>p"`
	Rows         []Counted `xml:"record"`
}

// Counted is one row of a report: messages from one address with one outcome.
type Counted struct {
	IP           string `xml:"row>source_ip"`
	Count        int    `xml:"row>count"`
	Disposition  string `xml:"row>policy_evaluated>disposition"`
	DKIM         string `xml:"row>policy_evaluated>dkim"`
	SPF          string `xml:"row>policy_evaluated>spf"`
	HeaderFrom   string `xml:"identifiers>header_from"`
	EnvelopeFrom string `xml:"identifiers>envelope_from"`
}

// Time is a time of a report.
func Time(seconds int64) time.Time { return time.Unix(seconds, 0).UTC() }

// ReadFeedback reads a report as XML.
func ReadFeedback(text []byte) (*Feedback, error) {
	d := xml.NewDecoder(bytes.NewReader(text))
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil } // names and numbers are ASCII
	var root struct {
		XMLName xml.Name `xml:"feedback"`
		Feedback
	}
	if err := d.Decode(&root); err != nil {
		return nil, fmt.Errorf("not a DMARC report: %w", err)
	}
	return &root.Feedback, nil
}

// Expand returns what a gzip or ZIP file holds, of a ZIP file the first one,
// and other data as it is.
func Expand(data []byte) ([]byte, error) {
	switch {
	case bytes.HasPrefix(data, []byte{0x1f, 0x8b}):
		r, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		return limited(r, len(data))
	case bytes.HasPrefix(data, []byte("PK\x03\x04")):
		z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return nil, err
		}
		for _, f := range z.File {
			if strings.HasSuffix(f.Name, "/") {
				continue
			}
			r, err := f.Open()
			if err != nil {
				return nil, err
			}
			defer r.Close()
			return limited(r, len(data))
		}
		return nil, errors.New("the ZIP file is empty")
	}
	return data, nil
}

// limited reads to the end, and not further than the limits.
func limited(r io.Reader, compressed int) ([]byte, error) {
	limit := min(maxExpanded, max(ratioFloor, compressed*maxRatio))
	out, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if len(out) > limit {
		return nil, ErrTooLarge
	}
	return out, nil
}
