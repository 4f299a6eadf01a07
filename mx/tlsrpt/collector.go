// Package tlsrpt counts how TLS went on the way to each domain, and tells the
// domains that ask for it once a day (RFC 8460). It knows nothing of SMTP
// sessions: whoever has them records Events.
package tlsrpt

import (
	"slices"
	"time"

	"buzon/internal/durable"
	"buzon/mx/daily"
)

// PolicyType is what decided about TLS, RFC 8460 4.4.
type PolicyType string

const (
	TLSA     PolicyType = "tlsa"
	STS      PolicyType = "sts"
	NoPolicy PolicyType = "no-policy-found"
)

// Result is what went wrong, RFC 8460 4.3; Success is nothing.
type Result string

const (
	Success           Result = ""
	NoSTARTTLS        Result = "starttls-not-supported"
	HostMismatch      Result = "certificate-host-mismatch"
	Expired           Result = "certificate-expired"
	NotTrusted        Result = "certificate-not-trusted"
	ValidationFailure Result = "validation-failure"
	TLSAInvalid       Result = "tlsa-invalid"
	DNSSECInvalid     Result = "dnssec-invalid"
	STSFetchError     Result = "sts-policy-fetch-error"
	STSPolicyInvalid  Result = "sts-policy-invalid"
	STSWebPKIInvalid  Result = "sts-webpki-invalid"
)

// Limits of what is counted.
const (
	maxFailures      = 50  // kinds of failure of one policy
	maxPolicies      = 5   // of a domain and day
	maxDetail        = 200 // bytes of a failure's cause
	maxPolicyStrings = 50
)

// Event is how one session, or one policy, turned out.
type Event struct {
	Domain string // of the recipients
	Policy PolicyType
	Text   []string // the policy, line by line
	MX     []string // the host patterns of an MTA-STS policy
	Result Result
	Host   string // that was spoken to; "" for failures of a policy
	IP     string // its address
	Detail string // more about the failure
}

// A Collector keeps the events of today, and those of days that are not told
// yet. It is safe for concurrent use.
type Collector struct{ book *daily.Book[figures] }

// figures are what happened on the way to one domain on one day.
type figures struct {
	Policies []*policyCount `json:"policies"`
}

// policyCount is what happened under one policy of a domain.
type policyCount struct {
	Type      PolicyType     `json:"type"`
	Text      []string       `json:"text,omitempty"`
	MX        []string       `json:"mx,omitempty"`
	Successes int64          `json:"successes"`
	Failures  int64          `json:"failures"`
	Details   []failureCount `json:"details,omitempty"`
}

type failureCount struct {
	Result Result `json:"result"`
	Host   string `json:"host,omitempty"`
	IP     string `json:"ip,omitempty"`
	Detail string `json:"detail,omitempty"`
	Count  int64  `json:"count"`
}

// Open reads what was collected before at path, which need not exist; "" keeps
// everything in memory. now is time.Now when nil.
func Open(path string, now func() time.Time) (*Collector, error) {
	book, err := daily.Open[figures](daily.Config{Path: path, Now: now, Write: func(path string, data []byte) error {
		return durable.WriteFileAt(path, data, 0o600)
	}})
	if err != nil {
		return nil, err
	}
	return &Collector{book}, nil
}

// Record counts an event; it does nothing to a nil Collector.
func (c *Collector) Record(e Event) {
	if c == nil || e.Domain == "" {
		return
	}
	c.book.Count(e.Domain, func(f *figures) {
		p := f.policy(e)
		switch {
		case p == nil:
		case e.Result == Success:
			p.Successes++
		default:
			p.Failures++
			p.fail(e)
		}
	})
}

// policy returns the count of the event's policy, nil when there are too many.
func (f *figures) policy(e Event) *policyCount {
	e.Text = e.Text[:min(len(e.Text), maxPolicyStrings)]
	for _, p := range f.Policies {
		if p.Type == e.Policy && slices.Equal(p.Text, e.Text) {
			return p
		}
	}
	if len(f.Policies) >= maxPolicies {
		return nil
	}
	p := &policyCount{Type: e.Policy, Text: e.Text, MX: e.MX}
	f.Policies = append(f.Policies, p)
	return p
}

func (p *policyCount) fail(e Event) {
	if len(e.Detail) > maxDetail {
		e.Detail = e.Detail[:maxDetail]
	}
	for i := range p.Details {
		if f := &p.Details[i]; f.Result == e.Result && f.Host == e.Host && f.IP == e.IP {
			f.Count++
			return
		}
	}
	if len(p.Details) < maxFailures {
		p.Details = append(p.Details, failureCount{e.Result, e.Host, e.IP, e.Detail, 1})
	}
}

// Results returns what has gone wrong on the way to a domain today.
func (c *Collector) Results(domain string) (list []Result) {
	c.book.Today(domain, func(f *figures) {
		for _, p := range f.Policies {
			for _, d := range p.Details {
				list = append(list, d.Result)
			}
		}
	})
	return list
}
