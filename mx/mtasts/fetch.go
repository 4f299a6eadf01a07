package mtasts

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// fetchTime is for the whole of a fetch, RFC 8461 3.3.
const fetchTime = time.Minute

// What can go wrong with a fetch, as RFC 8460 4.3.2 tells it apart.
var (
	ErrFetch  = errors.New("policy cannot be fetched")
	ErrWebPKI = errors.New("policy host has no good certificate")
)

// get fetches a policy: no redirects, no compression, no more than 64 KiB, and
// only from addresses that are allowed.
func (c *Cache) get(domain string) (Policy, error) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTime)
	defer cancel()
	transport := &http.Transport{
		DialContext:       c.dialVetted,
		TLSClientConfig:   &tls.Config{RootCAs: c.cfg.RootCAs, MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 16 << 10,
	}
	client := http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // RFC 8461 3.3
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://mta-sts."+domain+"/.well-known/mta-sts.txt", nil)
	if err != nil {
		return Policy{}, fmt.Errorf("%w: %w", ErrFetch, err)
	}
	req.Header.Set("User-Agent", "buzon")
	res, err := client.Do(req)
	if err != nil {
		if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
			return Policy{}, fmt.Errorf("%w: %w", ErrWebPKI, err)
		}
		if _, ok := errors.AsType[x509.HostnameError](err); ok {
			return Policy{}, fmt.Errorf("%w: %w", ErrWebPKI, err)
		}
		return Policy{}, fmt.Errorf("%w: %w", ErrFetch, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return Policy{}, fmt.Errorf("%w: %s", ErrFetch, res.Status)
	}
	if kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type")); err != nil || kind != "text/plain" {
		return Policy{}, fmt.Errorf("%w: media type %.80q", ErrInvalid, res.Header.Get("Content-Type"))
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, maxPolicy+1))
	if err != nil {
		return Policy{}, fmt.Errorf("%w: %w", ErrFetch, err)
	}
	return Parse(text)
}

// dialVetted connects to one of a host's addresses that may be dialled: it is
// the address that was looked at which is dialled, not one looked up anew.
func (c *Cache) dialVetted(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	addrs, _, err := c.cfg.Resolver.Addrs(ctx, host)
	if err != nil {
		return nil, err
	}
	err = fmt.Errorf("%s has no public address", host)
	const most = 4
	for _, addr := range addrs[:min(len(addrs), most)] {
		if c.cfg.Allowed != nil && !c.cfg.Allowed(addr) {
			continue
		}
		var conn net.Conn
		limited, cancel := context.WithTimeout(ctx, fetchTime/most)
		conn, err = c.cfg.Dial(limited, network, net.JoinHostPort(netip.Addr.String(addr.Unmap()), port))
		cancel()
		if err == nil {
			return conn, nil
		}
	}
	return nil, err
}
