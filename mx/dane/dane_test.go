package dane_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"buzon/mx/dane"
	"buzon/mx/dns"
)

var now = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

// issue makes a certificate; parent nil: signed by itself.
func issue(t *testing.T, name string, authority bool, until time.Time, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: now.AddDate(-1, 0, 0), NotAfter: until,
		IsCA: authority, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	if !authority {
		template.DNSNames = []string{name}
	}
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func record(usage, selector, matching uint8, cert *x509.Certificate) dns.TLSA {
	data := cert.Raw
	if selector == 1 {
		data = cert.RawSubjectPublicKeyInfo
	}
	switch matching {
	case 1:
		sum := sha256.Sum256(data)
		data = sum[:]
	case 2:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return dns.TLSA{Usage: usage, Selector: selector, MatchingType: matching, Data: data}
}

func TestVerify(t *testing.T) {
	later := now.AddDate(1, 0, 0)
	root, rootKey := issue(t, "root", true, later, nil, nil)
	middle, middleKey := issue(t, "middle", true, later, root, rootKey)
	leaf, _ := issue(t, "mx.x.test", false, later, middle, middleKey)
	old, _ := issue(t, "mx.x.test", false, now.AddDate(0, -1, 0), middle, middleKey)
	other, _ := issue(t, "mx.other.test", false, later, nil, nil)
	chain := []*x509.Certificate{leaf, middle, root}
	wrongName := []string{"mx.elsewhere.test"}
	right := []string{"x.test", "mx.x.test"}
	for _, tt := range []struct {
		name    string
		records []dns.TLSA
		chain   []*x509.Certificate
		names   []string
		ok      bool
	}{
		{"EE certificate", []dns.TLSA{record(3, 0, 0, leaf)}, chain, right, true},
		{"EE key, SHA-256", []dns.TLSA{record(3, 1, 1, leaf)}, chain, right, true},
		{"EE key, SHA-512", []dns.TLSA{record(3, 1, 2, leaf)}, chain, right, true},
		{"EE does not look at names", []dns.TLSA{record(3, 1, 1, leaf)}, chain, wrongName, true},
		{"EE does not look at dates", []dns.TLSA{record(3, 1, 1, old)}, []*x509.Certificate{old}, right, true},
		{"EE of the authority", []dns.TLSA{record(3, 1, 1, middle)}, chain, right, false},
		{"EE of another", []dns.TLSA{record(3, 1, 1, other)}, chain, right, false},
		{"EE, one of two", []dns.TLSA{record(3, 1, 1, other), record(3, 1, 1, leaf)}, chain, right, true},
		{"TA root", []dns.TLSA{record(2, 0, 1, root)}, chain, right, true},
		{"TA in the middle", []dns.TLSA{record(2, 1, 1, middle)}, chain[:2], right, true},
		{"TA whole, not sent", []dns.TLSA{record(2, 0, 0, root)}, chain[:2], right, true},
		{"TA digest, not sent", []dns.TLSA{record(2, 0, 1, root)}, chain[:2], right, false},
		{"TA looks at names", []dns.TLSA{record(2, 0, 1, root)}, chain, wrongName, false},
		{"TA looks at dates", []dns.TLSA{record(2, 0, 1, root)}, []*x509.Certificate{old, middle, root}, right, false},
		{"TA sent with a foreign leaf", []dns.TLSA{record(2, 0, 1, root)}, []*x509.Certificate{other, middle, root}, []string{"mx.other.test"}, false},
		{"the stronger digest counts", []dns.TLSA{record(3, 1, 1, leaf), record(3, 1, 2, other)}, chain, right, false},
		{"no certificate", []dns.TLSA{record(3, 1, 1, leaf)}, nil, right, false},
		{"no record", nil, chain, right, false},
	} {
		if err := dane.Verify(tt.records, tt.chain, tt.names, now); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestUsable(t *testing.T) {
	sum := make([]byte, 32)
	for _, tt := range []struct {
		record dns.TLSA
		usable bool
	}{
		{dns.TLSA{Usage: 3, Selector: 1, MatchingType: 1, Data: sum}, true},
		{dns.TLSA{Usage: 2, Selector: 0, MatchingType: 1, Data: sum}, true},
		{dns.TLSA{Usage: 1, Selector: 1, MatchingType: 1, Data: sum}, false}, // RFC 7672 3.1.3
		{dns.TLSA{Usage: 0, Selector: 0, MatchingType: 1, Data: sum}, false},
		{dns.TLSA{Usage: 4, Selector: 1, MatchingType: 1, Data: sum}, false},
		{dns.TLSA{Usage: 3, Selector: 2, MatchingType: 1, Data: sum}, false},
		{dns.TLSA{Usage: 3, Selector: 1, MatchingType: 3, Data: sum}, false},
		{dns.TLSA{Usage: 3, Selector: 1, MatchingType: 2, Data: sum}, false},
		{dns.TLSA{Usage: 3, Selector: 1, MatchingType: 0}, false},
		{dns.TLSA{Usage: 3, Selector: 1, MatchingType: 1, Data: sum[1:]}, false},
	} {
		if got := len(dane.Usable([]dns.TLSA{tt.record})) == 1; got != tt.usable {
			t.Errorf("%+v: usable is %v", tt.record, got)
		}
	}
}

// FuzzVerify: whatever a zone holds, nothing panics, and what is not usable
// never matches.
func FuzzVerify(f *testing.F) {
	f.Add(uint8(2), uint8(0), uint8(0), []byte("not a certificate"))
	f.Add(uint8(3), uint8(1), uint8(1), make([]byte, 32))
	f.Fuzz(func(t *testing.T, usage, selector, matching uint8, data []byte) {
		r := []dns.TLSA{{Usage: usage, Selector: selector, MatchingType: matching, Data: data}}
		leaf := &x509.Certificate{Raw: []byte("leaf"), RawSubjectPublicKeyInfo: []byte("key")}
		if dane.Verify(dane.Usable(r), []*x509.Certificate{leaf}, []string{"x.test"}, now) == nil && len(dane.Usable(r)) == 0 {
			t.Errorf("%+v matches", r)
		}
	})
}
