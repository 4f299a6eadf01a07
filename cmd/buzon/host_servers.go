package main

import (
	"os"
	"time"

	"buzon/imapd"
	"buzon/internal/certs"
	"buzon/internal/greylist"
	"buzon/internal/limit"
	"buzon/internal/managesieve"
	"buzon/mx"
	"buzon/smtpd"
	"buzon/smtpd/lda"
)

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
func (h *host) openServers() (err error) {
	if h.clientCAs, err = h.cfg.Auth.clientCAs(); err != nil {
		return configError{err}
	}
	if err := h.openSMTP(); err != nil {
		return err
	}
	h.openIMAP()
	return nil
}

// conns counts the connections of one service.
func (h *host) conns(total int) *limit.Conns {
	return limit.NewConns(limit.ConnsConfig{
		Total: total, PerAddress: h.cfg.Limits.ConnectionsPerAddress, PerMinute: h.cfg.Limits.ConnectionsPerMinute,
	})
}

// openSMTP makes what takes mail: from strangers, from a mail host in front of
// us, from our users.
func (h *host) openSMTP() error {
	cfg := h.cfg
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
	incoming.Conns = h.conns(cfg.Limits.SMTPConnections)
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
	submission.Conns = h.conns(cfg.Limits.SubmissionConnections)
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
	return nil
}

// openIMAP makes what shows mail, and takes filters for it.
func (h *host) openIMAP() {
	cfg := h.cfg
	h.imap = imapd.New(imapd.Config{
		Store: h.store, Directory: h.accounts, Logins: h.logins, Conns: h.conns(cfg.Limits.IMAPConnections),
		TLS:      h.certs.TLSConfig(certs.Options{NextProtos: []string{"imap"}, ClientCAs: h.clientCAs}),
		Hostname: cfg.Hostname, Version: version, Log: h.log,
		PlaintextFromLoopback: cfg.IMAP.PlaintextLogin == "loopback", MessageSize: int64(cfg.Limits.MessageSize),
		SessionsPerUser: cfg.Limits.IMAPPerUser, SessionsPerUserIP: cfg.Limits.IMAPPerUserAddress, Grace: grace,
	})
	h.filters = managesieve.New(managesieve.Config{
		Scripts: h.scripts, Directory: h.accounts, Logins: h.logins, Conns: h.conns(cfg.Limits.IMAPConnections),
		TLS: h.certs.TLSConfig(certs.Options{ClientCAs: h.clientCAs}), Log: h.log, Grace: grace,
	})
}
