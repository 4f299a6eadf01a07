// Package tlsrpt counts how TLS went on the way to each domain, and tells the
// domains that ask for it once a day (RFC 8460). It knows nothing of SMTP
// sessions: whoever has them records Events.
package tlsrpt

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"buzon/internal/durable"
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
	maxDomains       = 10_000 // of a day
	maxFailures      = 50     // kinds of failure of one policy
	maxPolicies      = 5      // of a domain and day
	maxDetail        = 200    // bytes of a failure's cause
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
type Collector struct {
	path string
	now  func() time.Time

	mu      sync.Mutex      // guards what follows
	days    map[string]*day // by date, UTC
	changed bool
}

// day is what happened on one.
type day struct {
	Domains map[string][]*policyCount `json:"domains"`
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

const (
	dateFormat = "2006-01-02"
	maxState   = 256 << 20 // bytes of the file
	keepDays   = 3         // that could not be told
)

// Open reads what was collected before at path, which need not exist; "" keeps
// everything in memory. now is time.Now when nil.
func Open(path string, now func() time.Time) (*Collector, error) {
	if now == nil {
		now = time.Now
	}
	c := &Collector{path: path, now: now, days: make(map[string]*day)}
	if path == "" {
		return c, nil
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil && info.Size() > maxState {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxState)
	}
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &c.days); err != nil || c.days == nil {
		c.days = make(map[string]*day) // figures, not mail: begin anew
	}
	for _, d := range c.days {
		if d == nil || d.Domains == nil {
			c.days = make(map[string]*day)
			break
		}
	}
	return c, nil
}

// Record counts an event; it does nothing to a nil Collector.
func (c *Collector) Record(e Event) {
	if c == nil || e.Domain == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	date := c.now().UTC().Format(dateFormat)
	d := c.days[date]
	if d == nil {
		d = &day{Domains: make(map[string][]*policyCount)}
		c.days[date] = d
	}
	p := d.policy(e)
	if p == nil {
		return
	}
	c.changed = true
	if e.Result == Success {
		p.Successes++
		return
	}
	p.Failures++
	p.fail(e)
}

func (d *day) policy(e Event) *policyCount {
	list := d.Domains[e.Domain]
	e.Text = e.Text[:min(len(e.Text), maxPolicyStrings)]
	for _, p := range list {
		if p.Type == e.Policy && slices.Equal(p.Text, e.Text) {
			return p
		}
	}
	if len(list) >= maxPolicies || list == nil && len(d.Domains) >= maxDomains {
		return nil
	}
	p := &policyCount{Type: e.Policy, Text: e.Text, MX: e.MX}
	d.Domains[e.Domain] = append(list, p)
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

// Save writes what was collected, if there is something new.
func (c *Collector) Save() error {
	if c == nil || c.path == "" {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.changed {
		return nil
	}
	data, err := json.Marshal(c.days)
	if err != nil {
		return err
	}
	dir, err := durable.OpenDir(filepath.Dir(c.path))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := durable.WriteFileIn(dir, filepath.Base(c.path), data, 0o600); err != nil {
		return err
	}
	c.changed = false
	return nil
}

// past returns the dates before today that are not told yet.
func (c *Collector) past() (dates []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now().UTC()
	today, oldest := now.Format(dateFormat), now.AddDate(0, 0, -keepDays).Format(dateFormat)
	for date := range c.days {
		switch {
		case date < oldest:
			delete(c.days, date)
			c.changed = true
		case date < today:
			dates = append(dates, date)
		}
	}
	slices.Sort(dates)
	return dates
}

// domains returns the domains of a day.
func (c *Collector) domains(date string) (list []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.days[date]; d != nil {
		for domain := range d.Domains {
			list = append(list, domain)
		}
	}
	slices.Sort(list)
	return list
}

// take returns what happened on the way to a domain, and forgets it.
func (c *Collector) take(date, domain string) []*policyCount {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.days[date]
	if d == nil {
		return nil
	}
	list := d.Domains[domain]
	delete(d.Domains, domain)
	if len(d.Domains) == 0 {
		delete(c.days, date)
	}
	c.changed = true
	return list
}

// Results returns what has gone wrong on the way to a domain today.
func (c *Collector) Results(domain string) (list []Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.days[c.now().UTC().Format(dateFormat)]; d != nil {
		for _, p := range d.Domains[domain] {
			for _, f := range p.Details {
				list = append(list, f.Result)
			}
		}
	}
	return list
}
