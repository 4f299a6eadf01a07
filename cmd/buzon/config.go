package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"buzon/internal/account"
	"buzon/internal/size"
	"buzon/internal/smtp"
	"buzon/internal/tomlfile"
)

// config is buzon.toml. docs/configuration.md says what each key means, and a
// test holds the two together.
type config struct {
	Hostname            string   `toml:"hostname"`
	Data                string   `toml:"data"`
	Domains             []string `toml:"domains"`
	Postmaster          string   `toml:"postmaster"`
	SubaddressSeparator string   `toml:"subaddress_separator"`

	Domain     map[string]domainConfig    `toml:"domain"`
	Listen     listenConfig               `toml:"listen"`
	TLS        tlsConfig                  `toml:"tls"`
	Auth       authConfig                 `toml:"auth"`
	OAuth      oauthConfig                `toml:"oauth"`
	Limits     limitsConfig               `toml:"limits"`
	Incoming   incomingConfig             `toml:"incoming"`
	Submission submissionConfig           `toml:"submission"`
	Milter     map[string]milterConfig    `toml:"milter"`
	DNSBL      map[string]dnsblConfig     `toml:"dnsbl"`
	Greylist   greylistConfig             `toml:"greylist"`
	Junk       junkConfig                 `toml:"junk"`
	IMAP       imapConfig                 `toml:"imap"`
	Web        webConfig                  `toml:"web"`
	DNS        dnsConfig                  `toml:"dns"`
	Outbound   outboundConfig             `toml:"outbound"`
	Smarthost  map[string]smarthostConfig `toml:"smarthost"`
	Queue      queueConfig                `toml:"queue"`
	Log        logConfig                  `toml:"log"`
}

// domainConfig is [domain."name"], for what is special about one of Domains.
type domainConfig struct {
	CatchAll   string `toml:"catch_all"`
	Postmaster string `toml:"postmaster"`
	Unsigned   bool   `toml:"unsigned"`
}

// listenConfig has the addresses of each role; a role without one is off.
type listenConfig struct {
	SMTP        []string `toml:"smtp"`
	LMTP        []string `toml:"lmtp"`
	LMTPMode    string   `toml:"lmtp_mode"`
	LMTPGroup   string   `toml:"lmtp_group"`
	Submission  []string `toml:"submission"`
	Submissions []string `toml:"submissions"`
	IMAP        []string `toml:"imap"`
	IMAPS       []string `toml:"imaps"`
	HTTPS       []string `toml:"https"`
	ManageSieve []string `toml:"managesieve"`
}

type tlsConfig struct {
	Cert string `toml:"cert"`
	Key  string `toml:"key"`
}

type limitsConfig struct {
	MessageSize          size.Bytes `toml:"message_size"`
	Quota                size.Bytes `toml:"quota"`
	UndeleteDays         int        `toml:"undelete_days"`
	Recipients           int        `toml:"recipients"`
	SubmissionRecipients int        `toml:"submission_recipients"`
	RecipientsPerHour    int        `toml:"recipients_per_hour"`
	NewRecipientsPerDay  int        `toml:"new_recipients_per_day"`

	SMTPConnections       int `toml:"smtp_connections"`
	SubmissionConnections int `toml:"submission_connections"`
	IMAPConnections       int `toml:"imap_connections"`
	WebConnections        int `toml:"web_connections"`
	ConnectionsPerAddress int `toml:"connections_per_address"`
	ConnectionsPerMinute  int `toml:"connections_per_minute"`
	IMAPPerUser           int `toml:"imap_sessions_per_user"`
	IMAPPerUserAddress    int `toml:"imap_sessions_per_user_and_address"`

	LoginFailuresPerMinute int `toml:"login_failures_per_minute"`
	LoginFailuresPerDay    int `toml:"login_failures_per_day"`
	PasswordChecks         int `toml:"password_checks"`
}

// incomingConfig says what is done with mail that nothing proves to be its
// sender's.
type incomingConfig struct {
	DMARC             string   `toml:"dmarc"`
	SPF               string   `toml:"spf"`
	TrustedForwarders []string `toml:"trusted_forwarders"`
	DMARCReports      bool     `toml:"dmarc_reports"`
	Milters           []string `toml:"milters"`
}

