package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"buzon/internal/durable"
)

// selfSignedFor is long: people pin such a certificate in their mail programs,
// and a new one makes every program ask again.
const selfSignedFor = 10 * 365 * 24 * time.Hour

const (
	selfSignedCert = "self-signed.pem"
	selfSignedKey  = "self-signed.key"
)

// ensureSelfSigned returns the pair kept in dir, and makes it when it is not
// there or has expired. A pair that is there and cannot be read is an error: it
// may be pinned.
func ensureSelfSigned(dir string, names []string, now time.Time) (p pair, made bool, err error) {
	p = pair{filepath.Join(dir, selfSignedCert), filepath.Join(dir, selfSignedKey)}
	_, errCert := os.Stat(p.cert)
	_, errKey := os.Stat(p.key)
	if !errors.Is(errCert, fs.ErrNotExist) && !errors.Is(errKey, fs.ErrNotExist) {
		kept, err := p.load()
		if err != nil {
			return p, false, fmt.Errorf("%w; move both files away to have a new pair made", err)
		}
		if now.Before(kept.Leaf.NotAfter) {
			return p, false, nil
		}
	}
	certPEM, keyPEM, err := selfSign(names, now)
	if err != nil {
		return p, false, fmt.Errorf("make a self-signed certificate: %w", err)
	}
	if err := keep(dir, certPEM, keyPEM); err != nil {
		return p, false, fmt.Errorf("keep the self-signed certificate: %w", err)
	}
	return p, true, nil
}

// keep writes the key first: a key without a certificate is made anew, a
// certificate without its key would be trusted for nothing.
func keep(dir string, certPEM, keyPEM []byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := durable.WriteFile(root, selfSignedKey, keyPEM, 0o600); err != nil {
		return err
	}
	return durable.WriteFile(root, selfSignedCert, certPEM, 0o644)
}

// selfSign makes a P-256 key and a certificate for names, both in PEM.
func selfSign(names []string, now time.Time) (certPEM, keyPEM []byte, err error) {
	if len(names) == 0 {
		return nil, nil, errors.New("no host name")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: names[0]},
		DNSNames:              names,
		NotBefore:             now.Add(-time.Hour), // clocks of clients differ
		NotAfter:              now.Add(selfSignedFor),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true, // so that a client can be told to trust it
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	certPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	return certPEM, keyPEM, nil
}
