package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	gomessage "github.com/emersion/go-message"
	"github.com/emersion/go-msgauth/authres"

	"buzon/internal/account"
	"buzon/internal/message"
	"buzon/internal/smtp"
	"buzon/mx/dmarc"
)

func reportCommand() command {
	return command{
		name: "report", operands: "[FILE...]",
		short: "Show the DMARC and TLS reports that others have sent",
		long: `
Without a FILE it looks for reports in the mailboxes of whoever reads mail for
postmaster. A FILE is a message, or what was attached to one: XML, JSON, gzip
or ZIP.

What cannot be read is named, and the rest is shown. The exit code is then 1 if
it was a FILE, and 0 if it lay in a mailbox, where anybody may put anything.

A report in a mailbox whose message is not shown by DKIM to be from its author's
domain (RFC 8460 3, RFC 9990 3.5.2) is marked as unproven.`,
		setup: func(fs *flag.FlagSet) runner {
			file := newConfigFlag(fs)
			return func(_ context.Context, std streams, operands []string) error {
				if len(operands) > 0 {
					return showReports(std, operands, "")
				}
				return withAccounts(file, std, func(cfg *config, d *account.Directory) error {
					files, err := postmasterMail(cfg, d)
					if err != nil {
						return err
					}
					return showReports(std, files, cfg.Hostname)
				})
			}
		},
	}
}

// postmasterMail names the messages of the accounts that get postmaster's mail.
func postmasterMail(cfg *config, d *account.Directory) (files []string, err error) {
	seen := map[account.ID]bool{}
	for _, domain := range cfg.Domains {
		targets, err := d.Resolve(smtp.Address{Local: "postmaster", Domain: domain})
		if err != nil {
			continue // nobody yet
		}
		for _, t := range targets {
			if seen[t.Account] {
				continue
			}
			seen[t.Account] = true
			root := cfg.path("mail", t.Account.Domain(), t.Account.User(), "Maildir")
			err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
				if err != nil || !e.Type().IsRegular() {
					return nil // it was moved meanwhile
				}
				if dir := filepath.Base(filepath.Dir(path)); dir == "new" || dir == "cur" {
					files = append(files, path)
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
		}
	}
	return files, nil
}

const (
	maxReportFile  = 20 << 20 // bytes of a message or file that is looked at
	maxReportParts = 20       // parts of a message
)

// showReports writes the reports in files that were named by hand, or in those of
// mailboxes: then hostname is ours, and those without any are passed over.
func showReports(std streams, files []string, hostname string) error {
	quiet := hostname != ""
	shown := 0
	var errs []error
	for _, name := range files {
		data, err := readLimited(name, maxReportFile)
		if err != nil {
			if !quiet || !errors.Is(err, os.ErrNotExist) && !strings.Contains(err.Error(), "larger") {
				errs = append(errs, err)
			}
			continue
		}
		if quiet && !looksLikeReport(data) {
			continue
		}
		n, err := showReport(std.out, data)
		if n > 0 && quiet && !provenReport(data, hostname) {
			fmt.Fprintln(std.out, "  unproven: DKIM does not show that its message is from its author's domain")
		}
		shown += n
		switch {
		case err != nil && quiet:
			fmt.Fprintf(std.err, "%s: %v\n", name, err)
		case err != nil || n == 0 && !quiet:
			errs = append(errs, fmt.Errorf("%s: %w", name, cmp.Or(err, errNoReport)))
		}
	}
	if shown == 0 && len(errs) == 0 {
		fmt.Fprintln(std.out, "no reports have come")
	}
	return errors.Join(errs...)
}

var errNoReport = errors.New("no DMARC or TLS report")

// looksLikeReport saves the trouble with ordinary mail: RFC 9990 and RFC 8460
// fix these words.
func looksLikeReport(data []byte) bool {
	head := data[:min(len(data), 64<<10)]
	for _, word := range []string{"Report Domain:", "report domain:", "Report-ID:", "tlsrpt+"} {
		if bytes.Contains(head, []byte(word)) {
			return true
		}
	}
	return false
}

// provenReport reports whether a message that this host has taken was signed by
// its author's domain: what we have written on top of it then says so.
func provenReport(data []byte, hostname string) bool {
	h, err := message.ReadHeader(bufio.NewReader(bytes.NewReader(data)), message.HeaderLimits{})
	if err != nil {
		return false
	}
	author, _ := message.AuthorDomain(h)
	for _, value := range h.Values("Authentication-Results") {
		id, results, err := authres.Parse(value)
		if err != nil || !strings.EqualFold(id, hostname) { // of others; ours that were forged are not there
			continue
		}
		for _, r := range results {
			d, ok := r.(*authres.DKIMResult)
			if ok && d.Value == authres.ResultPass && author != "" &&
				(strings.EqualFold(d.Domain, author) || strings.HasSuffix(strings.ToLower(author), "."+strings.ToLower(d.Domain))) {
				return true
			}
		}
	}
	return false
}

// showReport writes every report that a message or attachment holds.
func showReport(w io.Writer, data []byte) (shown int, err error) {
	for _, part := range attachments(data) {
		text, expandErr := dmarc.Expand(part)
		if expandErr != nil {
			err = errors.Join(err, expandErr)
			continue
		}
		switch trimmed := bytes.TrimLeft(text, "\xef\xbb\xbf \t\r\n"); {
		case bytes.HasPrefix(trimmed, []byte("<")) && bytes.Contains(trimmed, []byte("<feedback")):
			f, readErr := dmarc.ReadFeedback(trimmed)
			if readErr != nil {
				err = errors.Join(err, readErr)
				continue
			}
			shown++
			showFeedback(w, f)
		case bytes.HasPrefix(trimmed, []byte("{")) && bytes.Contains(trimmed, []byte("organization-name")):
			var r tlsFeedback
			if jsonErr := json.Unmarshal(trimmed, &r); jsonErr != nil {
				err = errors.Join(err, jsonErr)
				continue
			}
			shown++
			r.show(w)
		}
	}
	return shown, err
}

// attachments returns the decoded leaves of a message, or the data itself when
// it is none.
func attachments(data []byte) [][]byte {
	trimmed := bytes.TrimLeft(data, "\xef\xbb\xbf \t\r\n")
	for _, magic := range []string{"<", "{", "PK\x03\x04", "\x1f\x8b"} {
		if bytes.HasPrefix(trimmed, []byte(magic)) {
			return [][]byte{data}
		}
	}
	entity, err := gomessage.Read(bytes.NewReader(data))
	if entity == nil || err != nil && !gomessage.IsUnknownCharset(err) && !gomessage.IsUnknownEncoding(err) {
		return nil
	}
	var parts [][]byte
	_ = entity.Walk(func(path []int, e *gomessage.Entity, err error) error {
		if len(path) > 5 || len(parts) > maxReportParts {
			return io.EOF
		}
		if kind, _, _ := e.Header.ContentType(); e == nil || strings.HasPrefix(kind, "multipart/") {
			return nil
		}
		if body, err := io.ReadAll(io.LimitReader(e.Body, maxReportFile)); err == nil {
			parts = append(parts, body)
		}
		return nil
	})
	return parts
}

func showFeedback(w io.Writer, f *dmarc.Feedback) {
	fmt.Fprintf(w, "DMARC report of %s about %s, %s to %s, policy %s\n", printableText(f.Organization), printableText(f.Domain),
		dmarc.Time(f.Begin).Format("2006-01-02 15:04"), dmarc.Time(f.End).Format("2006-01-02 15:04"), printableText(f.Policy))
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "  ADDRESS\tMESSAGES\tDKIM\tSPF\tDONE\tFROM\tENVELOPE")
	for _, r := range f.Rows {
		fmt.Fprintf(t, "  %s\t%d\t%s\t%s\t%s\t%s\t%s\n", printableText(r.IP), r.Count, printableText(r.DKIM), printableText(r.SPF),
			printableText(r.Disposition), printableText(r.HeaderFrom), printableText(r.EnvelopeFrom))
	}
	t.Flush()
}

