package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"

	"buzon/imapd"
	"buzon/internal/account"
	"buzon/internal/durable"
	"buzon/maildir"
)

// Imports and exports speak IMAP with the account, so that they obey the rules of
// everybody else who works on it: with the running server through its control
// socket, or with a server of their own where none runs.

// serveTransfer turns a request at the control socket into an IMAP session of the
// account that it names. Who may open the socket may read the mail.
func (h *host) serveTransfer(w http.ResponseWriter, r *http.Request) {
	id, err := account.ParseID(r.PathValue("account"))
	if err != nil {
		answer(w, nil, err)
		return
	}
	acct, ok := h.accounts.Lookup(id)
	if !ok {
		answer(w, nil, fmt.Errorf("account %s: %w", id, account.ErrNotFound))
		return
	}
	acct.Generation = h.accounts.Generation(id) // 0 for one that is disabled; it may be filled all the same
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		answer(w, nil, errors.New("this connection cannot be taken over"))
		return
	}
	h.transfers.Add(1)
	defer h.transfers.Done()
	nc, _, err := hijacker.Hijack()
	if err != nil {
		return
	}
	if err = nc.SetDeadline(time.Time{}); err == nil {
		_, err = nc.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: imap\r\n\r\n"))
	}
	if err != nil {
		nc.Close()
		return
	}
	h.imap.ServeUser(r.Context(), nc, acct)
}

// withAccountIMAP calls f with an IMAP connection that is logged in to an account.
func withAccountIMAP(ctx context.Context, file configFlag, std streams, address string, f func(*config, account.ID, *imapclient.Client) error) error {
	id, err := account.ParseID(address)
	if err != nil {
		return fmt.Errorf("%q: %w", address, err)
	}
	return withAccounts(file, std, func(cfg *config, d *account.Directory) error {
		acct, ok := d.Lookup(id)
		if !ok {
			return fmt.Errorf("account %s: %w", id, account.ErrNotFound)
		}
		acct.Generation = d.Generation(id)
		nc, end, err := accountConn(ctx, cfg, std, d, acct)
		if err != nil {
			return err
		}
		client := imapclient.New(nc, nil)
		defer context.AfterFunc(ctx, func() { nc.Close() })()
		err = client.WaitGreeting()
		if err == nil {
			err = f(cfg, id, client)
		}
		if err == nil {
			_ = client.Logout().Wait()
		}
		_ = client.Close()
		return errors.Join(err, end())
	})
}

// startPatience is how long a server may take to start or to end.
const startPatience = 30 * time.Second

// accountConn opens the connection: to the server that runs, or to one of our own.
func accountConn(ctx context.Context, cfg *config, std streams, d *account.Directory, acct account.Account) (nc net.Conn, end func() error, err error) {
	nc, err = dialTransfer(ctx, cfg, acct.ID)
	if !errors.Is(err, errNotRunning) {
		return nc, func() error { return nil }, err
	}
	unlock, err := durable.Lock(cfg.path(lockName))
	for deadline := time.Now().Add(startPatience); errors.Is(err, durable.ErrLocked) && time.Now().Before(deadline); {
		// A server is starting, or ending.
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
		if nc, err := dialTransfer(ctx, cfg, acct.ID); !errors.Is(err, errNotRunning) {
			return nc, func() error { return nil }, err
		}
		unlock, err = durable.Lock(cfg.path(lockName))
	}
	if err != nil {
		return nil, nil, lockError(cfg, err)
	}
	log := slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: slog.LevelError}))
	store, err := maildir.Open(maildir.Config{
		Mail: cfg.path("mail"), State: cfg.path("state"), Host: cfg.Hostname, Log: log,
		FlagsDurable: cfg.IMAP.FlagsDurable, UndeleteDays: cfg.Limits.UndeleteDays,
		QuotaLimit: func(string) (bytes, messages int64) {
			if acct.Quota > 0 {
				return acct.Quota, 0
			}
			return int64(cfg.Limits.Quota), 0
		},
	})
	if err != nil {
		return nil, nil, errors.Join(err, unlock())
	}
	server := imapd.New(imapd.Config{Store: store, Directory: d, Hostname: cfg.Hostname, Version: version, Log: log, MessageSize: int64(cfg.Limits.MessageSize)})
	theirs, ours := net.Pipe()
	done := make(chan struct{})
	go func() { server.ServeUser(ctx, theirs, acct); close(done) }()
	return ours, func() error {
		ours.Close()
		<-done
		return errors.Join(store.Close(), unlock())
	}, nil
}

// dialTransfer asks the running server for an IMAP session.
func dialTransfer(ctx context.Context, cfg *config, id account.ID) (nc net.Conn, err error) {
	err = withSocketPath(cfg.Data, func(path string) error {
		nc, err = new(net.Dialer).DialContext(ctx, "unix", path)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, errNotRunning
	}
	if err != nil {
		return nil, fmt.Errorf("ask the running server: %w", err)
	}
	nc.SetDeadline(time.Now().Add(controlTimeout))
	_, err = fmt.Fprintf(nc, "POST /imap/%s HTTP/1.1\r\nHost: buzon\r\nConnection: Upgrade\r\nUpgrade: imap\r\nContent-Length: 0\r\n\r\n", url.PathEscape(string(id)))
	if err != nil {
		nc.Close()
		return nil, err
	}
	r := bufio.NewReader(nc)
	res, err := http.ReadResponse(r, nil)
	if err == nil && res.StatusCode != http.StatusSwitchingProtocols {
		err = fmt.Errorf("the running server answered %s", res.Status)
	}
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("ask the running server: %w", err)
	}
	nc.SetDeadline(time.Time{})
	return readAhead{nc, r}, nil
}

// readAhead is a connection of which something has been read already.
type readAhead struct {
	net.Conn
	r *bufio.Reader
}

func (c readAhead) Read(p []byte) (int, error) { return c.r.Read(p) }
