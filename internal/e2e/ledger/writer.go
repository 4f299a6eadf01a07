package ledger

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// patience bounds one message, connection included: a host that takes longer
// has stopped answering.
const patience = 30 * time.Second

// reconnectAfter spares a host that is just being started.
const reconnectAfter = 20 * time.Millisecond

// A Transport hands one message to the host and returns nil when the host
// answered for it. It keeps its connection between messages; after an error it
// is closed, and connects anew for the next message.
type Transport interface {
	Send(ctx context.Context, m Message) error
	Close()
}

// A Writer sends messages of its own making, one after another.
type Writer struct {
	Transport Transport
	From, To  string
	Account   string        // whose mailbox gets them; usually To
	Mailbox   string        // "" means INBOX
	Pause     time.Duration // between messages
	Queued    bool          // see Entry
}

// Run writes until ctx ends, and records what was acknowledged. A message that
// was not is given up: whether it arrives is the host's choice.
func (w Writer) Run(ctx context.Context, l *Ledger) error {
	defer w.Transport.Close()
	mailbox := w.Mailbox
	if mailbox == "" {
		mailbox = "INBOX"
	}
	for ctx.Err() == nil {
		m := NewMessage(w.From, w.To)
		sending, cancel := context.WithTimeout(ctx, patience)
		err := w.Transport.Send(sending, m)
		cancel()
		if err != nil {
			w.Transport.Close()
			select {
			case <-ctx.Done():
			case <-time.After(reconnectAfter):
			}
			continue
		}
		if err := l.Record(Entry{ID: m.ID, Account: w.Account, Mailbox: mailbox, Sum: m.Sum, Queued: w.Queued}); err != nil {
			return err
		}
		if w.Pause > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(w.Pause):
			}
		}
	}
	return nil
}

// dial connects and lets ctx bound everything that happens on the connection.
func dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}

// SMTP sends without authentication, as another host does; with TLS if set.
type SMTP struct {
	Addr string
	TLS  *tls.Config
	// Where User is set, the client logs in first; TLS must be set then.
	User, Password string

	conn   net.Conn
	client *smtp.Client
}

// Send implements Transport.
func (t *SMTP) Send(ctx context.Context, m Message) error {
	if t.client == nil {
		if err := t.connect(ctx); err != nil {
			return err
		}
	}
	defer context.AfterFunc(ctx, t.interrupt(t.conn))()
	return t.client.SendMail(m.From, []string{m.To}, bytes.NewReader(m.Raw))
}

func (t *SMTP) connect(ctx context.Context) (err error) {
	t.conn, err = dial(ctx, t.Addr)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, t.interrupt(t.conn))()
	if t.TLS != nil {
		t.client, err = smtp.NewClientStartTLS(t.conn, t.TLS)
		if err != nil {
			t.conn.Close()
			return err
		}
	} else {
		t.client = smtp.NewClient(t.conn)
	}
	if t.User != "" {
		return t.client.Auth(sasl.NewPlainClient("", t.User, t.Password))
	}
	return nil
}

func (t *SMTP) interrupt(conn net.Conn) func() { return func() { conn.Close() } }

// Close implements Transport.
func (t *SMTP) Close() {
	if t.client != nil {
		t.client.Close()
	}
	t.client = nil
}

// Append stores into one mailbox over IMAP with TLS from the start.
type Append struct {
	Addr           string
	TLS            *tls.Config
	User, Password string
	Mailbox        string

	client *imapclient.Client
}

// Send implements Transport.
func (t *Append) Send(ctx context.Context, m Message) error {
	if t.client == nil {
		if err := t.connect(ctx); err != nil {
			return err
		}
	}
	client := t.client
	defer context.AfterFunc(ctx, func() { client.Close() })()
	cmd := client.Append(t.Mailbox, int64(len(m.Raw)), &imap.AppendOptions{Flags: []imap.Flag{imap.FlagSeen}})
	if _, err := cmd.Write(m.Raw); err != nil {
		return err
	}
	if err := cmd.Close(); err != nil {
		return err
	}
	_, err := cmd.Wait()
	return err
}

func (t *Append) connect(ctx context.Context) error {
	conn, err := dial(ctx, t.Addr)
	if err != nil {
		return err
	}
	secured := tls.Client(conn, t.TLS)
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		return fmt.Errorf("handshake: %w", err)
	}
	client := imapclient.New(secured, nil)
	defer context.AfterFunc(ctx, func() { client.Close() })()
	if err := client.Login(t.User, t.Password).Wait(); err != nil {
		client.Close()
		return err
	}
	t.client = client
	return nil
}

// Close implements Transport.
func (t *Append) Close() {
	if t.client != nil {
		t.client.Close()
	}
	t.client = nil
}