type imapConfig struct {
	PlaintextLogin string `toml:"plaintext_login"`
	FlagsDurable   bool   `toml:"flags_durable"`
}

type dnsConfig struct {
	Servers []string `toml:"servers"`
	Trusted bool     `toml:"trusted"`
}

type outboundConfig struct {
	Port           int      `toml:"port"`
	Addresses      []string `toml:"addresses"`
	Source         []string `toml:"source"`
	AllowPrivate   bool     `toml:"allow_private"`
	AssumeEightBit bool     `toml:"assume_8bit"`
	MTASTS         bool     `toml:"mta_sts"`
	DANE           bool     `toml:"dane"`
	TLSReports     bool     `toml:"tls_reports"`
}

// smarthostConfig is [smarthost."domain"], or [smarthost."*"] for all others.
type smarthostConfig struct {
	Direct         bool   `toml:"direct"`
	Host           string `toml:"host"`
	Port           int    `toml:"port"`
	TLS            string `toml:"tls"`
	AnyCertificate bool   `toml:"any_certificate"`
	User           string `toml:"user"`
	PasswordFile   string `toml:"password_file"`
}

type queueConfig struct {
	Retry                  []duration `toml:"retry"`
	WarnAfter              duration   `toml:"warn_after"`
	GiveUpAfter            duration   `toml:"give_up_after"`
	Attempts               int        `toml:"attempts"`
	AttemptsPerDestination int        `toml:"attempts_per_destination"`
}

type logConfig struct {
	Level  string `toml:"level"`
	Format string `toml:"format"`
}

// defaults is the configuration that an empty file would mean.
func defaults() *config {
	return &config{
		Data:                "/var/lib/buzon",
		SubaddressSeparator: "+",
		Listen: listenConfig{
			SMTP: []string{":25"}, LMTP: []string{}, LMTPMode: "0660", Submission: []string{":587"}, Submissions: []string{":465"},
			IMAP: []string{":143"}, IMAPS: []string{":993"}, HTTPS: []string{}, ManageSieve: []string{},
		},
		Limits: limitsConfig{
			MessageSize: 50 << 20,
			Recipients:  100, SubmissionRecipients: 200, RecipientsPerHour: 2000, NewRecipientsPerDay: 500,
			SMTPConnections: 500, SubmissionConnections: 500, IMAPConnections: 2000, WebConnections: 200,
			ConnectionsPerAddress: 50, ConnectionsPerMinute: 300,
			IMAPPerUser: 30, IMAPPerUserAddress: 15,
			LoginFailuresPerMinute: 10, LoginFailuresPerDay: 50,
		},
		Incoming: incomingConfig{DMARC: "enforce", SPF: "junk", DMARCReports: true},
		Greylist: greylistConfig{Delay: duration(5 * time.Minute), RetryWithin: duration(48 * time.Hour), Remember: duration(35 * 24 * time.Hour)},
		Junk:     junkConfig{Learn: true, Threshold: 95, Minimum: 50},
		Auth:     authConfig{SCRAM: true},
		OAuth:    oauthConfig{Claim: "email"},
		IMAP:     imapConfig{PlaintextLogin: "never"},
		Web:      webConfig{MTASTS: "none", IMAP: true},
		Outbound: outboundConfig{Port: 25, MTASTS: true, DANE: true, TLSReports: true},
		Queue: queueConfig{
			Retry:     durations(5*time.Minute, 10*time.Minute, 20*time.Minute, 40*time.Minute, time.Hour, 2*time.Hour),
			WarnAfter: duration(4 * time.Hour), GiveUpAfter: duration(5 * 24 * time.Hour),
			Attempts: 20, AttemptsPerDestination: 5,
		},
		Log: logConfig{Level: "info", Format: "text"},
	}
}

// configError is an error of the configuration: people must act before another
// start has any use.
type configError struct{ error }

func (e configError) Unwrap() error { return e.error }

// maxConfig bounds a configuration file, in bytes.
const maxConfig = 1 << 20

