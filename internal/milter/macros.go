package milter

import (
	"net/netip"
	"strconv"

	"buzon/internal/smtp"
)

// Host is what filters are told of us.
type Host struct {
	Name    string // {j}
	Daemon  string // {daemon_name}: which of our ports, "smtp" or "submission"
	Version string // v
}

// Client is what filters are told of who has connected.
type Client struct {
	IP    netip.Addr
	Port  uint16
	Local netip.AddrPort // to which it has connected
	// Name is the verified name of IP, PTR the first one that the DNS claims;
	// "" where there is none.
	Name, PTR string
	Helo      string

	TLSVersion, Cipher string // "" without TLS
	CipherBits         int
	User, Mechanism    string // after a login
}

// Envelope is what filters are told of a message before it comes.
type Envelope struct {
	ID   string
	From smtp.Address
	Args []string // the parameters of MAIL, like "SIZE=1000"
}

// macros are names and values by turns, as they are sent; those without a
// value are left out.
type macros []string

func (m *macros) add(name, value string) {
	if value != "" {
		*m = append(*m, name, value)
	}
}

func (m macros) encode(command byte) []byte {
	data := []byte{command}
	for _, s := range m {
		data = cString(data, s)
	}
	return data
}

func (h Host) connect(c Client) (m macros) {
	m.add("j", h.Name)
	m.add("{daemon_name}", h.Daemon)
	m.add("{v}", h.Version)
	if c.Local.IsValid() {
		m.add("{daemon_addr}", c.Local.Addr().String())
		m.add("{daemon_port}", strconv.Itoa(int(c.Local.Port())))
		m.add("{if_addr}", c.Local.Addr().String())
		m.add("{if_name}", h.Name)
	}
	m.add("{client_addr}", c.IP.String())
	m.add("{client_port}", strconv.Itoa(int(c.Port)))
	m.add("{client_name}", c.name())
	m.add("{client_ptr}", orUnknown(c.PTR))
	m.add("{client_resolve}", c.resolved())
	return m
}

// name is the client's as Postfix tells it.
func (c Client) name() string { return orUnknown(c.Name) }

func orUnknown(name string) string {
	if name == "" {
		return "unknown"
	}
	return name
}

// resolved is Sendmail's word for how the client's name was found.
func (c Client) resolved() string {
	switch {
	case c.Name != "":
		return "OK"
	case c.PTR != "":
		return "FORGED"
	}
	return "FAIL"
}

func (c Client) helo() (m macros) {
	m.add("{tls_version}", c.TLSVersion)
	m.add("{cipher}", c.Cipher)
	if c.CipherBits > 0 {
		m.add("{cipher_bits}", strconv.Itoa(c.CipherBits))
	}
	return m
}

func (c Client) mail(e Envelope) (m macros) {
	m.add("i", e.ID)
	m.add("{auth_authen}", c.User)
	m.add("{auth_type}", c.Mechanism)
	m.add("{mail_mailer}", "smtp")
	m.add("{mail_host}", e.From.Domain)
	m.add("{mail_addr}", e.From.String())
	return m
}

func rcptMacros(id string, to smtp.Address) (m macros) {
	m.add("i", id)
	m.add("{rcpt_mailer}", "local")
	m.add("{rcpt_host}", to.Domain)
	m.add("{rcpt_addr}", to.String())
	return m
}

func idMacros(id string) (m macros) {
	m.add("i", id)
	return m
}
