package sasl

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"unicode/utf8"

	"buzon/internal/account"
)

// identities are the accounts that the client's certificate is for: its e-mail
// addresses (subjectAltName, RFC 8398 not counted), once the handshake has
// verified it against the configured authorities.
func (g *Gatekeeper) identities(state *tls.ConnectionState) []account.Account {
	if state == nil || len(state.VerifiedChains) == 0 {
		return nil
	}
	var list []account.Account
	for _, address := range state.VerifiedChains[0][0].EmailAddresses {
		if a, err := g.cfg.Directory.Identity(address); err == nil {
			list = append(list, a)
		}
	}
	return list
}

func (g *Gatekeeper) offersExternal(c Client) bool { return len(g.identities(c.TLS)) > 0 }

// external is EXTERNAL (RFC 4422 appendix A): the client has shown who it is
// before. Its message is the account it wants, or empty where the certificate
// is for one only.
func (x *Exchange) external(ctx context.Context, response []byte) ([]byte, step, error) {
	if response == nil {
		return []byte{}, x.external, nil
	}
	wanted := string(response)
	if !utf8.ValidString(wanted) || len(wanted) > maxCredential {
		return nil, nil, ErrMalformed
	}
	x.name = wanted
	sum := sha256.Sum256(x.c.TLS.PeerCertificates[0].Raw)
	return nil, nil, x.decide(ctx, wanted+"\x00"+string(sum[:]), func() (account.Account, error) {
		list := x.g.identities(x.c.TLS)
		if wanted == "" && len(list) == 1 {
			return list[0], nil
		}
		for _, a := range list {
			if wanted != "" && x.g.cfg.Directory.SameLogin(wanted, string(a.ID)) {
				return a, nil
			}
		}
		return account.Account{}, fmt.Errorf("%w: the certificate is not for this account", ErrCredentials)
	})
}
