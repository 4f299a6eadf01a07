package dmarc

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// Observation is one message that a policy was applied to, as a report tells it.
type Observation struct {
	Policy      Policy
	IP          netip.Addr
	Disposition Disposition // what was done
	DKIM, SPF   bool        // passed and aligned
	Override    string      // a type of RFC 9990's for a Disposition that differs; or ""
	Comment     string      // on it

	EnvelopeFrom, EnvelopeTo string // domains; EnvelopeFrom is "" for the null reverse-path

	Signatures           []SignatureResult
	SPFDomain, SPFResult string // of the MAIL FROM identity; none where SPFDomain is ""
}

// disposition is what a report says was done: where something was asked for,
// and was not done because the message passed, it is "pass".
func (o Observation) disposition() string {
	if o.Disposition == None && o.Policy.Requested != None && (o.DKIM || o.SPF) {
		return "pass"
	}
	return o.Disposition.String()
}

// SignatureResult is the outcome for one DKIM signature.
type SignatureResult struct {
	Domain   string `json:"domain"`
	Selector string `json:"selector"`
	Result   string `json:"result"`
}

// byWeight sorts signatures as RFC 9990 3.1.3 wants them kept: those that pass
// first, of these the nearest to the Author Domain.
func (p Policy) byWeight(list []SignatureResult) []SignatureResult {
	rank := func(s SignatureResult) int {
		switch {
		case s.Result != "pass":
			return 3
		case s.Domain == p.Author:
			return 0
		case p.Org != "" && (s.Domain == p.Org || strings.HasSuffix(s.Domain, "."+p.Org)):
			return 1
		}
		return 2
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b SignatureResult) int { return cmp.Compare(rank(a), rank(b)) })
	return list
}
