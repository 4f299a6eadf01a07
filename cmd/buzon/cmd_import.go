package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"
	"golang.org/x/term"

	"buzon/internal/account"
	"buzon/internal/durable"
	"buzon/internal/migrate"
)

const importHelp = `
Run it again to bring what has come since, or to go on after it was stopped: no
message comes twice. What was copied is noted below import in the data directory.
This works beside a running server, whose clients see the messages at once, and
without one.`

// importCommands bring mail in from elsewhere.
func importCommands() []command {
	return []command{
		{
			name: "import imap", operands: "ADDRESS",
			short: "Copy an account from another IMAP server",
			long: `
Copies all mailboxes with flags, keywords and dates into the account ADDRESS. The
other server's certificate is verified. Its password is asked for at a terminal,
and read from standard input, one line, where that is no terminal.
` + importHelp,
			setup: func(fs *flag.FlagSet) runner {
				file := newConfigFlag(fs)
				var from otherServer
				fs.StringVar(&from.host, "host", "", "the other server's `NAME`")
				fs.IntVar(&from.port, "port", 0, "its `PORT` (default: 993, or 143 with --starttls)")
				fs.BoolVar(&from.startTLS, "starttls", false, "use STARTTLS, not TLS from the start")
				fs.StringVar(&from.ca, "ca", "", "trust the authorities in the PEM `FILE` instead of the system's")
				fs.StringVar(&from.user, "user", "", "the login `NAME` there (default: ADDRESS)")
				fs.StringVar(&from.passwordFile, "password-file", "", "read its password from the first line of `FILE`")
				return func(ctx context.Context, std streams, operands []string) error {
					if from.host == "" {
						return usageError{"buzon import imap", "--host is missing: name the server to copy from"}
					}
					if from.user == "" {
						from.user = operands[0]
					}
					password, err := from.password(std)
					if err != nil {
						return err
					}
					client, err := from.open(ctx, password)
					if err != nil {
						return err
					}
					defer client.Close()
					source := fmt.Sprintf("imap %s %d %s", strings.ToLower(from.host), from.portNumber(), from.user)
					return importFrom(ctx, file, std, operands[0], source, migrate.IMAP{Client: client})
				}
			},
		},
		{
			name: "import maildir", operands: "ADDRESS DIRECTORY",
			short: "Copy a Maildir and its folders into an account",
			long: `
DIRECTORY is INBOX, its subdirectories are folders: ".Archive.2025" as in Maildir++,
or "Archive/2025". Flags are those of the file names, keywords those of a file
dovecot-keywords, dates those of the files. Nothing in DIRECTORY is changed; the user that runs buzon
must be able to read it.
To move a whole Dovecot Maildir with its UIDs, put it into the data directory
instead: docs/maildir.md.
` + importHelp,
			setup: func(fs *flag.FlagSet) runner {
				file := newConfigFlag(fs)
				return func(ctx context.Context, std streams, operands []string) error {
					dir, err := filepath.Abs(operands[1])
					if err != nil {
						return err
					}
					return importFrom(ctx, file, std, operands[0], "maildir "+dir, migrate.Maildirs{Dir: dir})
				}
			},
		},
		{
			name: "import mbox", operands: "ADDRESS FILE",
			short: "Copy the messages of an mbox file into an account",
			long: `
Flags are taken from the fields Status, X-Status and X-Keywords, dates from the lines
between the messages. The user that runs buzon must be able to read FILE.
` + importHelp,
			setup: func(fs *flag.FlagSet) runner {
				file := newConfigFlag(fs)
				mailbox := fs.String("mailbox", "INBOX", "put them into `MAILBOX`, like Archive/2025")
				return func(ctx context.Context, std streams, operands []string) error {
					path, err := filepath.Abs(operands[1])
					if err != nil {
						return err
					}
					source := migrate.Mbox{Path: path, Name: strings.Split(*mailbox, "/")}
					return importFrom(ctx, file, std, operands[0], "mbox "+path+" "+*mailbox, source)
				}
			},
		},
	}
}

// otherServer is where `buzon import imap` reads.
type otherServer struct {
	host, ca, user, passwordFile string
	port                         int
	startTLS                     bool
}

func (o otherServer) portNumber() int {
	switch {
	case o.port != 0:
		return o.port
	case o.startTLS:
		return 143
	}
	return 993
}

func (o otherServer) password(std streams) (string, error) {
	if o.passwordFile != "" {
		return readPassword(o.passwordFile)
	}
	if f, ok := std.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprintf(std.err, "password of %s at %s: ", o.user, o.host)
		password, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(std.err)
		return string(password), err
	}
	return readLine(std.in)
}

// otherPatience is how long the other server may be silent.
const otherPatience = 2 * time.Minute

// open connects and logs in, under verified TLS only.
func (o otherServer) open(ctx context.Context, password string) (*imapclient.Client, error) {
	address := net.JoinHostPort(o.host, strconv.Itoa(o.portNumber()))
	config := &tls.Config{ServerName: o.host, MinVersion: tls.VersionTLS12}
	if o.ca != "" {
		text, err := readLimited(o.ca, maxConfig)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s holds no certificate in PEM", o.ca)
		}
	}
	dialer := &net.Dialer{Timeout: otherPatience}
	nc, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { nc.Close() })
	nc = patient{nc}
	var client *imapclient.Client
	if o.startTLS {
		client, err = imapclient.NewStartTLS(nc, &imapclient.Options{TLSConfig: config})
	} else {
		client = imapclient.New(tls.Client(nc, config), nil)
		err = client.WaitGreeting()
	}
	if err == nil {
		err = client.Login(o.user, password).Wait()
	}
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	return client, nil
}

// patient is a connection that must not be silent for too long.
type patient struct{ net.Conn }

func (c patient) Read(p []byte) (int, error) {
	c.Conn.SetReadDeadline(time.Now().Add(otherPatience))
	return c.Conn.Read(p)
}

// SetReadDeadline is for whoever thinks that it knows better: a message may take
// long to be put away here while the next one waits there.
func (c patient) SetReadDeadline(time.Time) error { return nil }

// importFrom copies a source into an account.
func importFrom(ctx context.Context, file configFlag, std streams, address, source string, from migrate.Source) error {
	return withAccountIMAP(ctx, file, std, address, func(cfg *config, id account.ID, client *imapclient.Client) error {
		sum := sha256.Sum256([]byte(source))
		path := cfg.path("import", id.Domain(), id.User(), hex.EncodeToString(sum[:8]))
		ledger, err := migrate.OpenLedger(path)
		if errors.Is(err, durable.ErrLocked) {
			return fmt.Errorf("another import from there is under way: %w", err)
		}
		if err != nil {
			return err
		}
		progress := newProgress(std.err)
		res, err := migrate.Copy(ctx, from, client, ledger, progress)
		progress.end()
		err = errors.Join(err, ledger.Close())
		fmt.Fprintf(std.out, "%s: %s new, %d known before, in %d mailboxes\n", id, messages(res.New), res.Known, res.Mailboxes)
		if err != nil {
			return fmt.Errorf("%w; run the same command again to go on", err)
		}
		if res.LeftOut > 0 {
			return fmt.Errorf("%s could not be taken", messages(res.LeftOut))
		}
		return nil
	})
}
