package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"buzon/internal/account"
	"buzon/internal/message"
	"buzon/internal/size"
	"buzon/maildir"
)

// undeleteCommand works on the files; a running server sees them come back.
func undeleteCommand() command {
	return command{
		name: "undelete", operands: "ADDRESS",
		short: "Put expunged messages of an account back",
		long: `
Expunged messages are kept for as many days as limits.undelete_days says; without
it there is nothing to put back. They go to the mailboxes where they were, or to
INBOX where the mailbox is gone, as new messages with their old flags. Without a
flag that chooses, all that are kept go back; --list shows them first.

This works beside a running server, whose clients see the messages at once.`,
		setup: func(fs *flag.FlagSet) runner {
			file := newConfigFlag(fs)
			var c expungedChoice
			fs.Func("day", "only what was expunged on `DAY`, UTC, like 2026-01-31", c.setDay)
			fs.StringVar(&c.mailbox, "mailbox", "", "only what was in `MAILBOX`, like Archive/2025")
			fs.StringVar(&c.file, "file", "", "only the message with this `NAME`, as --list shows it")
			list := fs.Bool("list", false, "show the messages and put nothing back")
			asJSON := fs.Bool("json", false, "with --list, write JSON")
			return func(ctx context.Context, std streams, operands []string) error {
				if *asJSON && !*list {
					return usageError{"buzon undelete", "--json goes with --list"}
				}
				return withMail(file, std, operands[0], func(v *maildir.Visitor, id account.ID) error {
					if *list {
						return listExpunged(ctx, std, v, c, *asJSON)
					}
					n, err := v.Undelete(ctx, c.accepts)
					if n > 0 || err == nil {
						fmt.Fprintf(std.out, "put %s of %s back\n", messages(n), id)
					}
					if n == 0 && err == nil {
						return errors.New("nothing is kept that fits: buzon undelete --list " + string(id) + " shows what is kept")
					}
					return err
				})
			}
		},
	}
}

// expungedChoice says which of the kept messages are meant; "" is any.
type expungedChoice struct{ day, mailbox, file string }

func (c *expungedChoice) setDay(s string) error {
	if _, err := time.Parse(time.DateOnly, s); err != nil {
		return fmt.Errorf("%q is not a day: write it like 2026-01-31", s)
	}
	c.day = s
	return nil
}

func (c *expungedChoice) accepts(e maildir.Expunged) bool {
	sameMailbox := c.mailbox == e.Mailbox || e.Mailbox == "INBOX" && strings.EqualFold(c.mailbox, "INBOX")
	return (c.day == "" || c.day == e.Day) && (c.mailbox == "" || sameMailbox) && (c.file == "" || c.file == e.File)
}

func messages(n int) string {
	if n == 1 {
		return "1 message"
	}
	return fmt.Sprintf("%d messages", n)
}

// withMail calls f with the mail of an account, which may have been removed.
func withMail(file configFlag, std streams, address string, f func(*maildir.Visitor, account.ID) error) error {
	id, err := account.ParseID(address)
	if err != nil {
		return fmt.Errorf("%q: %w", address, err)
	}
	return withStore(file, std, func(store *maildir.Store, _ *account.Directory) error {
		v, err := store.Visit(string(id))
		if errors.Is(err, maildir.ErrNotFound) {
			return fmt.Errorf("there is no mail of %s", id)
		}
		if err != nil {
			return err
		}
		return errors.Join(f(v, id), v.Close())
	})
}

// withStore calls f with the mail of all accounts, beside the server that may be
// running.
func withStore(file configFlag, std streams, f func(*maildir.Store, *account.Directory) error) error {
	return withAccounts(file, std, func(cfg *config, d *account.Directory) error {
		log := slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: slog.LevelError}))
		store, err := maildir.Open(maildir.Config{Mail: cfg.path("mail"), Host: cfg.Hostname, Log: log})
		if err != nil {
			return err
		}
		return errors.Join(f(store, d), store.Close())
	})
}

func listExpunged(ctx context.Context, std streams, v *maildir.Visitor, c expungedChoice, asJSON bool) error {
	type row struct {
		Day     string `json:"day"`
		Mailbox string `json:"mailbox"`
		Size    int64  `json:"size"` // bytes
		From    string `json:"from"`
		Subject string `json:"subject"`
		File    string `json:"file"`
	}
	kept, err := v.Expunged(ctx)
	if err != nil {
		return err
	}
	rows := []row{}
	for _, e := range kept {
		if c.accepts(e) {
			from, subject := expungedHeader(v, e)
			rows = append(rows, row{e.Day, e.Mailbox, e.Size, from, subject, e.File})
		}
	}
	if asJSON {
		return json.NewEncoder(std.out).Encode(rows)
	}
	w := tabwriter.NewWriter(std.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "DAY\tMAILBOX\tSIZE\tFROM\tSUBJECT\tFILE")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Day, printable(r.Mailbox, 40), size.Bytes(r.Size),
			printable(r.From, 30), printable(r.Subject, 50), printable(r.File, 255))
	}
	return w.Flush()
}

// expungedHeader tells of whom and about what a kept message is, as far as its
// header says it.
func expungedHeader(v *maildir.Visitor, e maildir.Expunged) (from, subject string) {
	f, err := v.OpenExpunged(e)
	if err != nil {
		return "", ""
	}
	defer f.Close()
	const most = 64 << 10 // where the fields are that people know
	start, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return "", ""
	}
	h := message.ParseHeader(start)
	return message.DecodeHeader(h.Get("From")), message.DecodeHeader(h.Get("Subject"))
}

// printable cuts foreign text to at most n characters that do a terminal no harm.
func printable(s string, n int) string {
	runes := []rune(strings.TrimSpace(s))
	for i, r := range runes {
		if !unicode.IsPrint(r) {
			runes[i] = '?'
		}
	}
	if len(runes) > n {
		runes = append(runes[:n-1], '…')
	}
	return string(runes)
}
