package sasl

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/xdg-go/scram"

	"buzon/internal/account"
)

// bindings are the channel bindings that the connection has, by their names:
//
//   - tls-exporter (RFC 9266), under TLS 1.3, and under 1.2 with the extended
//     master secret;
//   - tls-server-end-point (RFC 5929 4), whatever the version;
//   - tls-unique (RFC 5929 3), for clients of TLS 1.2 that know nothing else,
//     with the extended master secret only (the triple handshake attack).
func (g *Gatekeeper) bindings(state *tls.ConnectionState) map[scram.ChannelBindingType]scram.ChannelBinding {
	found := make(map[scram.ChannelBindingType]scram.ChannelBinding)
	if state == nil {
		return found
	}
	if cb, err := scram.NewTLSExporterBinding(state); err == nil {
		found[cb.Type] = cb
		if state.Version == tls.VersionTLS12 && len(state.TLSUnique) > 0 {
			found[scram.ChannelBindingTLSUnique] = scram.NewTLSUniqueBinding(state.TLSUnique)
		}
	}
	if g.cfg.Leaf != nil {
		if sum := endPoint(g.cfg.Leaf(state.ServerName)); sum != nil {
			found[scram.ChannelBindingTLSServerEndpoint] = scram.ChannelBinding{Type: scram.ChannelBindingTLSServerEndpoint, Data: sum}
		}
	}
	return found
}

// endPoint is the hash of a certificate by the hash function of its signature,
// or by SHA-256 where that is older (RFC 5929 4.1). It is nil for signatures
// without one, as Ed25519.
func endPoint(leaf *x509.Certificate) []byte {
	if leaf == nil {
		return nil
	}
	switch leaf.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.SHA256WithRSA, x509.SHA256WithRSAPSS, x509.ECDSAWithSHA256:
		sum := sha256.Sum256(leaf.Raw)
		return sum[:]
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		sum := sha512.Sum384(leaf.Raw)
		return sum[:]
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		sum := sha512.Sum512(leaf.Raw)
		return sum[:]
	}
	return nil
}

func (g *Gatekeeper) offersBinding(c Client) bool {
	return !g.cfg.NoSCRAM && len(g.bindings(c.TLS)) > 0
}

// scramLogin is SCRAM-SHA-256, and with plus SCRAM-SHA-256-PLUS (RFC 5802,
// RFC 7677).
//
// A client says nothing of which of its owner's passwords it has. All keys of an
// account share a salt and a count, so that the first message fits each; the
// proof then fits one of them. The library's conversation knows one key: there
// is one conversation for each, with the same nonce.
type scramLogin struct {
	*Exchange
	plus  bool
	nonce string
	talks []*scram.ServerConversation
	keys  []account.SCRAMKey
}

func (x *Exchange) scram(plus bool) step {
	l := &scramLogin{Exchange: x, plus: plus, nonce: rand.Text()}
	return l.first
}

// longestSCRAM bounds a message of the client, in bytes: two names and a nonce.
const longestSCRAM = 4096

// first takes the client-first-message.
func (l *scramLogin) first(_ context.Context, response []byte) ([]byte, step, error) {
	if response == nil {
		return []byte{}, l.first, nil
	}
	message := string(response)
	if len(message) > longestSCRAM {
		return nil, nil, ErrMalformed
	}
	available := l.g.bindings(l.c.TLS)
	flag, _, _ := strings.Cut(message, ",")
	kind, bound := strings.CutPrefix(flag, "p=")
	binding, known := available[scram.ChannelBindingType(kind)]
	switch {
	case bound != l.plus: // RFC 5802 6: PLUS and "p" go together
		return nil, nil, ErrMalformed
	case bound && !known:
		return nil, nil, ErrMalformed
	case flag == "y" && len(available) > 0:
		// RFC 5802 6: we have offered PLUS and the client has not seen it. Somebody
		// has changed the list on the way.
		return nil, nil, l.refuse(errors.New("the client was not shown SCRAM-SHA-256-PLUS"))
	}
	var challenge string
	for _, key := range l.candidates(message) {
		talk, err := l.conversation(key, binding)
		if err != nil {
			return nil, nil, err
		}
		if challenge, err = talk.Step(message); err != nil {
			return nil, nil, ErrMalformed
		}
		l.name = talk.Username()
		if err := l.acts(talk.AuthzID(), l.name); err != nil {
			return nil, nil, err
		}
		l.talks, l.keys = append(l.talks, talk), append(l.keys, key)
	}
	return []byte(challenge), l.final, nil
}

// candidates are the keys of the account that a client-first-message names.
func (l *scramLogin) candidates(message string) []account.SCRAMKey {
	if fields := strings.Split(message, ","); len(fields) > 2 {
		name := strings.TrimPrefix(fields[2], "n=")
		return l.g.cfg.Directory.SCRAM(strings.NewReplacer("=2C", ",", "=3D", "=").Replace(name))
	}
	return l.g.cfg.Directory.SCRAM("")
}

func (l *scramLogin) conversation(key account.SCRAMKey, binding scram.ChannelBinding) (*scram.ServerConversation, error) {
	server, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) {
		return scram.StoredCredentials{
			KeyFactors: scram.KeyFactors{Salt: string(key.Salt), Iters: key.Iterations},
			StoredKey:  key.StoredKey, ServerKey: key.ServerKey,
		}, nil
	})
	if err != nil {
		return nil, err
	}
	server = server.WithNonceGenerator(func() string { return l.nonce })
	if l.plus {
		return server.NewConversationWithChannelBindingRequired(binding), nil
	}
	return server.NewConversation(), nil
}

// final takes the client-final-message and looks which password its proof fits.
func (l *scramLogin) final(ctx context.Context, response []byte) ([]byte, step, error) {
	if len(response) > longestSCRAM {
		return nil, nil, ErrMalformed
	}
	var verifier string
	// Each try counts as another guess: what was guessed cannot be told.
	err := l.decide(ctx, l.name+"\x00"+l.nonce, func() (account.Account, error) {
		for i, talk := range l.talks {
			answer, err := talk.Step(string(response))
			if err == nil && talk.Valid() {
				verifier = answer
				return l.g.cfg.Directory.Proved(l.name, l.keys[i])
			}
		}
		return account.Account{}, ErrCredentials
	})
	if err != nil {
		return nil, nil, err
	}
	return []byte(verifier), l.confirmed, nil
}

// confirmed takes the client's word that our proof is right, too.
func (l *scramLogin) confirmed(_ context.Context, response []byte) ([]byte, step, error) {
	if len(response) > 0 {
		return nil, nil, ErrMalformed
	}
	return nil, nil, nil
}

// refuse ends a login that failed before a password was looked at.
func (x *Exchange) refuse(why error) error {
	return x.decide(x.ctx, x.name+"\x00"+why.Error(), func() (account.Account, error) {
		return account.Account{}, fmt.Errorf("%w: %w", ErrCredentials, why)
	})
}
