package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"

	"buzon/internal/limit"
	"buzon/internal/sasl"
	"buzon/internal/tomlfile"
)

// authConfig is [auth]: how users log in.
type authConfig struct {
	SCRAM    bool   `toml:"scram"`
	ClientCA string `toml:"client_ca"`
}

// oauthConfig is [oauth]: whose tokens count.
type oauthConfig struct {
	Issuer           string `toml:"issuer"`
	Audience         string `toml:"audience"`
	Claim            string `toml:"claim"`
	Introspection    string `toml:"introspection"`
	ClientID         string `toml:"client_id"`
	ClientSecretFile string `toml:"client_secret_file"`
}

func checkAuth(f *tomlfile.File, c *config) {
	if c.Auth.ClientCA != "" {
		if _, err := c.Auth.clientCAs(); err != nil {
			if missing, ok := errors.AsType[*fs.PathError](err); ok {
				err = fmt.Errorf("the file cannot be read: %w", missing.Err)
			}
			f.Problem([]string{"auth", "client_ca"}, "%v", err)
		}
	}
	o := c.OAuth
	key := func(name string) []string { return []string{"oauth", name} }
	for name, text := range map[string]string{"issuer": o.Issuer, "introspection": o.Introspection} {
		if u, err := url.Parse(text); text != "" && (err != nil || u.Scheme != "https" && !isLoopbackURL(u) || u.Host == "") {
			f.Problem(key(name), "%q is not an address like \"https://login.example.org\"", text)
		}
	}
	switch {
	case o.Issuer == "" && o.Introspection == "" && o != (oauthConfig{Claim: o.Claim}):
		f.Problem(key("issuer"), "is missing: write the address of the OpenID provider, or remove the table")
	case o.Issuer == "" && o.Introspection == "":
	case o.Audience == "":
		f.Problem(key("audience"), "is missing: write what a token must be for, often the client ID of the mail programs; tokens for other services must not open mail")
	case o.Introspection != "" && (o.ClientID == "" || o.ClientSecretFile == ""):
		f.Problem(key("introspection"), "needs client_id and client_secret_file, with which we may ask there")
	}
	if o.Claim == "" {
		f.Problem(key("claim"), "is empty: write the claim that has the user's address, like \"email\"")
	}
}

// isLoopbackURL: without TLS only where nobody can listen.
func isLoopbackURL(u *url.URL) bool {
	return u.Scheme == "http" && (u.Hostname() == "localhost" || strings.HasPrefix(u.Hostname(), "127.") || u.Hostname() == "::1")
}

// clientCAs are the authorities whose certificates open accounts; nil for none.
func (a authConfig) clientCAs() (*x509.CertPool, error) {
	if a.ClientCA == "" {
		return nil, nil
	}
	text, err := readLimited(a.ClientCA, maxConfig)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", a.ClientCA)
	}
	return pool, nil
}

// tokens is who vouches for tokens; nil for nobody.
func (o oauthConfig) tokens() (sasl.Tokens, error) {
	if o.Issuer == "" && o.Introspection == "" {
		return nil, nil
	}
	cfg := sasl.IssuerConfig{Issuer: o.Issuer, Audience: o.Audience, Claim: o.Claim, Introspection: o.Introspection, ClientID: o.ClientID}
	if o.ClientSecretFile != "" {
		secret, err := readPassword(o.ClientSecretFile)
		if err != nil {
			return nil, fmt.Errorf("oauth.client_secret_file: %w", err)
		}
		cfg.ClientSecret = secret
	}
	return sasl.NewIssuer(cfg), nil
}

// openLogins makes what lets users in, whichever protocol they speak.
func (h *host) openLogins() error {
	tokens, err := h.cfg.OAuth.tokens()
	if err != nil {
		return configError{err}
	}
	h.logins = sasl.New(sasl.Config{
		Directory: h.accounts, NoSCRAM: !h.cfg.Auth.SCRAM, Tokens: tokens, Leaf: h.certs.Leaf,
		// Failed logins count together, wherever they are tried.
		Guard: limit.NewGuard(limit.GuardConfig{PerMinute: h.cfg.Limits.LoginFailuresPerMinute, PerDay: h.cfg.Limits.LoginFailuresPerDay}),
	})
	return nil
}
