package tlsrpt

import (
	"encoding/json"
	"fmt"
	"net/mail"
	"net/url"
	"strings"
	"time"

	"buzon/mx/daily"
)

// The JSON of a report, RFC 8460 4.4.
type report struct {
	Organization string         `json:"organization-name"`
	DateRange    dateRange      `json:"date-range"`
	Contact      string         `json:"contact-info"`
	ID           string         `json:"report-id"`
	Policies     []policyReport `json:"policies"`
}

type dateRange struct {
	Start time.Time `json:"start-datetime"`
	End   time.Time `json:"end-datetime"`
}

type policyReport struct {
	Policy struct {
		Type   PolicyType `json:"policy-type"`
		Text   []string   `json:"policy-string,omitempty"`
		Domain string     `json:"policy-domain"`
		MX     []string   `json:"mx-host,omitempty"`
	} `json:"policy"`
	Summary struct {
		Successes int64 `json:"total-successful-session-count"`
		Failures  int64 `json:"total-failure-session-count"`
	} `json:"summary"`
	Details []failureDetail `json:"failure-details,omitempty"`
}

type failureDetail struct {
	Result Result `json:"result-type"`
	IP     string `json:"receiving-ip,omitempty"`
	Host   string `json:"receiving-mx-hostname,omitempty"`
	Count  int64  `json:"failed-session-count"`
	Detail string `json:"failure-reason-code,omitempty"`
}

// newReport makes the report about a domain and a day.
func newReport(organization, contact string, day daily.Day, domain string, counts []*policyCount) *report {
	r := &report{
		Organization: organization, Contact: contact, ID: string(day) + "T00:00:00Z_" + domain,
		DateRange: dateRange{day.Start(), day.End()},
	}
	for _, c := range counts {
		var p policyReport
		p.Policy.Type, p.Policy.Text, p.Policy.Domain, p.Policy.MX = c.Type, c.Text, domain, c.MX
		p.Summary.Successes, p.Summary.Failures = c.Successes, c.Failures
		for _, f := range c.Details {
			p.Details = append(p.Details, failureDetail{f.Result, f.IP, f.Host, f.Count, f.Detail})
		}
		r.Policies = append(r.Policies, p)
	}
	return r
}

// compressed is the report as it travels.
func (r *report) compressed() ([]byte, error) {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return nil, err
	}
	return daily.Compressed(text), nil
}

// maxURIs bounds where one domain's reports go.
const maxURIs = 5

// parseRecord reads the TXT records of _smtp._tls.<domain>, RFC 8460 3, and
// returns where reports go: mailto and https.
func parseRecord(texts []string) (rua []*url.URL) {
	var record string
	n := 0
	for _, text := range texts {
		if version, _, _ := strings.Cut(text, ";"); strings.TrimSpace(version) == "v=TLSRPTv1" {
			record = text
			n++
		}
	}
	if n != 1 {
		return nil
	}
	for field := range strings.SplitSeq(record, ";") {
		key, value, _ := strings.Cut(field, "=")
		if strings.TrimSpace(key) != "rua" {
			continue
		}
		for text := range strings.SplitSeq(value, ",") {
			u, err := url.Parse(strings.TrimSpace(text))
			if err != nil || len(rua) == maxURIs {
				continue
			}
			switch {
			case u.Scheme == "mailto" && mailAddress(u) != "", u.Scheme == "https" && u.Host != "" && u.User == nil:
				rua = append(rua, u)
			}
		}
	}
	return rua
}

// mailAddress is the address of a mailto URI.
func mailAddress(u *url.URL) string {
	text, err := url.PathUnescape(u.Opaque)
	if err != nil {
		return ""
	}
	a, err := mail.ParseAddress(text)
	if err != nil || a.Address != text {
		return ""
	}
	return text
}

// fileName is what the report is called, RFC 8460 5.1.
func (r *report) fileName(submitter, domain string) string {
	return fmt.Sprintf("%s!%s!%d!%d.json.gz", submitter, domain, r.DateRange.Start.Unix(), r.DateRange.End.Unix())
}
