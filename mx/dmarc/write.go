package dmarc

import (
	"encoding/xml"
	"fmt"
	"strings"

	"buzon/mx/daily"
)

// aggregate is a report as RFC 9990 3.1.1 has it, elements in the order of its
// tables. Feedback is what is read of others'.
type aggregate struct {
	XMLName  xml.Name          `xml:"urn:ietf:params:xml:ns:dmarc-2.0 feedback"`
	Version  string            `xml:"version"`
	Metadata aggregateMetadata `xml:"report_metadata"`
	Policy   publishedPolicy   `xml:"policy_published"`
	Records  []aggregateRecord `xml:"record"`
}

type aggregateMetadata struct {
	Organization string `xml:"org_name"`
	Email        string `xml:"email"`
	ID           string `xml:"report_id"`
	Begin        int64  `xml:"date_range>begin"`
	End          int64  `xml:"date_range>end"`
	Error        string `xml:"error,omitempty"`
	Generator    string `xml:"generator,omitempty"`
}

type publishedPolicy struct {
	Domain     string      `xml:"domain"`
	Discovery  string      `xml:"discovery_method"`
	P          Disposition `xml:"p"`
	SP         Disposition `xml:"sp"`
	NP         Disposition `xml:"np"`
	Failure    string      `xml:"fo"`
	StrictDKIM string      `xml:"adkim"`
	StrictSPF  string      `xml:"aspf"`
	Testing    string      `xml:"testing"`
}

type aggregateRecord struct {
	IP          string          `xml:"row>source_ip"`
	Count       int64           `xml:"row>count"`
	Disposition string          `xml:"row>policy_evaluated>disposition"`
	DKIM        string          `xml:"row>policy_evaluated>dkim"`
	SPF         string          `xml:"row>policy_evaluated>spf"`
	Reason      *overrideReason `xml:"row>policy_evaluated>reason"`

	HeaderFrom   string `xml:"identifiers>header_from"`
	EnvelopeFrom string `xml:"identifiers>envelope_from"` // empty for the null reverse-path
	EnvelopeTo   string `xml:"identifiers>envelope_to,omitempty"`

	Results authResults `xml:"auth_results"`
}

type overrideReason struct {
	Type    string `xml:"type"`
	Comment string `xml:"comment,omitempty"`
}

type authResults struct {
	DKIM []dkimResult `xml:"dkim"`
	SPF  *spfResult   `xml:"spf"`
}

type dkimResult struct {
	Domain   string `xml:"domain"`
	Selector string `xml:"selector"`
	Result   string `xml:"result"`
}

type spfResult struct {
	Domain string `xml:"domain"`
	Scope  string `xml:"scope"` // RFC 9990 3.1.1.12: "mfrom", the only one
	Result string `xml:"result"`
}

// reportID is the same for a report that is sent again, and for no other about
// the domain (RFC 9990 3.5.1).
func reportID(day daily.Day, domain, submitter string) string {
	return strings.ReplaceAll(string(day), "-", "") + "." + domain + "@" + submitter
}

// newAggregate makes the report about a Policy Domain and a day.
func newAggregate(submitter, contact, generator string, day daily.Day, domain string, f *figures) *aggregate {
	a := &aggregate{Version: "1.0", Metadata: aggregateMetadata{
		Organization: submitter, Email: contact, ID: reportID(day, domain, submitter),
		Begin: day.Start().Unix(), End: day.End().Unix(), Generator: generator,
	}, Policy: published(domain, f.Record)}
	if f.Unlisted > 0 {
		a.Metadata.Error = fmt.Sprintf("%d more messages are not listed, from too many addresses or with too many results", f.Unlisted)
	}
	for _, r := range f.Rows {
		a.Records = append(a.Records, r.record())
	}
	return a
}

// published is a record with the defaults of tags that are not there.
func published(domain string, rec Record) publishedPolicy {
	mode := func(strict bool) string {
		if strict {
			return "s"
		}
		return "r"
	}
	p := publishedPolicy{
		Domain: domain, Discovery: "treewalk", P: rec.Policy, SP: rec.below(true), NP: rec.below(false),
		Failure: rec.Failure, StrictDKIM: mode(rec.StrictDKIM), StrictSPF: mode(rec.StrictSPF), Testing: "n",
	}
	if p.Failure == "" {
		p.Failure = "0"
	}
	if rec.Testing {
		p.Testing = "y"
	}
	return p
}

func (r *row) record() aggregateRecord {
	passed := map[bool]string{true: "pass", false: "fail"}
	out := aggregateRecord{
		IP: r.IP, Count: r.Count, Disposition: r.Disposition, DKIM: passed[r.DKIM], SPF: passed[r.SPF],
		HeaderFrom: r.HeaderFrom, EnvelopeFrom: r.EnvelopeFrom, EnvelopeTo: r.EnvelopeTo,
	}
	if r.Override != "" {
		out.Reason = &overrideReason{r.Override, r.Comment}
	}
	for _, s := range r.Signatures {
		out.Results.DKIM = append(out.Results.DKIM, dkimResult(s))
	}
	if r.SPFDomain != "" {
		out.Results.SPF = &spfResult{r.SPFDomain, "mfrom", r.SPFResult}
	}
	return out
}

// text is the report as XML.
func (a *aggregate) text() ([]byte, error) {
	body, err := xml.MarshalIndent(a, "", "  ")
	if err != nil {
		return nil, err
	}
	return append([]byte(xml.Header), append(body, '\n')...), nil
}

// fileName is what the report is called, RFC 9990 3.5.2.
func (a *aggregate) fileName() string {
	return fmt.Sprintf("%s!%s!%d!%d.xml.gz", a.Metadata.Organization, a.Policy.Domain, a.Metadata.Begin, a.Metadata.End)
}
