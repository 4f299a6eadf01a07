package sasl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"buzon/internal/account"
)

// longestToken bounds a bearer token, in bytes: those with many groups in them
// have some kilobytes.
const longestToken = 12 << 10

// oauthBearer is OAUTHBEARER (RFC 7628 3.1):
//
//	n,a=ana@example.org,^Ahost=mail.example.org^Aport=993^Aauth=Bearer TOKEN^A^A
func (x *Exchange) oauthBearer(ctx context.Context, response []byte) ([]byte, step, error) {
	if response == nil {
		return []byte{}, x.oauthBearer, nil
	}
	header, rest, ok := strings.Cut(string(response), "\x01")
	gs2 := strings.Split(header, ",")
	if !ok || len(gs2) != 3 || gs2[0] != "n" && gs2[0] != "y" || gs2[2] != "" {
		return nil, nil, ErrMalformed // RFC 7628 3.1: there is no channel binding yet
	}
	authzid := ""
	if gs2[1] != "" {
		if authzid, ok = strings.CutPrefix(gs2[1], "a="); !ok {
			return nil, nil, ErrMalformed
		}
		authzid = strings.NewReplacer("=2C", ",", "=3D", "=").Replace(authzid)
	}
	token, err := bearer(rest)
	if err != nil {
		return nil, nil, err
	}
	return x.token(ctx, authzid, token)
}

// xoauth2 is XOAUTH2, which Google and Microsoft have instead:
//
//	user=ana@example.org^Aauth=Bearer TOKEN^A^A
func (x *Exchange) xoauth2(ctx context.Context, response []byte) ([]byte, step, error) {
	if response == nil {
		return []byte{}, x.xoauth2, nil
	}
	header, rest, _ := strings.Cut(string(response), "\x01")
	user, ok := strings.CutPrefix(header, "user=")
	if !ok {
		return nil, nil, ErrMalformed
	}
	token, err := bearer(rest)
	if err != nil {
		return nil, nil, err
	}
	return x.token(ctx, user, token)
}

// bearer finds the token among the fields, each of which ends in ^A, as does
// the list.
func bearer(fields string) (string, error) {
	fields, ok := strings.CutSuffix(fields, "\x01\x01")
	if !ok {
		return "", ErrMalformed
	}
	for field := range strings.SplitSeq(fields, "\x01") {
		name, value, _ := strings.Cut(field, "=")
		if name != "auth" {
			continue // host, port and what may come later
		}
		scheme, token, _ := strings.Cut(value, " ") // RFC 6750 2.1
		if token = strings.TrimLeft(token, " "); !strings.EqualFold(scheme, "Bearer") || len(token) > longestToken {
			return "", ErrMalformed
		}
		return token, nil // "" asks what it would take: RFC 7628 4.3
	}
	return "", ErrMalformed
}

// token checks a token, and answers as both mechanisms do when it is refused: a
// challenge says why, the client sends something to it, and only then it is over
// (RFC 7628 3.2.3).
func (x *Exchange) token(ctx context.Context, user, token string) ([]byte, step, error) {
	x.name = user
	err := x.decide(ctx, user+"\x00"+token, func() (account.Account, error) {
		address, err := x.g.cfg.Tokens.Verify(ctx, token)
		if err != nil {
			return account.Account{}, err
		}
		if err := x.acts(user, address); err != nil {
			return account.Account{}, fmt.Errorf("%w: the token is another user's", ErrCredentials)
		}
		return x.g.cfg.Directory.Identity(address)
	})
	if !errors.Is(err, ErrCredentials) {
		return nil, nil, err
	}
	why, _ := json.Marshal(struct { // strings have no error
		Status  string `json:"status"`
		Schemes string `json:"schemes,omitempty"`
		Scope   string `json:"scope,omitempty"`
		OpenID  string `json:"openid-configuration,omitempty"`
	}{x.status(), x.schemes(), "openid email", x.g.cfg.Tokens.Configuration()})
	return why, func(context.Context, []byte) ([]byte, step, error) { return nil, nil, err }, nil
}

// status is a word of RFC 7628 3.2.2, or the number that clients of XOAUTH2 know.
func (x *Exchange) status() string {
	if x.mechanism == "XOAUTH2" {
		return "401"
	}
	return "invalid_token"
}

func (x *Exchange) schemes() string {
	if x.mechanism == "XOAUTH2" {
		return "bearer"
	}
	return ""
}
