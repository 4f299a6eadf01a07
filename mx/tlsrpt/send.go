package tlsrpt

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"buzon/internal/smtp"
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

const (
	checkPeriod = 10 * time.Minute
	// maxDelay spreads reports over the hours after midnight (RFC 8460 4.1).
	maxDelay = 4 * time.Hour
	postTime = time.Minute
)

// Run saves what is collected, and tells of each day when it is over, until ctx
// ends.
func (c *Collector) Run(ctx context.Context, s Sending) error {
	delay := rand.N(maxDelay)
	tick := time.NewTicker(checkPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return c.Save()
		case <-tick.C:
		}
		now := c.now().UTC()
		if now.Sub(now.Truncate(24*time.Hour)) >= delay {
			c.Tell(ctx, s)
		}
		if err := c.Save(); err != nil {
			s.Log.Error("TLS results not written", "err", err)
		}
	}
}

// Tell sends the reports of all days that are over. A report that cannot be
// handed over is gone: they are figures, and tomorrow's follow.
func (c *Collector) Tell(ctx context.Context, s Sending) {
	for _, date := range c.past() {
		for _, domain := range c.domains(date) {
			if ctx.Err() != nil {
				return
			}
			if err := c.tell(ctx, s, date, domain); err != nil {
				s.Log.Warn("TLS report not sent", "domain", domain, "date", date, "err", err)
			}
		}
	}
}

func (c *Collector) tell(ctx context.Context, s Sending, date, domain string) error {
	texts, _, err := s.Resolver.TXT(ctx, "_smtp._tls."+domain)
	counts := c.take(date, domain)
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
	r, err := newReport(s.Submitter, s.From.String(), date, domain, counts)
	if err != nil {
		return err
	}
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
			s.Log.Warn("TLS report not sent", "domain", domain, "date", date, "to", u.Redacted(), "err", err)
			continue
		}
		s.Log.Info("TLS report sent", "domain", domain, "date", date, "to", u.Redacted())
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
// that it is about does not work (3, and RFC 8689 5).
func (s Sending) mail(ctx context.Context, to string, r *report, domain string, data []byte) error {
	address, err := smtp.ParseAddress(to)
	if err != nil {
		return err
	}
	now := time.Now()
	boundary := fmt.Sprintf("tlsrpt-%016x", rand.Uint64())
	var b bytes.Buffer
	for _, line := range []string{
		"Date: " + now.UTC().Format(time.RFC1123Z),
		"From: <" + s.From.String() + ">",
		"To: <" + address.String() + ">",
		"Subject: Report Domain: " + domain + " Submitter: " + s.Submitter,
		" Report-ID: <" + r.ID + "@" + s.Submitter + ">",
		fmt.Sprintf("Message-ID: <tlsrpt-%016x@%s>", rand.Uint64(), s.Submitter),
		"TLS-Report-Domain: " + domain,
		"TLS-Report-Submitter: " + s.Submitter,
		"TLS-Required: No",
		"Auto-Submitted: auto-generated",
		"MIME-Version: 1.0",
		`Content-Type: multipart/report; report-type="tlsrpt";`,
		` boundary="` + boundary + `"`,
		"",
		"--" + boundary,
		"Content-Type: text/plain; charset=us-ascii",
		"",
		"This is how TLS went on the way to the mail hosts of " + domain + ",",
		"seen from " + s.Submitter + " (RFC 8460).",
		"",
		"--" + boundary,
		"Content-Type: application/tlsrpt+gzip",
		"Content-Transfer-Encoding: base64",
		`Content-Disposition: attachment; filename="` + r.fileName(s.Submitter, domain) + `"`,
		"",
	} {
		b.WriteString(line + "\r\n")
	}
	text := base64.StdEncoding.EncodeToString(data)
	for len(text) > 0 {
		n := min(len(text), 76)
		b.WriteString(text[:n] + "\r\n")
		text = text[n:]
	}
	b.WriteString("--" + boundary + "--\r\n")
	_, err = s.Spool.Submit(ctx, smtp.Envelope{
		From: s.From, To: []smtp.Recipient{{Address: address, Notify: smtp.NotifyNever}},
		Size: int64(b.Len()), TLS: smtp.TLSOptional,
	}, strings.NewReader(b.String()))
	return err
}
