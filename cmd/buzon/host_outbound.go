package main

import (
	"os"
	"path/filepath"

	"buzon/mx"
	"buzon/mx/dkim"
	"buzon/mx/dmarc"
	"buzon/mx/dns"
	"buzon/mx/mtasts"
	"buzon/mx/queue"
	"buzon/mx/tlsrpt"
)

// openOutbound makes the way out: queue → signatures → mx → the world, and
// notices home.
func (h *host) openOutbound() error {
	cfg := h.cfg
	outbound, err := cfg.mxConfig()
	if err != nil {
		return configError{err}
	}
	if h.resolver, err = dns.New(dns.Config{Servers: cfg.DNS.Servers, Trusted: cfg.DNS.Trusted, Log: h.log}); err != nil {
		return configError{err}
	}
	outbound.Resolver, outbound.Log = h.resolver, h.log
	if err := h.openTLSPolicies(&outbound, h.resolver); err != nil {
		return err
	}
	if h.client, err = mx.New(outbound); err != nil {
		return configError{err}
	}
	h.onClose(func() error { h.client.Close(); return nil })
	if h.keys, err = dkim.OpenStore(cfg.path(keyDir)); err != nil {
		return err
	}
	h.onClose(h.keys.Close)
	if err := cfg.ensureKeys(h.keys, h.log); err != nil {
		return configError{err}
	}

	secret, err := forwardSecret(cfg.Data)
	if err != nil {
		return err
	}
	h.forwarder = mx.NewForwarder(mx.ForwarderConfig{Secret: secret, Keys: h.keys, SigningDomain: h.signs})

	if cfg.Incoming.DMARCReports {
		if h.dmarcSeen, err = dmarc.OpenCollector(cfg.path("outbound", "dmarc.json"), nil); err != nil {
			return err
		}
	}

	queueCfg := cfg.queueConfig()
	queueCfg.Sender = mx.NewSigner(mx.SignerConfig{
		Next: h.client, Keys: h.keys, SigningDomain: h.signs, IsLocal: h.accounts.IsLocalDomain, Log: h.log,
	})
	queueCfg.Notifier = notices{h, h.local()}
	queueCfg.LocalDomain = h.accounts.IsLocalDomain
	queueCfg.Log = h.log
	if h.queue, err = queue.Open(queueCfg); err != nil {
		return err
	}
	h.onClose(h.queue.Close)
	return nil
}

// openTLSPolicies makes what knows how TLS must be on the way out, and what
// tells how it was.
func (h *host) openTLSPolicies(outbound *mx.Config, resolver *dns.Client) (err error) {
	dir := h.cfg.path("outbound")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	outbound.LevelsFile = filepath.Join(dir, "tls-levels")
	if h.cfg.Outbound.MTASTS {
		sts := mtasts.Config{Dir: filepath.Join(dir, "mta-sts"), Resolver: resolver, Log: h.log, Allowed: mx.Public}
		if h.cfg.Outbound.AllowPrivate {
			sts.Allowed = nil
		}
		if h.sts, err = mtasts.Open(sts); err != nil {
			return err
		}
		h.onClose(h.sts.Close)
		outbound.STS = h.sts
	}
	if h.cfg.Outbound.TLSReports {
		if h.tlsReports, err = tlsrpt.Open(filepath.Join(dir, "tlsrpt.json"), nil); err != nil {
			return err
		}
		outbound.Reports = h.tlsReports
	}
	return nil
}
