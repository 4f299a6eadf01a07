package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"buzon/internal/certs"
	"buzon/internal/limit"
	"buzon/internal/tomlfile"
	"buzon/internal/web"
	"buzon/mx/mtasts"
)

// webConfig is [web]: what is said on port 443.
type webConfig struct {
	MTASTS string `toml:"mta_sts"`
	IMAP   bool   `toml:"imap"`
}

// policyAge is how long other hosts may keep our MTA-STS policy.
const policyAge = 7 * 24 * time.Hour

func checkWeb(f *tomlfile.File, c *config) {
	modes := []string{string(mtasts.None), string(mtasts.Testing), string(mtasts.Enforce)}
	if !slices.Contains(modes, c.Web.MTASTS) {
		f.Problem([]string{"web", "mta_sts"}, "%q is not one of none, testing, enforce", c.Web.MTASTS)
	}
}

// stsPolicy is the text of our MTA-STS policy; "" where there is none to show.
func (c *config) stsPolicy() string {
	if c.Web.MTASTS == string(mtasts.None) {
		return ""
	}
	return mtasts.Policy{Mode: mtasts.Mode(c.Web.MTASTS), MaxAge: policyAge, MX: []string{c.Hostname}}.String()
}

// stsID names our policy in the DNS (RFC 8461 3.1): another policy has another
// name, and the same one the same. Without a policy it is that of testing.
func (c *config) stsID() string {
	policy := c.stsPolicy()
	if policy == "" {
		policy = mtasts.Policy{Mode: mtasts.Testing, MaxAge: policyAge, MX: []string{c.Hostname}}.String()
	}
	sum := sha256.Sum256([]byte(policy))
	return hex.EncodeToString(sum[:10])
}

// openWeb makes what answers on a listener of port 443.
func (h *host) openWeb(cfg *config) *web.Server {
	return web.New(web.Config{
		TLS: h.certs.TLSConfig(certs.Options{ClientCAs: h.clientCAs}), IMAP: cfg.Web.IMAP, Log: h.log,
		Conns: limit.NewConns(limit.ConnsConfig{
			Total: cfg.Limits.WebConnections, PerAddress: cfg.Limits.ConnectionsPerAddress, PerMinute: cfg.Limits.ConnectionsPerMinute,
		}),
		Pages: web.Pages{
			Hostname: cfg.Hostname, IsDomain: h.accounts.IsLocalDomain, Policy: cfg.stsPolicy(),
			IMAPS: firstPort(cfg.Listen.IMAPS), Submissions: firstPort(cfg.Listen.Submissions),
		},
	})
}

// serveWeb answers on port 443, with IMAP for those who ask for it by ALPN.
func (h *host) serveWeb(ctx context.Context, ln net.Listener) error {
	server := h.openWeb(h.cfg)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return server.Serve(ctx, ln) })
	group.Go(func() error {
		if err := h.imap.Serve(ctx, server.IMAP(), false); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	return group.Wait()
}

// firstPort is the port of the first of some addresses, or 0.
func firstPort(addresses []string) int {
	if len(addresses) == 0 {
		return 0
	}
	_, port, err := net.SplitHostPort(addresses[0])
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(port) // checked with the configuration
	return n
}
