package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"buzon/imapd"
	"buzon/internal/account"
	"buzon/internal/certs"
	"buzon/internal/durable"
	"buzon/internal/greylist"
	"buzon/internal/junk"
	"buzon/internal/junk/lessons"
	"buzon/internal/limit"
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
	"buzon/smtpd/lda"
)

func serveCommand() command {
	return command{
		name:  "serve",
		short: "Run the mail host",
		long: `
Runs in the foreground and logs to standard error.

  SIGTERM, SIGINT   end: no new connections, transactions in flight get 25 s
  SIGHUP            read the configuration, the accounts and the certificate
                    again; when they are bad the old ones stay in force

Started by root over a data directory that another user owns, it opens its
ports and goes on as that user.`,
		setup: func(fs *flag.FlagSet) runner {
			file := newConfigFlag(fs)
			return func(ctx context.Context, std streams, _ []string) error {
				cfg, err := file.load()
				if err != nil {
					return err
				}
				h, err := open(cfg, *file.path, std.err)
				if err != nil {
					return err
				}
				hangup := make(chan os.Signal, 1)
				signal.Notify(hangup, syscall.SIGHUP)
				defer signal.Stop(hangup)
				return errors.Join(h.serve(ctx, hangup), h.Close())
			}
		},
	}
}

