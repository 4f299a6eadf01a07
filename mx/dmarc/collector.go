package dmarc

import (
	"encoding/json"
	"sync"
	"time"

	"buzon/internal/durable"
	"buzon/mx/daily"
)

// Limits of what is collected: whoever sends in others' names from all the
// world must not fill our memory with it.
const (
	maxRows     = 1000   // of the report about one domain and day
	maxAllRows  = 50_000 // since the start, or midnight; 30 MB
	maxRowNames = 8      // DKIM signatures of a row; RFC 9990 allows 100, we check 5
)

// A Collector keeps what was observed today, and on days whose reports are not
// sent yet, by Policy Domain. It is safe for concurrent use.
type Collector struct {
	book *daily.Book[figures]
	now  func() time.Time

	mu   sync.Mutex // guards what follows
	day  string
	rows int
}

// figures are what was observed of one Policy Domain on one day.
type figures struct {
	// Record is the one that was seen last: a report has one policy (RFC 9990
	// 3.1), and an old one is of no use to its owner.
	Record   Record `json:"record"`
	Rows     []*row `json:"rows"`
	Unlisted int64  `json:"unlisted,omitempty"` // messages that there was no row for

	index map[string]*row // by the row's JSON without its count
}

// row counts the messages that share everything that a report tells.
type row struct {
	IP           string            `json:"ip"`
	Disposition  string            `json:"disposition"` // or "pass": nothing was done, for it passed
	DKIM         bool              `json:"dkim,omitempty"`
	SPF          bool              `json:"spf,omitempty"`
	Override     string            `json:"override,omitempty"`
	Comment      string            `json:"comment,omitempty"`
	HeaderFrom   string            `json:"header_from"`
	EnvelopeFrom string            `json:"envelope_from,omitempty"`
	EnvelopeTo   string            `json:"envelope_to,omitempty"`
	Signatures   []SignatureResult `json:"signatures,omitempty"`
	SPFDomain    string            `json:"spf_domain,omitempty"`
	SPFResult    string            `json:"spf_result,omitempty"`
	Count        int64             `json:"count"`
}

// OpenCollector reads what was collected before at path, which need not exist;
// "" keeps everything in memory. now is time.Now when nil.
func OpenCollector(path string, now func() time.Time) (*Collector, error) {
	if now == nil {
		now = time.Now
	}
	book, err := daily.Open[figures](daily.Config{Path: path, Now: now, Write: func(path string, data []byte) error {
		return durable.WriteFileAt(path, data, 0o600)
	}})
	if err != nil {
		return nil, err
	}
	return &Collector{book: book, now: now}, nil
}

// Observe counts a message of a domain that wants reports; it does nothing to a
// nil Collector.
func (c *Collector) Observe(o Observation) {
	if c == nil || len(o.Policy.Record.Reports) == 0 {
		return
	}
	r := &row{
		IP: o.IP.Unmap().WithZone("").String(), Disposition: o.disposition(), DKIM: o.DKIM, SPF: o.SPF, Override: o.Override, Comment: o.Comment,
		HeaderFrom: o.Policy.Author, EnvelopeFrom: o.EnvelopeFrom, EnvelopeTo: o.EnvelopeTo,
		Signatures: o.Policy.byWeight(o.Signatures), SPFDomain: o.SPFDomain, SPFResult: o.SPFResult,
	}
	r.Signatures = r.Signatures[:min(len(r.Signatures), maxRowNames)]
	key := r.key()
	c.book.Count(o.Policy.Domain, func(f *figures) {
		f.Record = o.Policy.Record
		if f.index == nil {
			f.index = make(map[string]*row)
			for _, r := range f.Rows {
				f.index[r.key()] = r
			}
		}
		if known := f.index[key]; known != nil {
			known.Count++
			return
		}
		if len(f.Rows) >= maxRows || !c.another() {
			f.Unlisted++
			return
		}
		r.Count = 1
		f.Rows, f.index[key] = append(f.Rows, r), r
	})
}

// key is the same for rows that are counted together.
func (r *row) key() string {
	k := *r
	k.Count = 0
	text, _ := json.Marshal(k) // strings, bools and numbers
	return string(text)
}

// another reports whether there may be one more row today.
func (c *Collector) another() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if day := c.now().UTC().Format(time.DateOnly); day != c.day {
		c.day, c.rows = day, 0
	}
	if c.rows >= maxAllRows {
		return false
	}
	c.rows++
	return true
}
