package certs

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// A pair is a certificate chain and its private key, as two PEM files.
type pair struct{ cert, key string }

// load reads both files. A pair that does not belong together, an empty file
// and half a file are errors.
func (p pair) load() (*tls.Certificate, error) {
	if p.cert == "" || p.key == "" {
		return nil, fmt.Errorf("a certificate and its key are needed, got only %q", p.cert+p.key)
	}
	chain, err := os.ReadFile(p.cert)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	key, err := os.ReadFile(p.key)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	cert, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", p.cert, p.key, err)
	}
	if cert.Leaf == nil {
		if cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
			return nil, fmt.Errorf("certificate %s: %w", p.cert, err)
		}
	}
	return &cert, nil
}

// keyIsOpen reports whether others than the owner and the group may read the
// private key.
func (p pair) keyIsOpen() (fs.FileMode, bool) {
	st, err := os.Stat(p.key)
	if err != nil {
		return 0, false
	}
	return st.Mode().Perm(), st.Mode().Perm()&0o007 != 0
}

// stamps tell two states of a pair's files apart without reading them.
type stamps struct{ cert, key stamp }

type stamp struct {
	modified time.Time
	size     int64
}

func (p pair) stamps() stamps { return stamps{stampOf(p.cert), stampOf(p.key)} }

// stampOf follows symbolic links, for certificate clients renew by turning one.
func stampOf(path string) stamp {
	st, err := os.Stat(path)
	if err != nil {
		return stamp{}
	}
	return stamp{st.ModTime(), st.Size()}
}