// How long things may take at the end. A service manager that sends SIGKILL
// does so after 30 s or more.
const (
	grace    = 25 * time.Second // for transactions in flight
	lastCall = 30 * time.Second // after which whatever is left is cut off
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

// openOutbound makes the way out: queue → signatures → mx → the world, and
// notices home.
func (h *host) openOutbound() error {
	cfg := h.cfg
	outbound, err := cfg.mxConfig()
	if err != nil {
		return configError{err}
	}
	if h.resolver, err = dns.New(dns.Config{Servers: cfg.DNS.Servers, Trusted: cfg.DNS.Trusted, Log: h.log}); err != nil {
		return configError{err}
	}
	outbound.Resolver, outbound.Log = h.resolver, h.log
	if err := h.openTLSPolicies(&outbound, h.resolver); err != nil {
		return err
	}
	if h.client, err = mx.New(outbound); err != nil {
		return configError{err}
	}
	h.onClose(func() error { h.client.Close(); return nil })
	if h.keys, err = dkim.OpenStore(cfg.path(keyDir)); err != nil {
		return err
	}
	h.onClose(h.keys.Close)
	if err := cfg.ensureKeys(h.keys, h.log); err != nil {
		return configError{err}
	}

	secret, err := forwardSecret(cfg.Data)
	if err != nil {
		return err
	}
	h.forwarder = mx.NewForwarder(mx.ForwarderConfig{Secret: secret, Keys: h.keys, SigningDomain: h.signs})

	if cfg.Incoming.DMARCReports {
		if h.dmarcSeen, err = dmarc.OpenCollector(cfg.path("outbound", "dmarc.json"), nil); err != nil {
			return err
		}
	}

	queueCfg := cfg.queueConfig()
	queueCfg.Sender = mx.NewSigner(mx.SignerConfig{
		Next: h.client, Keys: h.keys, SigningDomain: h.signs, IsLocal: h.accounts.IsLocalDomain, Log: h.log,
	})
	queueCfg.Notifier = notices{h, h.local()}
	queueCfg.LocalDomain = h.accounts.IsLocalDomain
	queueCfg.Log = h.log
	if h.queue, err = queue.Open(queueCfg); err != nil {
		return err
	}
	h.onClose(h.queue.Close)
	return nil
}

// openTLSPolicies makes what knows how TLS must be on the way out, and what
// tells how it was.
func (h *host) openTLSPolicies(outbound *mx.Config, resolver *dns.Client) (err error) {
	dir := h.cfg.path("outbound")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	outbound.LevelsFile = filepath.Join(dir, "tls-levels")
	if h.cfg.Outbound.MTASTS {
		sts := mtasts.Config{Dir: filepath.Join(dir, "mta-sts"), Resolver: resolver, Log: h.log, Allowed: mx.Public}
		if h.cfg.Outbound.AllowPrivate {
			sts.Allowed = nil
		}
		if h.sts, err = mtasts.Open(sts); err != nil {
			return err
		}
		h.onClose(h.sts.Close)
		outbound.STS = h.sts
	}
	if h.cfg.Outbound.TLSReports {
		if h.tlsReports, err = tlsrpt.Open(filepath.Join(dir, "tlsrpt.json"), nil); err != nil {
			return err
		}
		outbound.Reports = h.tlsReports
	}
	return nil
}

// local is the way into the mailboxes.
func (h *host) local() *lda.Local {
	cfg := lda.Config{
		Store: h.store, Directory: h.accounts, Log: h.log,
		Hostname: h.cfg.Hostname, Scripts: h.scripts, Forwarder: outbox{h}, Outbox: outbox{h},
	}
	if h.junk != nil {
		cfg.Classifier = classifier{h.junk, h.cfg.Junk.Threshold}
	}
	return lda.New(cfg)
}

// judge is who believes strangers, or does not.
func (h *host) judge() *mx.Judge {
	in := h.cfg.Incoming
	return mx.NewJudge(mx.JudgeConfig{
		Hostname: h.cfg.Hostname, Resolver: h.resolver, Log: h.log,
		DMARC: mx.Enforcement(in.DMARC), SPF: mx.Enforcement(in.SPF), Trusted: in.TrustedForwarders,
		Observe: h.dmarcSeen.Observe,
	})
}

// openGreylist reads who has sent us mail before, where that matters.
func (h *host) openGreylist() (err error) {
	g := h.cfg.Greylist
	if !g.Enabled {
		return nil
	}
	h.greylist, err = greylist.New(greylist.Config{
		Path: h.cfg.path("greylist"), Delay: time.Duration(g.Delay), RetryWithin: time.Duration(g.RetryWithin), Remember: time.Duration(g.Remember), Log: h.log,
	})
	if err == nil {
		h.onClose(h.greylist.Close)
	}
	return err
}

// openServers makes what speaks with clients.
func (h *host) openServers() error {
	cfg := h.cfg
	var err error
	if h.clientCAs, err = cfg.Auth.clientCAs(); err != nil {
		return configError{err}
	}
	conns := func(total int) *limit.Conns {
		return limit.NewConns(limit.ConnsConfig{
			Total: total, PerAddress: cfg.Limits.ConnectionsPerAddress, PerMinute: cfg.Limits.ConnectionsPerMinute,
		})
	}
	receiving := cfg.path("tmp")
	if err := os.MkdirAll(receiving, 0o700); err != nil {
		return err
	}
	base := smtpd.Config{
		Hostname: cfg.Hostname, Dir: receiving, Directory: h.accounts, Local: h.local(),
		Log: h.log, MaxSize: int64(cfg.Limits.MessageSize), Grace: grace,
	}

	recipients, err := smtpd.OpenRecipients(cfg.path("outbound", "recipients"), cfg.Limits.NewRecipientsPerDay, h.log)
	if err != nil {
		return err
	}
	h.onClose(recipients.Close)

	incoming := base
	incoming.Recipients = recipients
	incoming.TLS = h.certs.TLSConfig(certs.Options{NoTickets: true})
	incoming.Conns = conns(cfg.Limits.SMTPConnections)
	incoming.MaxRecipients = cfg.Limits.Recipients
	judge := h.judge()
	incoming.Judge, incoming.Names = judge, judge
	incoming.Milters = cfg.milters("smtp", cfg.Incoming.Milters)
	incoming.Blocklists = cfg.blocklists(h.resolver, h.log)
	if err := h.openGreylist(); err != nil {
		return err
	}
	incoming.Greylist, incoming.Policy = h.greylist, judge
	incoming.Forward, incoming.Spool = h.forwarder, h.queue
	h.incoming = smtpd.NewIncoming(incoming)

	lmtp := base
	lmtp.Conns = limit.NewConns(limit.ConnsConfig{Total: cfg.Limits.SMTPConnections, PerAddress: -1, PerMinute: -1})
	lmtp.MaxRecipients = cfg.Limits.Recipients
	lmtp.Forward, lmtp.Spool = h.forwarder, h.queue
	h.lmtp = smtpd.NewLMTP(lmtp)

	submission := base
	submission.TLS = h.certs.TLSConfig(certs.Options{ClientCAs: h.clientCAs})
	submission.Conns = conns(cfg.Limits.SubmissionConnections)
	submission.MaxRecipients = cfg.Limits.SubmissionRecipients
	submission.Rate = limit.NewRate(cfg.Limits.RecipientsPerHour, time.Hour, nil)
	submission.Spool = h.queue
	submission.Recipients = recipients
	submission.Logins = h.logins
	submission.Signing = signing{h}
	submission.Milters, submission.Names = cfg.milters("submission", cfg.Submission.Milters), judge
	h.submission = smtpd.NewSubmission(submission)
	submission.ImplicitTLS = true
	h.implicit = smtpd.NewSubmission(submission)

	h.imap = imapd.New(imapd.Config{
		Store: h.store, Directory: h.accounts, Logins: h.logins, Conns: conns(cfg.Limits.IMAPConnections),
		TLS:      h.certs.TLSConfig(certs.Options{NextProtos: []string{"imap"}, ClientCAs: h.clientCAs}),
		Hostname: cfg.Hostname, Version: version, Log: h.log,
		PlaintextFromLoopback: cfg.IMAP.PlaintextLogin == "loopback", MessageSize: int64(cfg.Limits.MessageSize),
		SessionsPerUser: cfg.Limits.IMAPPerUser, SessionsPerUserIP: cfg.Limits.IMAPPerUserAddress, Grace: grace,
	})
	h.filters = managesieve.New(managesieve.Config{
		Scripts: h.scripts, Directory: h.accounts, Logins: h.logins, Conns: conns(cfg.Limits.IMAPConnections),
		TLS: h.certs.TLSConfig(certs.Options{ClientCAs: h.clientCAs}), Log: h.log, Grace: grace,
	})
	return nil
}

// server returns what answers the clients of a service.
func (h *host) server(ln listener) func(context.Context) error {
	switch ln.service {
	case "smtp":
		return func(ctx context.Context) error { return h.incoming.Serve(ctx, ln) }
	case "lmtp":
		return func(ctx context.Context) error { return h.lmtp.Serve(ctx, ln) }
	case "submission":
		return func(ctx context.Context) error { return h.submission.Serve(ctx, ln) }
	case "submissions":
		return func(ctx context.Context) error { return h.implicit.Serve(ctx, ln) }
	case "managesieve":
		return func(ctx context.Context) error { return h.filters.Serve(ctx, ln) }
	case "https":
		return func(ctx context.Context) error { return h.serveWeb(ctx, ln) }
	default:
		return func(ctx context.Context) error { return h.imap.Serve(ctx, ln, ln.service == "imaps") }
	}
}

// serve answers until ctx ends or a part fails, and then lets what is in
// flight finish.
func (h *host) serve(ctx context.Context, hangup <-chan os.Signal) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var parts sync.WaitGroup
	start := func(name string, run func(context.Context) error) {
		parts.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	for _, ln := range h.listeners {
		h.log.Info("listening", "service", ln.service, "addr", ln.Addr().String())
		start(ln.service, h.server(ln))
	}
	start("queue", h.queue.Run)
	start("control", h.serveControl)
	if h.greylist != nil {
		start("greylist", h.greylist.Run)
	}
	if h.teacher != nil {
		start("junk", h.teacher.Run)
	}
	if h.sts != nil {
		start("mta-sts", h.sts.Run)
	}
	if h.tlsReports != nil {
		start("tls reports", h.tellOfTLS)
	}
	if h.dmarcSeen != nil {
		start("dmarc reports", h.tellOfMail)
	}
	h.log.Info("ready", "version", version, "host", h.cfg.Hostname, "domains", strings.Join(h.cfg.Domains, " "), "dur", time.Since(h.started))
	notify(notifyReady)

	for ctx.Err() == nil {
		select {
		case <-hangup:
			h.reloadAndTell()
		case <-ctx.Done():
		}
	}
	notify(notifyStopping)
	h.log.Info("stopping", "grace", grace)
	if !finished(&parts, lastCall) {
		h.log.Error("not everything came to its end, cut off", "dur", lastCall)
	}
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	h.log.Info("stopped", "dur", time.Since(h.started))
	return nil
}

// finished waits for the parts, but not for ever.
func finished(parts *sync.WaitGroup, patience time.Duration) bool {
	done := make(chan struct{})
	go func() { parts.Wait(); close(done) }()
	select {
	case <-done:
		return true
	case <-time.After(patience):
		return false
	}
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
