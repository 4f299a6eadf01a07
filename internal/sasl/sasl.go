// Package sasl knows how our users prove who they are: the mechanisms of SASL
// (RFC 4422), once for all protocols. It decides which of them a connection may
// use, slows down those who guess, and says whose account it is. It knows
// nothing of IMAP and SMTP, which carry the messages and word the answers.
package sasl

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"buzon/internal/account"
	"buzon/internal/limit"
)

// What callers branch on.
var (
	// ErrCredentials says no more than that the login is refused.
	ErrCredentials = account.ErrBadCredentials
	// ErrBusy says that too many logins are being checked.
	ErrBusy = account.ErrBusy
	// ErrGuessing says that the client's address has failed too often.
	ErrGuessing = errors.New("too many failed logins from this address")
	// ErrUnavailable says that whoever must vouch for the login cannot be asked now.
	ErrUnavailable = errors.New("the login cannot be checked now")
	// ErrMalformed says that the client's message is not one of the mechanism.
	ErrMalformed = errors.New("malformed authentication response")
	// ErrAuthorization says that the client wants to act for somebody else.
	ErrAuthorization = errors.New("nobody logs in for others here")
	// ErrMechanism says that there is no such mechanism on this connection.
	ErrMechanism = errors.New("no such authentication mechanism")
	// ErrInsecure says that the connection could be listened to.
	ErrInsecure = errors.New("logins only under TLS")
)

// maxCredential bounds login and password before anything is hashed; tokens and
// messages of SCRAM are bounded by the line that they come in.
const maxCredential = 1024

// Tokens tell whom a bearer token (RFC 6750) speaks for.
type Tokens interface {
	// Verify returns the address of the user. The error is ErrCredentials, with
	// its cause, or ErrUnavailable where nobody can tell at the moment.
	Verify(ctx context.Context, token string) (address string, err error)
	// Configuration is the URL of the issuer's OpenID configuration, which
	// clients are shown when a token is refused; "" for none.
	Configuration() string
}

// Config is what a Gatekeeper is made of.
type Config struct {
	Directory *account.Directory
	Guard     *limit.Guard // delays and refuses after failed logins; nil for none
	NoSCRAM   bool         // do not offer SCRAM
	Tokens    Tokens       // of OAUTHBEARER and XOAUTH2; nil for neither
	// Leaf returns the certificate that a client with this SNI is shown, for
	// tls-server-end-point; nil does without that channel binding.
	Leaf func(serverName string) *x509.Certificate
}

// Gatekeeper lets users in. It is safe for concurrent use.
type Gatekeeper struct{ cfg Config }

// New returns a Gatekeeper.
func New(cfg Config) *Gatekeeper { return &Gatekeeper{cfg} }

// Client is the connection that somebody wants to log in on.
type Client struct {
	IP      netip.Addr
	TLS     *tls.ConnectionState // nil without TLS
	Trusted bool                 // passwords may come without TLS: the client is on this machine
	Service string               // "imap", "submission": for the log and the owner of an app password
	Log     *slog.Logger
}

// Secure reports whether the client may log in at all: only where nobody can
// listen (RFC 9051 11.1, RFC 4954 4).
func (c Client) Secure() bool { return c.TLS != nil || c.Trusted }

// mechanism is one way to log in.
type mechanism struct {
	name string
	// offered reports whether it can succeed on the connection.
	offered func(*Gatekeeper, Client) bool
	begin   func(*Exchange) step
}

// step takes a message of the client, nil where there is none yet, and returns
// the answer to it. The exchange is over when next is nil.
type step func(ctx context.Context, response []byte) (challenge []byte, next step, err error)

// mechanisms is every mechanism, the strongest first.
func mechanisms() []mechanism {
	always := func(*Gatekeeper, Client) bool { return true }
	tokens := func(g *Gatekeeper, _ Client) bool { return g.cfg.Tokens != nil }
	return []mechanism{
		{"SCRAM-SHA-256-PLUS", (*Gatekeeper).offersBinding, func(x *Exchange) step { return x.scram(true) }},
		{"SCRAM-SHA-256", func(g *Gatekeeper, _ Client) bool { return !g.cfg.NoSCRAM }, func(x *Exchange) step { return x.scram(false) }},
		{"PLAIN", always, func(x *Exchange) step { return x.plain }},
		{"LOGIN", always, func(x *Exchange) step { return x.loginName }},
		{"OAUTHBEARER", tokens, func(x *Exchange) step { return x.oauthBearer }},
		{"XOAUTH2", tokens, func(x *Exchange) step { return x.xoauth2 }},
		{"EXTERNAL", (*Gatekeeper).offersExternal, func(x *Exchange) step { return x.external }},
	}
}

