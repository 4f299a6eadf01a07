package mx

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// errHandshake is wrapped by the failure of a TLS handshake: without a policy
// that forbids it, the host may be tried again in plain text.
var errHandshake = errors.New("TLS handshake")

// secure brings the session under TLS where the host offers it, or where it
// must be.
func (c *Client) secure(s *session, h hop, plain bool) *failure {
	required := !h.opportunistic() // a smarthost without TLS is done with here
	switch {
	case s.tlsState != nil, plain, h.smarthost != nil && h.smarthost.TLS == NoTLS:
		return nil
	case !s.ext.startTLS && required:
		return insecure(h, errors.New("STARTTLS is not offered"))
	case !s.ext.startTLS:
		return nil
	}
	reply, err := s.command(s.times.Envelope, "STARTTLS")
	switch {
	case err != nil:
		return s.lost("STARTTLS", err)
	case s.broken: // 421
		return refused(reply, "STARTTLS")
	case reply.Code != 220 && required:
		return insecure(h, reply)
	case reply.Code != 220: // offered, and yet not to be had: RFC 3207 4.1 leaves it to us
		return nil
	case s.r.Buffered() > 0:
		// Somebody on the way speaks for the host, and hopes that we hear it as
		// if it came under TLS (CVE-2011-0411). No plain text after this.
		s.broken = true
		return temporary(7, 0, "Protocol error of the mail host", errors.New("data after the answer to STARTTLS and before TLS"))
	}
	if f := c.startHandshake(s, h); f != nil {
		return f
	}
	return c.hello(s, h) // RFC 3207 4.2: what was offered before counts no longer
}

// errNoTLS is wrapped by the failure of a host that offers no TLS.
var errNoTLS = errors.New("no TLS")

// insecure is the failure of a host to offer what its domain or its operator
// demands.
func insecure(h hop, cause error) *failure {
	cause = fmt.Errorf("%w: %w", errNoTLS, cause)
	if h.smarthost != nil {
		f := temporary(7, 4, "The smarthost offers no TLS", cause)
		f.ours = true
		return f
	}
	if h.policy.kind == requireTLS {
		return permanent(550, 7, 10, "The message requires TLS, and the mail host offers none", cause) // RFC 8689 4.2.1
	}
	return temporary(7, 4, "The mail host offers no TLS, which its domain's policy demands", cause)
}

// startHandshake makes the connection a TLS one. For an opportunistic hop any
// certificate will do, as it did for the plain text it replaces, and what it
// is worth is only noted (RFC 7435 3).
func (c *Client) startHandshake(s *session, h hop) *failure {
	cfg := &tls.Config{ServerName: h.host, RootCAs: c.rootCAs, MinVersion: tls.VersionTLS12}
	if h.policy.kind == daneVerified {
		cfg.ServerName = h.policy.base // RFC 7672 8.1
	}
	if h.smarthost == nil || h.smarthost.AnyCertificate {
		cfg.InsecureSkipVerify = true // accepts verifies
		cfg.VerifyConnection = func(state tls.ConnectionState) (err error) {
			s.verified, err = c.accepts(h.policy, h.host, state)
			return err
		}
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.times.TLS)
	defer cancel()
	conn := tls.Client(s.conn, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		s.broken = true
		f := temporary(7, 5, "TLS could not be agreed on with the mail host", fmt.Errorf("%w: %w", errHandshake, err))
		f.ours = h.smarthost != nil
		return f
	}
	state := conn.ConnectionState()
	s.tlsState = &state
	s.verified = s.verified || !cfg.InsecureSkipVerify
	s.use(conn)
	return nil
}

// verify checks the host's chain as crypto/tls would have done.
func (c *Client) verify(state tls.ConnectionState, host string) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("no certificate")
	}
	opts := x509.VerifyOptions{DNSName: host, Roots: c.rootCAs, Intermediates: x509.NewCertPool()}
	for _, cert := range state.PeerCertificates[1:] {
		opts.Intermediates.AddCert(cert)
	}
	_, err := state.PeerCertificates[0].Verify(opts)
	return err
}

// tlsName is "TLS 1.3 TLS_AES_128_GCM_SHA256", or "" for plain text.
func (s *session) tlsName() string {
	if s.tlsState == nil {
		return ""
	}
	return tls.VersionName(s.tlsState.Version) + " " + tls.CipherSuiteName(s.tlsState.CipherSuite)
}
