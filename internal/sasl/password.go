package sasl

import (
	"context"
	"strings"
)

// plain is PLAIN (RFC 4616).
func (x *Exchange) plain(ctx context.Context, response []byte) ([]byte, step, error) {
	if response == nil {
		return []byte{}, x.plain, nil
	}
	parts := strings.Split(string(response), "\x00")
	if len(parts) != 3 {
		return nil, nil, ErrMalformed
	}
	authzid, login, password := parts[0], parts[1], parts[2]
	if err := x.acts(authzid, login); err != nil {
		return nil, nil, err
	}
	return nil, nil, x.password(ctx, login, password)
}

// loginName and then loginPassword are LOGIN, which has no RFC but clients that
// know nothing else (draft-murchison-sasl-login).
func (x *Exchange) loginName(_ context.Context, response []byte) ([]byte, step, error) {
	if response == nil {
		return []byte("Username:"), x.loginName, nil
	}
	x.name = string(response)
	return []byte("Password:"), x.loginPassword, nil
}

func (x *Exchange) loginPassword(ctx context.Context, response []byte) ([]byte, step, error) {
	return nil, nil, x.password(ctx, x.name, string(response))
}
