package sasl

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

type noTokens struct{}

func (noTokens) Verify(context.Context, string) (string, error) { return "", ErrCredentials }
func (noTokens) Configuration() string                          { return "" }

// issuer is an OpenID provider: what a test needs of one.
type issuer struct {
	*httptest.Server
	t    *testing.T
	key  *ecdsa.PrivateKey
	kid  string
	down atomic.Bool
	keys atomic.Int32 // how often they were fetched
	// known are the opaque tokens, with what introspection says of them.
	known map[string]map[string]any
}

func newIssuer(t *testing.T) *issuer {
	i := &issuer{t: t, known: map[string]map[string]any{}}
	i.rotate("one")
	mux := http.NewServeMux()
	answer := func(path string, v func() any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if i.down.Load() {
				http.Error(w, "down", http.StatusServiceUnavailable)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(v())
		})
	}
	answer("GET /.well-known/openid-configuration", func() any {
		return map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/keys", "authorization_endpoint": i.URL + "/auth", "token_endpoint": i.URL + "/token"}
	})
	answer("GET /keys", func() any {
		i.keys.Add(1)
		return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &i.key.PublicKey, KeyID: i.kid, Algorithm: "ES256", Use: "sig"}}}
	})
	mux.HandleFunc("POST /introspect", func(w http.ResponseWriter, r *http.Request) {
		if user, secret, _ := r.BasicAuth(); user != "buzon" || secret != "s3cret" {
			http.Error(w, "who are you", http.StatusUnauthorized)
			return
		}
		claims := i.known[r.PostFormValue("token")]
		if claims == nil {
			claims = map[string]any{"active": false}
		}
		_ = json.NewEncoder(w).Encode(claims)
	})
	i.Server = httptest.NewServer(mux)
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) rotate(kid string) {
	var err error
	if i.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		i.t.Fatal(err)
	}
	i.kid = kid
}

// token signs claims, good ones where change does not say otherwise.
func (i *issuer) token(change map[string]any) string {
	i.t.Helper()
	claims := map[string]any{
		"iss": i.URL, "aud": []string{"other", "mail"}, "sub": "1", "email": ana, "email_verified": true,
		"exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(),
	}
	for name, value := range change {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		i.t.Fatal(err)
	}
	return sign(i.t, jose.ES256, jose.JSONWebKey{Key: i.key, KeyID: i.kid}, payload)
}

func sign(t *testing.T, alg jose.SignatureAlgorithm, key any, payload []byte) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestTokens(t *testing.T) {
	i := newIssuer(t)
	h := newHouse(t, func(cfg *Config) { cfg.Tokens = NewIssuer(IssuerConfig{Issuer: i.URL, Audience: "mail"}) })
	ago := func(d time.Duration) int64 { return time.Now().Add(-d).Unix() }
	good := i.token(nil)
	for what, test := range map[string]struct {
		token string
		err   error
	}{
		"good":                    {good, nil},
		"audience alone":          {i.token(map[string]any{"aud": "mail"}), nil},
		"upper case":              {i.token(map[string]any{"email": "Ana@Buzon.Test"}), nil},
		"verified not said":       {i.token(map[string]any{"email_verified": nil}), nil},
		"verified as text":        {i.token(map[string]any{"email_verified": "true"}), nil},
		"expired a moment ago":    {i.token(map[string]any{"exp": ago(30 * time.Second)}), nil}, // clocks differ
		"expired":                 {i.token(map[string]any{"exp": ago(2 * time.Minute)}), ErrCredentials},
		"no expiry":               {i.token(map[string]any{"exp": nil}), ErrCredentials},
		"not yet":                 {i.token(map[string]any{"nbf": ago(-time.Hour)}), ErrCredentials},
		"another service":         {i.token(map[string]any{"aud": "wiki"}), ErrCredentials},
		"no audience":             {i.token(map[string]any{"aud": nil}), ErrCredentials},
		"another issuer":          {i.token(map[string]any{"iss": "https://far.test"}), ErrCredentials},
		"not verified":            {i.token(map[string]any{"email_verified": false}), ErrCredentials},
		"no address":              {i.token(map[string]any{"email": nil}), ErrCredentials},
		"address not text":        {i.token(map[string]any{"email": 7}), ErrCredentials},
		"disabled":                {i.token(map[string]any{"email": "luis@buzon.test"}), ErrCredentials},
		"no account":              {i.token(map[string]any{"email": "nobody@buzon.test"}), ErrCredentials},
		"another domain":          {i.token(map[string]any{"email": "ana@far.test"}), ErrCredentials},
		"changed":                 {good[:len(good)-3] + "AAA", ErrCredentials},
		"not signed":              {"eyJhbGciOiJub25lIn0." + strings.Split(good, ".")[1] + ".", ErrCredentials},
		"signed with a known key": {sign(t, jose.HS256, []byte(strings.Repeat("k", 32)), []byte(`{"email":"ana@buzon.test"}`)), ErrCredentials},
		"no JWT":                  {"nonsense", ErrCredentials},
		"empty":                   {"", ErrCredentials},
	} {
		for _, mechanism := range []string{"OAUTHBEARER", "XOAUTH2"} {
			t.Run(mechanism+"/"+what, func(t *testing.T) {
				message, farewell := "n,a=ana@buzon.test,\x01host=mx.buzon.test\x01port=993\x01auth=Bearer "+test.token+"\x01\x01", "\x01"
				if mechanism == "XOAUTH2" {
					message, farewell = "user=ana@buzon.test\x01auth=Bearer "+test.token+"\x01\x01", ""
				}
				challenge, x, err := h.say(h.client(nil), mechanism, message)
				if err != nil {
					t.Fatal(err)
				}
				if test.err == nil {
					if x.Account.ID != ana {
						t.Errorf("challenge %q, account %q", challenge, x.Account.ID)
					}
					return
				}
				// RFC 7628 3.2.2: why, in JSON; and only then the end.
				var why map[string]string
				if err := json.Unmarshal([]byte(challenge), &why); err != nil || why["status"] == "" || why["openid-configuration"] != i.URL+"/.well-known/openid-configuration" {
					t.Errorf("challenge %q", challenge)
				}
				if _, _, err := x.Next([]byte(farewell)); !errors.Is(err, test.err) {
					t.Errorf("at the end: %v, want %v", err, test.err)
				}
			})
		}
	}
	if strings.Contains(h.log.String(), good) {
		t.Error("a token is in the log")
	}
}