// loadConfig reads the file at path and checks every value of it. Relative
// paths in it start from its own directory.
func loadConfig(path string) (*config, error) {
	data, err := readLimited(path, maxConfig)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, configError{fmt.Errorf("there is no configuration at %s: write one (deploy/buzon.toml is an example) or name it with --config FILE", path)}
	case err != nil:
		return nil, configError{fmt.Errorf("read configuration: %w", err)}
	}
	cfg := defaults()
	file, err := tomlfile.Decode(path, data, cfg)
	if err != nil {
		return nil, configError{err}
	}
	dir := filepath.Dir(path)
	cfg.Data = below(dir, cfg.Data)
	cfg.TLS.Cert, cfg.TLS.Key = below(dir, cfg.TLS.Cert), below(dir, cfg.TLS.Key)
	cfg.Auth.ClientCA = below(dir, cfg.Auth.ClientCA)
	cfg.OAuth.ClientSecretFile = below(dir, cfg.OAuth.ClientSecretFile)
	for name, s := range cfg.Smarthost {
		s.PasswordFile = below(dir, s.PasswordFile)
		cfg.Smarthost[name] = s
	}
	check(file, cfg)
	if err := file.Err(); err != nil {
		return nil, configError{err}
	}
	return cfg, nil
}

// readLimited reads a whole file of at most limit bytes.
func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return data, err
}

// below makes a path absolute that the configuration file at dir names.
func below(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	if abs, err := filepath.Abs(filepath.Join(dir, path)); err == nil {
		return abs
	}
	return filepath.Join(dir, path)
}

// path is a file or directory of ours in the data directory.
func (c *config) path(elem ...string) string {
	return filepath.Join(append([]string{c.Data}, elem...)...)
}

// domains are the local ones as package account wants them.
func (c *config) domains() []account.Domain {
	var list []account.Domain
	for _, name := range c.Domains {
		d := account.Domain{Name: name, Postmaster: c.Postmaster}
		for key, special := range c.Domain {
			if sameDomain(key, name) {
				d.CatchAll = special.CatchAll
				if special.Postmaster != "" {
					d.Postmaster = special.Postmaster
				}
			}
		}
		list = append(list, d)
	}
	return list
}

// directory opens the accounts.
func (c *config) accountConfig() account.Config {
	return account.Config{
		Dir: c.Data, Domains: c.domains(), Hostname: c.Hostname,
		SubaddressSeparator: c.SubaddressSeparator, HashWorkers: c.Limits.PasswordChecks, NoSCRAM: !c.Auth.SCRAM,
	}
}

func sameDomain(a, b string) bool {
	x, errX := smtp.ParseDomain(a)
	y, errY := smtp.ParseDomain(b)
	return errX == nil && errY == nil && x == y
}

// duration is a length of time as people write it: "90s", "4h", "5d", "1d12h".
type duration time.Duration

func durations(ds ...time.Duration) []duration {
	list := make([]duration, len(ds))
	for i, d := range ds {
		list[i] = duration(d)
	}
	return list
}

// UnmarshalText reads what time.ParseDuration reads, with days before it.
func (d *duration) UnmarshalText(text []byte) error {
	s := string(text)
	bad := fmt.Errorf("%q is not a length of time: write it like \"90s\", \"4h\" or \"5d\"", s)
	var total time.Duration
	if days, rest, ok := strings.Cut(s, "d"); ok {
		var n int
		if _, err := fmt.Sscanf(days+"\n", "%d\n", &n); err != nil || n < 0 || n > 10000 || days[0] == '+' {
			return bad
		}
		total, s = time.Duration(n)*24*time.Hour, rest
	}
	if s != "" {
		more, err := time.ParseDuration(s)
		if err != nil || more < 0 {
			return bad
		}
		total += more
	} else if len(text) == 0 {
		return bad
	}
	*d = duration(total)
	return nil
}

// String is the shortest form that UnmarshalText reads.
func (d duration) String() string {
	days, rest := time.Duration(d)/(24*time.Hour), time.Duration(d)%(24*time.Hour)
	s := rest.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	switch {
	case days == 0:
		return s
	case rest == 0:
		return fmt.Sprintf("%dd", days)
	}
	return fmt.Sprintf("%dd%s", days, s)
}
