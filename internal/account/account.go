package account

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/secure/precis"
	"golang.org/x/text/unicode/norm"

	"buzon/internal/size"
	"buzon/internal/smtp"
	"buzon/internal/tomlfile"
)

// ID names an account: its address in lower case, "ana@buzon.test".
type ID string

// User is the part before the @, which names the account's directory.
func (id ID) User() string { return string(id[:strings.LastIndexByte(string(id), '@')]) }

// Domain is the part after the @, in its A-label form.
func (id ID) Domain() string { return string(id[strings.LastIndexByte(string(id), '@')+1:]) }

// Address is the account's own address.
func (id ID) Address() smtp.Address { return smtp.Address{Local: id.User(), Domain: id.Domain()} }

// path is where the account's file is.
func (id ID) path() string { return "accounts/" + id.Domain() + "/" + id.User() + ".toml" }

// Account is what is known of a user, without the password.
type Account struct {
	ID       ID
	Disabled bool  // may not log in; mail for it is still accepted
	Quota    int64 // bytes; 0 is the configured default
	Created  time.Time
	// HiddenCapabilities are IMAP capabilities not shown to this account, for
	// clients that trip over them.
	HiddenCapabilities []string
	Generation         uint64 // see Directory.Generation
	// Device names the app password that was used at login; "" is the account's
	// own password, or another way to log in.
	Device string
}

// ParseID reads the address of an account as a person types it. The name must
// be fit for one: a directory is called by it.
func ParseID(address string) (ID, error) {
	a, err := smtp.ParseAddress(address)
	if err != nil {
		return "", err
	}
	k := keyOf(a)
	if err := checkName(k.local()); err != nil {
		return "", err
	}
	if strings.HasPrefix(a.Domain, "[") {
		return "", fmt.Errorf("an account needs a domain name, not %s", a.Domain)
	}
	return ID(k), nil
}

// key is an address in the form that our own addresses are compared in: the
// local part without regard to case (RFC 5321 2.4 leaves that to us).
type key string

func keyOf(a smtp.Address) key { return key(fold(a.Local) + "@" + a.Domain) }

func (k key) local() string  { return string(k[:strings.LastIndexByte(string(k), '@')]) }
func (k key) domain() string { return string(k[strings.LastIndexByte(string(k), '@')+1:]) }

// fold maps what people take for the same name to one: lower case, composed,
// no wide forms (RFC 8265 3.3).
func fold(local string) string {
	ascii := true
	for i := range len(local) {
		ascii = ascii && local[i] < 0x80
	}
	if ascii {
		return strings.ToLower(local)
	}
	if s, err := precis.UsernameCaseMapped.String(local); err == nil {
		return s
	}
	return norm.NFC.String(strings.ToLower(local))
}

// checkName tells whether a folded local part may be an account's or alias'
// name: it becomes a file name, and people type it.
func checkName(name string) error {
	for _, r := range name {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) && !strings.ContainsRune(".-_='&~", r) {
			return fmt.Errorf("the name %q must not contain %q: use letters, digits, dot, hyphen and underscore", name, r)
		}
	}
	switch {
	case name == "" || name[0] == '.' || name[len(name)-1] == '.' || strings.Contains(name, ".."):
		return fmt.Errorf("the name %q has a dot at its end or two in a row, or is empty", name)
	case name[0] == '-' || name[0] == '~':
		return fmt.Errorf("the name %q must begin with a letter or digit", name)
	case fold(name) != name:
		return fmt.Errorf("the name %q must be written %q", name, fold(name))
	}
	return nil
}

// entry is an account with its password.
type entry struct {
	Account
	hash passwordHash // zero: nobody can log in
	phc  string       // hash as the file has it

	scram SCRAMKey // of the same password; zero where there is none
	apps  []appPassword
}

// as is the account for a login with an app password.
func (e *entry) as(device string) Account {
	a := e.Account
	a.Device = device
	return a
}

// accountFile is an account's file.
type accountFile struct {
	Password string     `toml:"password"`
	SCRAM    string     `toml:"scram"`
	Apps     []string   `toml:"app_passwords"`
	Created  time.Time  `toml:"created"`
	Disabled bool       `toml:"disabled"`
	Quota    size.Bytes `toml:"quota"`
	Hidden   []string   `toml:"hide_capabilities"`
}

// parseAccount reads the file of the account id.
func parseAccount(path string, id ID, data []byte) (*entry, error) {
	var f accountFile
	file, err := tomlfile.Decode(path, data, &f)
	if err != nil {
		return nil, err
	}
	e := &entry{
		Account: Account{
			ID: id, Disabled: f.Disabled, Quota: int64(f.Quota), Created: f.Created, HiddenCapabilities: f.Hidden,
		},
		phc: f.Password,
	}
	if f.Password != "" {
		if e.hash, err = parseHash(f.Password); err != nil {
			file.Problem([]string{"password"}, "%v; set it with: buzon account password %s", err, id)
		}
	}
	if f.SCRAM != "" {
		if e.scram, err = parseMainKey(f.SCRAM, f.Password); err != nil {
			file.Problem([]string{"scram"}, "%v; set it with: buzon account password %s", err, id)
		}
	}
	for _, text := range f.Apps {
		p, err := parseAppPassword(text)
		if err == nil && slices.ContainsFunc(e.apps, func(other appPassword) bool { return other.Name == p.Name }) {
			err = fmt.Errorf("there are two app passwords with the name %s", p.Name)
		}
		if err == nil && len(e.apps) == maxAppPasswords {
			err = fmt.Errorf("more than %d app passwords", maxAppPasswords)
		}
		if err != nil {
			file.Problem([]string{"app_passwords"}, "%v; remove it and make another with: buzon account app-password add %s NAME", err, id)
			break
		}
		e.apps = append(e.apps, p)
	}
	return e, file.Err()
}

// format writes the file of a new account.
func (e *entry) format() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Account %s. A change counts within a second.\n", e.ID)
	fmt.Fprintf(&b, "# To change the password: buzon account password %s\n", e.ID)
	fmt.Fprintf(&b, "password = %q\n", e.phc)
	if !e.scram.isZero() {
		fmt.Fprintf(&b, "scram = %q\n", formatMainKey(e.scram, e.phc))
	}
	fmt.Fprintf(&b, "created = %s\n", e.Created.UTC().Format(time.RFC3339))
	fmt.Fprintf(&b, "disabled = %t  # true: no login; mail is still accepted\n", e.Disabled)
	if e.Quota > 0 {
		fmt.Fprintf(&b, "quota = %q\n", size.Bytes(e.Quota))
	} else {
		b.WriteString("# quota = \"2 GiB\"\n")
	}
	return b.Bytes()
}