// tlsFeedback is a TLS report that somebody has sent us, RFC 8460 4.4.
type tlsFeedback struct {
	Organization string `json:"organization-name"`
	DateRange    struct {
		Start string `json:"start-datetime"`
		End   string `json:"end-datetime"`
	} `json:"date-range"`
	Policies []struct {
		Policy struct {
			Type   string `json:"policy-type"`
			Domain string `json:"policy-domain"`
		} `json:"policy"`
		Summary struct {
			Good int64 `json:"total-successful-session-count"`
			Bad  int64 `json:"total-failure-session-count"`
		} `json:"summary"`
		Failures []struct {
			Result string `json:"result-type"`
			Host   string `json:"receiving-mx-hostname"`
			Count  int64  `json:"failed-session-count"`
		} `json:"failure-details"`
	} `json:"policies"`
}

func (r *tlsFeedback) show(w io.Writer) {
	fmt.Fprintf(w, "TLS report of %s, %s to %s\n", printableText(r.Organization), printableText(r.DateRange.Start), printableText(r.DateRange.End))
	for _, p := range r.Policies {
		fmt.Fprintf(w, "  %s (%s): %d sessions succeeded, %d failed\n", printableText(p.Policy.Domain), printableText(p.Policy.Type), p.Summary.Good, p.Summary.Bad)
		for _, f := range p.Failures {
			fmt.Fprintf(w, "    %d × %s at %s\n", f.Count, printableText(f.Result), printableText(f.Host))
		}
	}
}
