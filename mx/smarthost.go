package mx

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"buzon/mx/dns"
)

// TLSMode says how a connection to a smarthost is made safe.
type TLSMode string

// The empty TLSMode is StartTLS. In both modes with TLS the certificate must
// be good for the host's name, and nothing is ever sent without.
const (
	StartTLS    TLSMode = "starttls" // port 587
	ImplicitTLS TLSMode = "implicit" // port 465, RFC 8314 3.3
	NoTLS       TLSMode = "none"     // port 25, for a host on a network of one's own; never with a password
)

// A Smarthost takes our mail for domains instead of their own hosts.
type Smarthost struct {
	Host string // a host name, whose addresses are looked up, or an IP address
	Port uint16 // 0: the usual one of the mode
	TLS  TLSMode
	// AnyCertificate accepts a certificate that nobody vouches for.
	AnyCertificate bool
	// Username and Password are for AUTH PLAIN or LOGIN; both empty for none.
	Username, Password string
}

// String names the smarthost, and keeps its password out of logs.
func (s Smarthost) String() string { return fmt.Sprintf("%s:%d", s.Host, s.Port) }

// checked returns the smarthost with its defaults, or what is wrong with it.
func (s Smarthost) checked() (*Smarthost, error) {
	if _, ok := literal(s.Host); !ok {
		name, err := dns.Name(s.Host)
		if err != nil {
			return nil, fmt.Errorf("smarthost %q: %w", s.Host, err)
		}
		s.Host = name
	}
	ports := map[TLSMode]uint16{StartTLS: 587, ImplicitTLS: 465, NoTLS: 25}
	if s.TLS == "" {
		s.TLS = StartTLS
	}
	port, ok := ports[s.TLS]
	switch {
	case !ok:
		return nil, fmt.Errorf("smarthost %s: TLS mode %q is not one of starttls, implicit, none", s.Host, s.TLS)
	case (s.Username == "") != (s.Password == ""):
		return nil, fmt.Errorf("smarthost %s: user name and password go together", s.Host)
	case s.TLS == NoTLS && s.Username != "":
		return nil, fmt.Errorf("smarthost %s: a password is not sent without TLS", s.Host)
	}
	if s.Port == 0 {
		s.Port = port
	}
	return &s, nil
}

// login authenticates to a smarthost, RFC 4954. What goes wrong is for the
// operator to repair and passes then: it is never the message's failure.
func (s *session) login(username, password string) *failure {
	if s.tlsState == nil { // whatever the configuration let through
		return s.loginFailed(errors.New("no TLS, so no password was sent"))
	}
	encode := base64.StdEncoding.EncodeToString
	var steps []string // each is sent on a 334, RFC 4954 4
	switch {
	case slices.Contains(s.ext.auth, "PLAIN"): // RFC 4616
		steps = []string{"AUTH PLAIN " + encode([]byte("\x00"+username+"\x00"+password))}
	case slices.Contains(s.ext.auth, "LOGIN"):
		steps = []string{"AUTH LOGIN", encode([]byte(username)), encode([]byte(password))}
	default:
		return s.loginFailed(fmt.Errorf("host offers none of AUTH PLAIN and LOGIN, but %q", s.ext.auth))
	}
	for i, step := range steps {
		reply, err := s.command(s.times.Envelope, step)
		if err != nil {
			return s.lost("AUTH", err)
		}
		last := i == len(steps)-1
		if last && reply.Is2xx() {
			return nil
		}
		if last || reply.Code != 334 {
			return s.loginFailed(reply)
		}
	}
	return nil
}

func (s *session) loginFailed(cause error) *failure {
	f := temporary(7, 8, "The smarthost did not let us log in", cause)
	f.ours = true
	return f
}
