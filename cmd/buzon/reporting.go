package main

import (
	"bytes"
	"context"
	"io"
	"net/http"

	"buzon/internal/smtp"
	"buzon/mx/dmarc"
	"buzon/mx/tlsrpt"
)

// reporter is who signs the reports that we send to other domains: our first
// one.
func (h *host) reporter() (smtp.Address, error) {
	h.reloading.Lock()
	defer h.reloading.Unlock()
	return smtp.ParseAddress("postmaster@" + h.cfg.Domains[0])
}

// tellOfTLS sends what h.tlsReports has collected.
func (h *host) tellOfTLS(ctx context.Context) error {
	from, err := h.reporter()
	if err != nil {
		return err
	}
	return h.tlsReports.Run(ctx, tlsrpt.Sending{
		Resolver: h.resolver, Spool: h.queue, Submitter: from.Domain, From: from, Log: h.log,
		HTTP: &http.Client{Transport: &http.Transport{DialContext: h.client.DialPublic, DisableKeepAlives: true}},
	})
}

// tellOfMail sends what h.dmarcSeen has collected.
func (h *host) tellOfMail(ctx context.Context) error {
	from, err := h.reporter()
	if err != nil {
		return err
	}
	return h.dmarcSeen.Run(ctx, dmarc.Sending{
		Resolver: h.resolver, Spool: reports{h}, Submitter: from.Domain, From: from, Generator: "Buzon " + version, Log: h.log,
	})
}

// reports is where reports go: to others through the queue, and about our own
// domains into our own mailboxes.
type reports struct{ h *host }

// Submit implements dmarc.Spool.
func (r reports) Submit(ctx context.Context, env smtp.Envelope, msg io.Reader) (string, error) {
	to := env.To[0].Address
	if !r.h.accounts.IsLocalDomain(to.Domain) {
		return r.h.queue.Submit(ctx, env, msg)
	}
	text, err := io.ReadAll(msg)
	if err != nil {
		return "", err
	}
	return "", r.h.local().Notify(ctx, to, bytes.NewReader(text), int64(len(text)))
}