// Mechanisms lists what the client may use now, the strongest first. It is
// empty where nobody may log in.
func (g *Gatekeeper) Mechanisms(c Client) []string {
	var names []string
	if c.Secure() {
		for _, m := range mechanisms() {
			if m.offered(g, c) {
				names = append(names, m.name)
			}
		}
	}
	return names
}

// Start begins a login with a mechanism. The error is ErrInsecure or
// ErrMechanism.
func (g *Gatekeeper) Start(ctx context.Context, c Client, name string) (*Exchange, error) {
	if !c.Secure() {
		return nil, ErrInsecure
	}
	for _, m := range mechanisms() {
		if strings.EqualFold(m.name, name) && m.offered(g, c) {
			x := &Exchange{g: g, c: c, ctx: ctx, mechanism: m.name}
			x.next = m.begin(x)
			return x, nil
		}
	}
	return nil, ErrMechanism
}

// Exchange is a login under way. It is for one goroutine.
type Exchange struct {
	g         *Gatekeeper
	c         Client
	ctx       context.Context
	mechanism string
	next      step
	name      string // what the client says that it is, as far as it is known

	// Account is who has logged in, once the exchange is done.
	Account account.Account
}

// Next takes the client's response, nil where it has not sent an initial one,
// and returns the challenge for it. It has the form of emersion/go-sasl's
// Server. After an error the exchange is over.
func (x *Exchange) Next(response []byte) (challenge []byte, done bool, err error) {
	if x.next == nil {
		return nil, false, ErrMalformed
	}
	challenge, x.next, err = x.next(x.ctx, response)
	if err != nil {
		x.next = nil
		return nil, false, err
	}
	return challenge, x.next == nil, nil
}

// Password is a login outside of SASL, as IMAP's LOGIN.
func (g *Gatekeeper) Password(ctx context.Context, c Client, login, password string) (account.Account, error) {
	if !c.Secure() {
		return account.Account{}, ErrInsecure
	}
	x := &Exchange{g: g, c: c, ctx: ctx, mechanism: "password"}
	err := x.password(ctx, login, password)
	return x.Account, err
}

// password checks a password, whichever message it came in.
func (x *Exchange) password(ctx context.Context, login, password string) error {
	x.name = login
	return x.decide(ctx, login+"\x00"+password, func() (account.Account, error) {
		if !credible(login) || len(password) > maxCredential || !utf8.ValidString(password) {
			return account.Account{}, ErrCredentials
		}
		return x.g.cfg.Directory.Authenticate(ctx, login, password)
	})
}

// credible reports whether a login could be one at all.
func credible(login string) bool {
	return login != "" && len(login) <= maxCredential && utf8.ValidString(login) && !strings.ContainsFunc(login, unicode.IsControl)
}

// decide asks verify, between the delays and refusals that guessing earns
// (limit.Guard), and logs what came of it: every mechanism ends here. credential
// is what a guess is told by from its repetition.
func (x *Exchange) decide(ctx context.Context, credential string, verify func() (account.Account, error)) error {
	log := x.c.Log.With("user", printable(x.name), "mechanism", x.mechanism)
	guard := x.g.cfg.Guard
	if guard != nil {
		wait, refuse := guard.Check(x.c.IP)
		if refuse {
			log.Info("login refused", "err", ErrGuessing)
			return ErrGuessing
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
	a, err := verify()
	switch {
	case errors.Is(err, ErrCredentials):
		if guard != nil {
			guard.Failed(x.c.IP, credential)
		}
		if err == ErrCredentials { // the same text for all that nobody shall tell apart
			log.Info("login failed")
		} else {
			log.Info("login failed", "err", err)
		}
		return ErrCredentials
	case errors.Is(err, ErrUnavailable):
		log.Warn("login failed", "err", err)
		return ErrUnavailable
	case err != nil:
		return err
	}
	if guard != nil {
		guard.Succeeded(x.c.IP)
	}
	x.Account = a
	attrs := []any{"user", string(a.ID), "mechanism", x.mechanism, "tls", x.c.TLS != nil}
	if a.Device != "" {
		attrs = append(attrs, "device", a.Device)
	}
	x.c.Log.Info("login", attrs...)
	x.g.cfg.Directory.Used(a, x.c.Service+" "+x.c.IP.String())
	return nil
}

// acts checks an authorization identity (RFC 4422 3.4.1): it may be left out,
// or be the login itself.
func (x *Exchange) acts(authzid, login string) error {
	if authzid == "" || authzid == login || x.g.cfg.Directory.SameLogin(authzid, login) {
		return nil
	}
	return ErrAuthorization
}

// pause waits, but not longer than the session may live.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// maxLogged is how much of a name that failed goes into the log.
const maxLogged = 64

// printable cuts what a client said to what a log line may hold.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s[:min(len(s), maxLogged)])
}