// Keys may change while we run, and the issuer may be away at first or later:
// then nobody can tell, and it is nobody's fault.
func TestIssuerComesAndGoes(t *testing.T) {
	i := newIssuer(t)
	i.down.Store(true)
	h := newHouse(t, func(cfg *Config) { cfg.Tokens = NewIssuer(IssuerConfig{Issuer: i.URL, Audience: "mail"}) })
	try := func() error {
		t.Helper()
		_, x, err := h.say(h.client(nil), "OAUTHBEARER", "n,,\x01auth=Bearer "+i.token(nil)+"\x01\x01", "\x01")
		if err == nil && x.Account.ID != ana {
			t.Errorf("logged in as %q", x.Account.ID)
		}
		return err
	}
	if err := try(); !errors.Is(err, ErrUnavailable) {
		t.Errorf("issuer away at first: %v", err)
	}
	i.down.Store(false)
	for range 3 {
		if err := try(); err != nil {
			t.Error(err)
		}
	}
	if n := i.keys.Load(); n != 1 {
		t.Errorf("the keys were fetched %d times for 3 logins", n)
	}
	i.rotate("two")
	if err := try(); err != nil {
		t.Errorf("after the keys have changed: %v", err)
	}
	i.rotate("three")
	i.down.Store(true)
	// What was fetched a moment ago may still be the answer to who asks now.
	for n := range 200 {
		err := try()
		if errors.Is(err, ErrUnavailable) {
			break
		}
		if !errors.Is(err, ErrCredentials) || n == 199 {
			t.Fatalf("issuer away, unknown key: %v", err)
		}
	}
}

func TestIntrospection(t *testing.T) {
	i := newIssuer(t)
	cfg := IssuerConfig{Issuer: i.URL, Audience: "mail", Introspection: i.URL + "/introspect", ClientID: "buzon", ClientSecret: "s3cret", Claim: "username"}
	tokens := NewIssuer(cfg)
	base := func(change map[string]any) map[string]any {
		claims := map[string]any{"active": true, "username": ana, "client_id": "mail", "exp": time.Now().Add(time.Hour).Unix()}
		for name, value := range change {
			claims[name] = value
		}
		return claims
	}
	for n, test := range []struct {
		change map[string]any
		err    error
	}{
		{nil, nil},
		{map[string]any{"aud": []string{"a", "mail"}}, nil},
		{map[string]any{"aud": "wiki"}, ErrCredentials},
		{map[string]any{"client_id": "wiki"}, ErrCredentials},
		{map[string]any{"active": false}, ErrCredentials},
		{map[string]any{"active": "true"}, ErrCredentials},
		{map[string]any{"iss": "https://far.test"}, ErrCredentials},
		{map[string]any{"iss": i.URL}, nil},
		{map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}, ErrCredentials},
		{map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}, ErrCredentials},
	} {
		token := fmt.Sprint("opaque", n)
		i.known[token] = base(test.change)
		if address, err := tokens.Verify(t.Context(), token); !errors.Is(err, test.err) || err == nil && address != ana {
			t.Errorf("%v: %q, %v, want %v", test.change, address, err, test.err)
		}
	}
	if _, err := tokens.Verify(t.Context(), "unknown"); !errors.Is(err, ErrCredentials) {
		t.Errorf("unknown token: %v", err)
	}
	cfg.ClientSecret = "wrong"
	if _, err := NewIssuer(cfg).Verify(t.Context(), "opaque0"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("we may not ask: %v", err)
	}
}
