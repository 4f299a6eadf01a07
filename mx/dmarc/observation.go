package dmarc

import "net/netip"

// Observation is one message that a policy was applied to, as a report tells it.
type Observation struct {
	Policy      Policy
	IP          netip.Addr
	Disposition Disposition // what was done
	DKIM, SPF   bool        // passed and aligned
	Override    string      // a type of RFC 9990's for a Disposition that differs; or ""
	Comment     string      // on it

	EnvelopeFrom, EnvelopeTo string // domains

	Signatures                     []SignatureResult
	SPFDomain, SPFScope, SPFResult string
}

// SignatureResult is the outcome for one DKIM signature.
type SignatureResult struct{ Domain, Selector, Result string }
