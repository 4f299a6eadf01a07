package main

import (
	"cmp"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"buzon/imapd"
	"buzon/internal/account"
	"buzon/internal/certs"
	"buzon/internal/durable"
	"buzon/internal/greylist"
	"buzon/internal/junk"
	"buzon/internal/junk/lessons"
	"buzon/internal/managesieve"
	"buzon/internal/sasl"
	"buzon/internal/sieve"
	"buzon/maildir"
	"buzon/mx"
	"buzon/mx/dkim"
	"buzon/mx/dmarc"
	"buzon/mx/dns"
	"buzon/mx/mtasts"
	"buzon/mx/queue"
	"buzon/mx/tlsrpt"
	"buzon/smtpd"
)

// host is the whole program at work: its parts, wired in open and run in serve.
type host struct {
	cfg      *config
	path     string // of the configuration
	log      *slog.Logger
	logLevel *slog.LevelVar
	started  time.Time

	listeners  []listener
	control    listener
	accounts   *account.Directory
	certs      *certs.Store
	clientCAs  *x509.CertPool // of clients that log in by certificate; nil for none
	logins     *sasl.Gatekeeper
	store      *maildir.Store
	junk       *junk.Library    // nil: nothing is learned
	teacher    *lessons.Teacher // nil: nothing is learned
	keys       *dkim.Store
	scripts    *sieve.Library
	forwarder  *mx.Forwarder
	resolver   *dns.Client
	client     *mx.Client
	queue      *queue.Queue
	sts        *mtasts.Cache     // nil: switched off
	tlsReports *tlsrpt.Collector // nil: switched off
	dmarcSeen  *dmarc.Collector  // nil: nobody is told of mail in his name
	incoming   *smtpd.Server     // port 25
	lmtp       *smtpd.Server     // from a mail host in front of us
	submission *smtpd.Server     // 587
	implicit   *smtpd.Server     // 465
	imap       *imapd.Server
	filters    *managesieve.Server
	greylist   *greylist.List // nil: switched off

	transfers    sync.WaitGroup // imports and exports through the control socket
	defaultQuota atomic.Int64   // bytes; a reload may change it
	reloading    sync.Mutex     // held while a reload is under way; guards cfg
	closers      []func() error
}

// open makes the parts, from the ground up. Nothing of it answers yet.
func open(cfg *config, path string, logTo io.Writer) (_ *host, err error) {
	h := &host{cfg: cfg, path: path, started: time.Now()}
	h.log, h.logLevel = newLog(cfg.Log, logTo)
	h.defaultQuota.Store(int64(cfg.Limits.Quota))
	defer func() {
		if err != nil {
			err = errors.Join(err, h.Close())
		}
	}()

	// The ports first: they may need rights that are given up next.
	if h.listeners, err = listen(cfg); err != nil {
		return nil, cmp.Or(alreadyServed(cfg), err)
	}
	h.onClose(func() error { closeAll(h.listeners); return nil })
	if err := makeData(cfg.Data); err != nil {
		return nil, err
	}
	if err := becomeOwner(cfg.Data, h.log); err != nil {
		return nil, err
	}
	if _, err := readLimited(path, maxConfig); err != nil {
		h.log.Warn("this user cannot read the configuration: a reload will be refused", "err", err)
	}
	unlock, err := durable.Lock(cfg.path(lockName))
	if err != nil {
		return nil, lockError(cfg, err)
	}
	h.onClose(unlock)

	if err := h.openStores(); err != nil {
		return nil, err
	}
	if err := h.openOutbound(); err != nil {
		return nil, err
	}
	if err := h.openLogins(); err != nil {
		return nil, err
	}
	if err := h.openServers(); err != nil {
		return nil, err
	}
	if h.control.Listener, err = listenControl(cfg); err != nil {
		return nil, err
	}
	h.onClose(func() error { h.control.Close(); return nil })
	// From here on whoever changes an account tells us. Before, he could not.
	if err := h.accounts.Reload(); err != nil {
		return nil, configError{err}
	}
	return h, nil
}

// openStores opens what lies on the disk: accounts, certificate, mail.
func (h *host) openStores() (err error) {
	cfg := h.cfg
	accountCfg := cfg.accountConfig()
	accountCfg.Log = h.log
	if h.accounts, err = account.Open(accountCfg); err != nil {
		return configError{err}
	}
	h.onClose(h.accounts.Close)
	if len(h.accounts.List()) == 0 {
		h.log.Warn("there is no account yet, all mail will be refused: buzon account add NAME@" + cfg.Domains[0])
	}

	h.certs, err = certs.Open(certs.Config{
		Cert: cfg.TLS.Cert, Key: cfg.TLS.Key, Dir: cfg.path("tls"), Names: []string{cfg.Hostname}, Log: h.log,
	})
	if err != nil {
		return configError{err}
	}

	h.store, err = maildir.Open(maildir.Config{
		Mail: cfg.path("mail"), State: cfg.path("state"), Host: cfg.Hostname,
		Log: h.log, FlagsDurable: cfg.IMAP.FlagsDurable, QuotaLimit: h.quota,
		UndeleteDays: cfg.Limits.UndeleteDays,
	})
	if err != nil {
		return err
	}
	h.onClose(h.store.Close)
	if h.scripts, err = sieve.OpenLibrary(cfg.path("mail")); err != nil {
		return err
	}
	h.onClose(h.scripts.Close)
	return h.openJunk()
}

func (h *host) onClose(f func() error) { h.closers = append(h.closers, f) }

// Close gives everything back, in the opposite order of open.
func (h *host) Close() error {
	var errs []error
	for i := len(h.closers) - 1; i >= 0; i-- {
		errs = append(errs, h.closers[i]())
	}
	h.closers = nil
	return errors.Join(errs...)
}

// quota is what an account may keep: its own limit, or everybody's.
func (h *host) quota(id string) (bytes, messages int64) {
	if a, ok := h.accounts.Lookup(account.ID(id)); ok && a.Quota > 0 {
		return a.Quota, 0
	}
	return h.defaultQuota.Load(), 0
}
