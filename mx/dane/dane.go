// Package dane checks a mail host's certificates against the TLSA records of
// its name, as RFC 7671 and RFC 7672 have it for SMTP. It looks nothing up: that
// the records are authentic is its caller's concern.
package dane

import (
	"bytes"
	sum256 "crypto/sha256"
	sum512 "crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"buzon/mx/dns"
)

// The fields of a TLSA record that mean something here, RFC 7218.
const (
	domainTA = 2 // DANE-TA: an authority in the chain
	domainEE = 3 // DANE-EE: the host's own certificate

	wholeCert = 0 // Cert
	publicKey = 1 // SPKI

	exact  = 0 // Full
	sha256 = 1
	sha512 = 2
)

// maxRecords bounds how many records of a host are compared.
const maxRecords = 32

// ErrNoMatch is wrapped by every failure of Verify.
var ErrNoMatch = errors.New("no TLSA record matches")

// Usable returns the records that a mail client can use: DANE-TA and DANE-EE
// (RFC 7672 3.1.3 has the others unusable), with a selector and a matching type
// that are known and data of the length that belongs to them.
func Usable(records []dns.TLSA) []dns.TLSA {
	var list []dns.TLSA
	for _, r := range records {
		length := len(r.Data)
		switch {
		case r.Usage != domainTA && r.Usage != domainEE, r.Selector > publicKey, len(list) == maxRecords:
		case r.MatchingType == exact && length > 0 && length <= 16<<10,
			r.MatchingType == sha256 && length == 32,
			r.MatchingType == sha512 && length == 64:
			list = append(list, r)
		}
	}
	return list
}

// Verify reports whether a chain, the host's own certificate first, is what one
// of the usable records wants at the time now. With DANE-EE nothing else
// counts, neither names nor dates (RFC 7672 3.1.1). With DANE-TA the chain must
// lead to the authority and the certificate must be for one of names (3.2.3).
func Verify(records []dns.TLSA, chain []*x509.Certificate, names []string, now time.Time) error {
	if len(chain) == 0 {
		return fmt.Errorf("%w: no certificate", ErrNoMatch)
	}
	records = strongest(records)
	for _, r := range records {
		if r.Usage == domainEE && matches(r, chain[0]) {
			return nil
		}
	}
	err := fmt.Errorf("%w: %d records", ErrNoMatch, len(records))
	for _, r := range records {
		if r.Usage != domainTA {
			continue
		}
		for _, authority := range authorities(r, chain) {
			why := leadsTo(authority, chain, names, now)
			if why == nil {
				return nil
			}
			err = fmt.Errorf("%w: %w", ErrNoMatch, why)
		}
	}
	return err
}

// strongest leaves out records with a weaker digest where there is a stronger
// one for the same use, RFC 7671 9.
func strongest(records []dns.TLSA) []dns.TLSA {
	return slices.DeleteFunc(slices.Clone(records), func(r dns.TLSA) bool {
		return r.MatchingType == sha256 && slices.ContainsFunc(records, func(o dns.TLSA) bool {
			return o.Usage == r.Usage && o.Selector == r.Selector && o.MatchingType == sha512
		})
	})
}

// matches compares a certificate with a record, RFC 6698 2.1.
func matches(r dns.TLSA, cert *x509.Certificate) bool {
	data := cert.Raw
	if r.Selector == publicKey {
		data = cert.RawSubjectPublicKeyInfo
	}
	switch r.MatchingType {
	case sha256:
		sum := sum256.Sum256(data)
		data = sum[:]
	case sha512:
		sum := sum512.Sum512(data)
		data = sum[:]
	}
	return bytes.Equal(data, r.Data)
}

// authorities are the certificates of the chain that a DANE-TA record means,
// and the one that it holds as a whole.
func authorities(r dns.TLSA, chain []*x509.Certificate) (list []*x509.Certificate) {
	for _, cert := range chain {
		if matches(r, cert) {
			list = append(list, cert)
		}
	}
	if len(list) == 0 && r.Selector == wholeCert && r.MatchingType == exact {
		if cert, err := x509.ParseCertificate(r.Data); err == nil {
			list = append(list, cert)
		}
	}
	return list
}

// leadsTo verifies a chain up to an authority that need not be a root.
func leadsTo(authority *x509.Certificate, chain []*x509.Certificate, names []string, now time.Time) error {
	opts := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	opts.Roots.AddCert(authority)
	for _, cert := range chain[1:] {
		opts.Intermediates.AddCert(cert)
	}
	if _, err := chain[0].Verify(opts); err != nil {
		return err
	}
	var err error
	for _, name := range names {
		if err = chain[0].VerifyHostname(name); err == nil {
			return nil
		}
	}
	return err
}
