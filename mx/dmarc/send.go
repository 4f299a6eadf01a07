package dmarc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"

	"buzon/internal/smtp"
	"buzon/mx/daily"
	"buzon/mx/dns"
)

// A Spool takes messages over, for our own users and for others.
type Spool interface {
	Submit(ctx context.Context, env smtp.Envelope, msg io.Reader) (id string, err error)
}

// Sending is who sends reports, and how.
type Sending struct {
	Resolver  Resolver
	Spool     Spool
	Submitter string       // the domain that reports come from
	From      smtp.Address // of reports, at Submitter, whose signature they get
	Generator string       // our program's name and version
	Log       *slog.Logger
}

// Run saves what is collected, and reports each day when it is over, until ctx
// ends.
func (c *Collector) Run(ctx context.Context, s Sending) error {
	return c.book.Run(ctx, s.Submitter, s.Log, s.tell)
}

// maxLetter is what common hosts take, in bytes.
const maxLetter = 10 << 20

// tell sends the report about a Policy Domain and a day to where its owner
// wants it by now. The error is temporary.
func (s Sending) tell(ctx context.Context, day daily.Day, domain string, f *figures) error {
	here := lookup(ctx, s.Resolver, domain)
	switch {
	case here.err != nil:
		return here.err
	case !here.found || len(f.Rows) == 0:
		return nil
	}
	to, err := destinations(ctx, s.Resolver, domain, here.record.Reports, func(d Destination, err error) {
		s.Log.Info("DMARC report not sent", "domain", domain, "day", string(day), "to", d.Address, "err", err)
	})
	if err != nil {
		return err
	}
	a := newAggregate(s.Submitter, s.From.String(), s.Generator, day, domain, f)
	text, err := a.text()
	if err != nil {
		return err
	}
	file := daily.Compressed(text)
	var errs []error
	sent := 0
	for _, d := range to {
		var reply *smtp.Reply
		switch size, err := s.mail(ctx, d, a, file); {
		case errors.As(err, &reply) && reply.Permanent():
			s.Log.Info("DMARC report not sent", "domain", domain, "day", string(day), "to", d.Address, "err", err)
		case err != nil:
			errs = append(errs, err)
		case size > 0:
			s.Log.Info("DMARC report not sent", "domain", domain, "day", string(day), "to", d.Address, "size", size, "err", errTooLong)
		default:
			sent++
			s.Log.Info("DMARC report sent", "domain", domain, "day", string(day), "to", d.Address)
		}
	}
	if sent > 0 { // whoever has it shall not get it again
		return nil
	}
	return errors.Join(errs...)
}

var errTooLong = errors.New("the report is larger than is taken there")

// mail sends a report, RFC 9990 3.5.2; tooLong is its size where it is not sent
// for that. It has the null reverse-path: nobody answers it, and a report that
// cannot be delivered ends there.
func (s Sending) mail(ctx context.Context, d Destination, a *aggregate, file []byte) (tooLong int64, err error) {
	address, err := smtp.ParseAddress(d.Address)
	if err != nil {
		return 0, err
	}
	msg := daily.Letter{
		From: s.From.String(), To: address.String(), ID: a.Metadata.ID,
		Subject: "Report Domain: " + a.Policy.Domain + "\r\n Submitter: " + s.Submitter + "\r\n Report-ID: <" + a.Metadata.ID + ">",
		Kind:    "multipart/mixed",
		Words: "This is what " + s.Submitter + " got as mail from " + a.Policy.Domain + " on one day,\n" +
			"and what SPF, DKIM and DMARC said of it (RFC 9990).\n",
		FileType: "application/gzip", FileName: a.fileName(), File: file,
	}.Bytes()
	if n := int64(len(msg)); n > maxLetter || d.Limit > 0 && n > d.Limit {
		return n, nil
	}
	_, err = s.Spool.Submit(ctx, smtp.Envelope{
		To: []smtp.Recipient{{Address: address}}, UTF8: address.NeedsUTF8(), EightBit: address.NeedsUTF8(), Size: int64(len(msg)),
	}, bytes.NewReader(msg))
	return 0, err
}

var (
	errNotAllowed = errors.New("its domain does not say that it takes reports about this one")
	errElsewhere  = errors.New("its domain wants them at another one")
)

// destinations are the addresses that a record of a Policy Domain names, without
// those elsewhere that have not agreed (RFC 9990 4), of which refused is told.
// The error is temporary.
func destinations(ctx context.Context, r Resolver, domain string, wanted []Destination, refused func(Destination, error)) ([]Destination, error) {
	var out []Destination
	home, err := Organizational(ctx, r, domain)
	if err != nil {
		return nil, err
	}
	for _, d := range wanted {
		host, err := dns.Name(d.Address[strings.LastIndexByte(d.Address, '@')+1:])
		if err != nil {
			refused(d, err)
			continue
		}
		org, err := Organizational(ctx, r, host)
		if err != nil {
			return nil, err
		}
		agreed := []Destination{d}
		if org != home {
			if agreed, err = external(ctx, r, domain, host, d); err != nil {
				if !errors.Is(err, errNotAllowed) && !errors.Is(err, errElsewhere) {
					return nil, err
				}
				refused(d, err)
				continue
			}
		}
		for _, d := range agreed {
			if !slices.ContainsFunc(out, func(o Destination) bool { return strings.EqualFold(o.Address, d.Address) }) && len(out) < maxReports {
				out = append(out, d)
			}
		}
	}
	return out, nil
}

// external asks whether a host elsewhere takes reports about a Policy Domain,
// and where.
func external(ctx context.Context, r Resolver, domain, host string, d Destination) ([]Destination, error) {
	name, err := dns.Name(domain + "._report._dmarc." + host)
	if err != nil {
		return nil, errNotAllowed // longer than a name may be
	}
	texts, _, err := r.TXT(ctx, name)
	if err != nil && !dns.NotFound(err) {
		return nil, err
	}
	allowed := false
	var instead []Destination
	for _, text := range texts {
		if len(text) > maxRecord || !isPolicy(text) {
			continue
		}
		allowed = true
		instead = append(instead, reportAddresses(tagsOf(text)["rua"])...)
	}
	switch {
	case !allowed:
		return nil, errNotAllowed
	case len(instead) == 0:
		return []Destination{d}, nil
	}
	for _, i := range instead {
		if other, err := dns.Name(i.Address[strings.LastIndexByte(i.Address, '@')+1:]); err != nil || other != host {
			return nil, errElsewhere
		}
	}
	return instead, nil
}
