package mx

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"buzon/mx/dane"
	"buzon/mx/dns"
	"buzon/mx/mtasts"
	"buzon/mx/tlsrpt"
)

// event begins what is told of a host to its domain, RFC 8460.
func (h hop) event() tlsrpt.Event {
	e := tlsrpt.Event{Domain: h.domain.domain, Policy: tlsrpt.NoPolicy}
	switch {
	case h.policy.kind == daneVerified || h.policy.kind == encrypted:
		e.Policy = tlsrpt.TLSA
		for _, r := range h.policy.tlsa {
			e.Text = append(e.Text, fmt.Sprintf("%d %d %d %x", r.Usage, r.Selector, r.MatchingType, r.Data))
		}
	case h.domain.sts != nil:
		e.Policy, e.MX = tlsrpt.STS, h.domain.sts.MX
		e.Text = strings.Split(strings.TrimSuffix(h.domain.sts.String(), "\r\n"), "\r\n")
	}
	return e
}

// reportPolicy tells of what was wrong before a host was even spoken to.
func (a *attempt) reportPolicy(h hop, f *failure) {
	if h.domain == nil || strings.HasPrefix(h.domain.domain, "[") {
		return
	}
	if err := h.domain.stsErr; err != nil && !h.domain.told {
		h.domain.told = true
		e := h.event()
		e.Policy, e.Detail = tlsrpt.STS, err.Error()
		switch {
		case errors.Is(err, mtasts.ErrWebPKI):
			e.Result = tlsrpt.STSWebPKIInvalid
		case errors.Is(err, mtasts.ErrInvalid):
			e.Result = tlsrpt.STSPolicyInvalid
		default:
			e.Result = tlsrpt.STSFetchError
		}
		a.c.reports.Record(e)
	}
	if sts := h.domain.sts; sts != nil && !sts.Matches(h.host) && h.policy.kind != daneVerified {
		e := h.event()
		e.Host, e.Result, e.Detail = h.host, tlsrpt.ValidationFailure, "the host is not in the policy"
		a.c.reports.Record(e)
		return
	}
	var trouble *dns.Error
	if f != nil && errors.As(f, &trouble) && trouble.Type == "TLSA" {
		e := h.event()
		e.Policy, e.Host, e.Result, e.Detail = tlsrpt.TLSA, h.host, tlsrpt.DNSSECInvalid, f.Error()
		a.c.reports.Record(e)
	}
}

// reportSession tells how TLS went in a session that was begun, and notices
// when it was better before.
func (a *attempt) reportSession(h hop, addr netip.Addr, s *session, f *failure) {
	if h.domain == nil || strings.HasPrefix(h.domain.domain, "[") {
		return
	}
	e := h.event()
	e.Host, e.IP = h.host, addr.String()
	switch {
	case f != nil && errors.Is(f, errHandshake):
		e.Result, e.Detail = tlsResult(h, f.cause), f.cause.Error()
	case f != nil && errors.Is(f, errNoTLS):
		e.Result = tlsrpt.NoSTARTTLS
	case f != nil:
		return // it was not about TLS
	case s.tlsState == nil && s.triedTLS: // told of already
	case s.tlsState == nil:
		e.Result = tlsrpt.NoSTARTTLS
	case h.policy.kind == stsTesting && !s.verified:
		err := a.c.verify(*s.tlsState, h.host)
		e.Result, e.Detail = tlsResult(h, err), fmt.Sprint(err)
	}
	if f == nil {
		now := plainText
		switch {
		case s.verified:
			now = verifiedTLS
		case s.tlsState != nil:
			now = someTLS
		}
		if best, worse := a.c.levels.note(h.domain.domain, now); worse {
			a.c.log.Warn("TLS was better before", "id", a.env.ID, "domain", h.domain.domain, "host", h.host, "ip", addr.String(),
				"policy", h.policy.String(), "level", now.String(), "best", best.String())
			if e.Result == tlsrpt.Success {
				e.Result, e.Detail = tlsrpt.ValidationFailure, "the certificate was good before"
			}
		}
		if s.tlsState == nil && s.triedTLS {
			return
		}
	}
	a.c.reports.Record(e)
}

// tlsResult names the failure of a handshake.
func tlsResult(h hop, err error) tlsrpt.Result {
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return tlsrpt.HostMismatch
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return tlsrpt.Expired
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return tlsrpt.NotTrusted
	}
	if errors.Is(err, dane.ErrNoMatch) {
		return tlsrpt.TLSAInvalid
	}
	return tlsrpt.ValidationFailure
}
