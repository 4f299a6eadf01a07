package sasl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

// IssuerConfig says whose tokens count.
type IssuerConfig struct {
	Issuer   string // the issuer's URL; its configuration is at /.well-known/openid-configuration
	Audience string // what a token must be for: tokens for other services of the same issuer open no mail
	Claim    string // that has the user's address; default "email"

	// Introspection is the URL of RFC 7662 at which each token is asked about, for
	// issuers whose tokens say nothing by themselves, or that revoke them. Without
	// it tokens are JWTs that the issuer's published keys have signed (RFC 9068).
	Introspection          string
	ClientID, ClientSecret string // with which we may ask there

	HTTP *http.Client     // default one with a time-out
	Now  func() time.Time // default time.Now
}

const (
	// clockSkew is how far the issuer's clock may be off.
	clockSkew = time.Minute
	// issuerTimeout bounds a request to the issuer: a login waits for it.
	issuerTimeout = 10 * time.Second
	// longestAnswer bounds what the issuer answers, in bytes.
	longestAnswer = 1 << 20
)

// signatures are the algorithms that a token may be signed with: those with a
// public key, which makes a token worth nothing to whoever can verify it.
var signatures = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512,
	oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA,
}

// Issuer is the Tokens of an OpenID provider.
type Issuer struct {
	cfg IssuerConfig

	mu   sync.Mutex
	keys oidc.KeySet // nil until the issuer has answered
}

// NewIssuer returns an Issuer. It asks nothing yet: the issuer may be started
// after us.
func NewIssuer(cfg IssuerConfig) *Issuer {
	if cfg.Claim == "" {
		cfg.Claim = "email"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	var client http.Client
	if cfg.HTTP != nil {
		client = *cfg.HTTP
	}
	if client.Timeout == 0 {
		client.Timeout = issuerTimeout
	}
	if client.Transport == nil {
		client.Transport = http.DefaultTransport
	}
	client.Transport = bounded{client.Transport}
	cfg.HTTP = &client
	return &Issuer{cfg: cfg}
}

// Configuration implements Tokens.
func (i *Issuer) Configuration() string {
	if i.cfg.Issuer == "" {
		return ""
	}
	return strings.TrimSuffix(i.cfg.Issuer, "/") + "/.well-known/openid-configuration"
}

// Verify implements Tokens.
func (i *Issuer) Verify(ctx context.Context, token string) (address string, err error) {
	if token == "" {
		return "", fmt.Errorf("%w: no token", ErrCredentials)
	}
	ctx, cancel := context.WithTimeout(ctx, issuerTimeout)
	defer cancel()
	var claims map[string]any
	if i.cfg.Introspection != "" {
		claims, err = i.introspect(ctx, token)
	} else {
		claims, err = i.verify(ctx, token)
	}
	if err != nil {
		return "", err
	}
	return i.user(claims)
}

// user is the address in the claims of a token that counts.
func (i *Issuer) user(claims map[string]any) (string, error) {
	address, _ := claims[i.cfg.Claim].(string)
	if address == "" {
		return "", fmt.Errorf("%w: the token has no claim %q", ErrCredentials, i.cfg.Claim)
	}
	if verified, said := claims["email_verified"]; said && i.cfg.Claim == "email" && fmt.Sprint(verified) != "true" {
		return "", fmt.Errorf("%w: the issuer has not verified the address", ErrCredentials)
	}
	return address, nil
}

// verify reads a JWT.
func (i *Issuer) verify(ctx context.Context, token string) (map[string]any, error) {
	keys, err := i.keySet(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	asked := &askedKeys{KeySet: keys}
	verifier := oidc.NewVerifier(i.cfg.Issuer, asked, &oidc.Config{
		ClientID: i.cfg.Audience, SupportedSigningAlgs: signatures,
		Now: func() time.Time { return i.cfg.Now().Add(-clockSkew) },
	})
	verified, err := verifier.Verify(ctx, token)
	switch {
	case asked.unreachable:
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrCredentials, err)
	}
	var claims map[string]any
	if err := verified.Claims(&claims); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCredentials, err)
	}
	return claims, nil
}

// keySet finds out where the issuer's keys are, once it answers.
func (i *Issuer) keySet(ctx context.Context) (oidc.KeySet, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.keys != nil {
		return i.keys, nil
	}
	ctx = oidc.ClientContext(ctx, i.cfg.HTTP)
	provider, err := oidc.NewProvider(ctx, i.cfg.Issuer)
	if err != nil {
		return nil, err
	}
	var meta struct {
		Keys string `json:"jwks_uri"`
	}
	if err := provider.Claims(&meta); err != nil {
		return nil, err
	}
	i.keys = oidc.NewRemoteKeySet(ctx, meta.Keys)
	return i.keys, nil
}

// askedKeys tells a bad signature from keys that could not be fetched.
type askedKeys struct {
	oidc.KeySet
	unreachable bool
}

func (k *askedKeys) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	payload, err := k.KeySet.VerifySignature(ctx, jwt)
	k.unreachable = err != nil && strings.HasPrefix(err.Error(), "fetching keys")
	return payload, err
}

// introspect asks the issuer about a token (RFC 7662 2).
func (i *Issuer) introspect(ctx context.Context, token string) (map[string]any, error) {
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, i.cfg.Introspection, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.SetBasicAuth(url.QueryEscape(i.cfg.ClientID), url.QueryEscape(i.cfg.ClientSecret)) // RFC 6749 2.3.1
	res, err := i.cfg.HTTP.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: the issuer answers %s", ErrUnavailable, res.Status)
	}
	var claims map[string]any
	if err := json.NewDecoder(res.Body).Decode(&claims); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := i.counts(claims); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCredentials, err)
	}
	return claims, nil
}

// counts checks what an introspection said. Whoever issued the token to a client
// without an audience issued it for that client's own use.
func (i *Issuer) counts(claims map[string]any) error {
	if active, _ := claims["active"].(bool); !active {
		return errors.New("the token is not active")
	}
	if iss, ok := claims["iss"].(string); ok && i.cfg.Issuer != "" && iss != i.cfg.Issuer {
		return errors.New("the token is another issuer's")
	}
	now := i.cfg.Now()
	if exp, ok := claims["exp"].(float64); ok && now.Add(-clockSkew).After(time.Unix(int64(exp), 0)) {
		return errors.New("the token has expired")
	}
	if nbf, ok := claims["nbf"].(float64); ok && now.Add(clockSkew).Before(time.Unix(int64(nbf), 0)) {
		return errors.New("the token is not valid yet")
	}
	if !slices.Contains(audiences(claims), i.cfg.Audience) {
		return errors.New("the token is for another service")
	}
	return nil
}

func audiences(claims map[string]any) (list []string) {
	switch aud := claims["aud"].(type) {
	case string:
		return []string{aud}
	case []any:
		for _, a := range aud {
			if s, ok := a.(string); ok {
				list = append(list, s)
			}
		}
		return list
	}
	if client, ok := claims["client_id"].(string); ok {
		list = append(list, client)
	}
	return list
}

// bounded keeps an issuer from filling our memory.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := b.RoundTripper.RoundTrip(req)
	if err == nil {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, longestAnswer), res.Body}
	}
	return res, err
}
