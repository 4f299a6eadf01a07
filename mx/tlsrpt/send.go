package tlsrpt

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"buzon/internal/smtp"
	"buzon/mx/daily"
	"buzon/mx/dns"
)

// A Resolver knows the domain name system; *dns.Client is one.
type Resolver interface {
	TXT(ctx context.Context, name string) ([]string, dns.Answer, error)
}

// A Spool takes messages over; it is the queue.
type Spool interface {
	Submit(ctx context.Context, env smtp.Envelope, msg io.Reader) (id string, err error)
}

// Sending is who tells, and how.
type Sending struct {
	Resolver  Resolver
	Spool     Spool
	Submitter string       // the domain that reports come from
	From      smtp.Address // of reports by mail
	HTTP      *http.Client // for reports by https; nil: none are sent that way
	Log       *slog.Logger
}

const postTime = time.Minute

// Run saves what is collected, and tells of each day when it is over, until ctx
// ends.
func (c *Collector) Run(ctx context.Context, s Sending) error {
	return c.book.Run(ctx, s.Submitter, s.Log, s.tell)
}

// tell sends the report about a day to where its domain wants it. One that
// cannot be handed over is gone: these are figures, and tomorrow's follow.
func (s Sending) tell(ctx context.Context, day daily.Day, domain string, f *figures) error {
	texts, _, err := s.Resolver.TXT(ctx, "_smtp._tls."+domain)
	if dns.NotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	rua := parseRecord(texts)
	if len(rua) == 0 {
		return nil
	}
	r := newReport(s.Submitter, s.From.String(), day, domain, f.Policies)
	data, err := r.compressed()
	if err != nil {
		return err
	}
	for _, u := range rua { // each of them gets it, RFC 8460 3
		if u.Scheme == "https" {
			err = s.post(ctx, u, data)
		} else {
			err = s.mail(ctx, mailAddress(u), r, domain, data)
		}
		if err != nil {
			s.Log.Warn("TLS report not sent", "domain", domain, "day", string(day), "to", u.Redacted(), "err", err)
			continue
		}
		s.Log.Info("TLS report sent", "domain", domain, "day", string(day), "to", u.Redacted())
	}
	return nil
}

// post sends a report by HTTPS, RFC 8460 5.2.
func (s Sending) post(ctx context.Context, u *url.URL, data []byte) error {
	if s.HTTP == nil {
		return fmt.Errorf("no HTTPS")
	}
	ctx, cancel := context.WithTimeout(ctx, postTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/tlsrpt+gzip")
	res, err := s.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("answered %s", res.Status)
	}
	return nil
}

// mail sends a report by mail, RFC 8460 5.3. It must arrive even where the TLS
// that it is about does not work (3, and RFC 8689 5). From the null
// reverse-path nobody answers it.
func (s Sending) mail(ctx context.Context, to string, r *report, domain string, data []byte) error {
	address, err := smtp.ParseAddress(to)
	if err != nil {
		return err
	}
	msg := daily.Letter{
		From: s.From.String(), To: address.String(), Host: s.Submitter,
		Subject: "Report Domain: " + domain + " Submitter: " + s.Submitter + "\r\n Report-ID: <" + r.ID + "@" + s.Submitter + ">",
		Fields:  []daily.Field{{Name: "TLS-Report-Domain", Value: domain}, {Name: "TLS-Report-Submitter", Value: s.Submitter}, {Name: "TLS-Required", Value: "No"}},
		Kind:    `multipart/report; report-type="tlsrpt"`,
		Words: "This is how TLS went on the way to the mail hosts of " + domain + ",\n" +
			"seen from " + s.Submitter + " (RFC 8460).\n",
		FileType: "application/tlsrpt+gzip", FileName: r.fileName(s.Submitter, domain), File: data,
	}.Bytes()
	_, err = s.Spool.Submit(ctx, smtp.Envelope{
		To: []smtp.Recipient{{Address: address}}, Size: int64(len(msg)), TLS: smtp.TLSOptional,
	}, bytes.NewReader(msg))
	return err
}
