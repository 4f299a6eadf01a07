package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"buzon/internal/account"
	"buzon/maildir"

	"golang.org/x/term"
)

// maildirCommands work on the files, beside a server or without one.
func maildirCommands() []command {
	return []command{{
		name: "maildir check", operands: "[ADDRESS...]",
		short: "Look for damage in the mail on disk, and repair it",
		long: `
Checks the mail of each ADDRESS, or of all accounts: UID lists, names, sizes,
folders, locks, what crashes left. It prints a line for each thing that is wrong,
with what --repair does about it, and changes nothing.

--repair does only what can harm no message: it sorts flags in names, ends or drops
a half-written last line of a UID list, makes missing directories, and removes dead
locks and files in tmp/ that were given up more than 36 hours ago. It never removes
or changes a message, and never touches what is no message. Most of the rest the
server handles when it opens the mailbox.

This may run beside a server. The exit code is 1 when something is wrong and was
not repaired.`,
		setup: func(fs *flag.FlagSet) runner {
			file := newConfigFlag(fs)
			var c mailCheck
			fs.BoolVar(&c.options.Repair, "repair", false, "repair what can be repaired safely")
			fs.BoolVar(&c.options.Deep, "deep", false, "read every message, too: for files that cannot be read, and the size W= in names")
			fs.BoolVar(&c.verbose, "v", false, "say also what is legal but of interest, such as files without a UID yet")
			return func(ctx context.Context, std streams, operands []string) error {
				c.out, c.progress = std.out, terminal(std.err)
				return withStore(file, std, func(store *maildir.Store, d *account.Directory) error {
					ids, err := checkedAccounts(d, operands)
					if err != nil {
						return err
					}
					for _, id := range ids {
						if err := c.account(ctx, store, id, len(operands) > 0); err != nil {
							return err
						}
					}
					return c.sum(len(ids))
				})
			}
		},
	}}
}

// checkedAccounts are those that were named, or all. A removed account's mail can
// be checked by its name.
func checkedAccounts(d *account.Directory, operands []string) (ids []account.ID, err error) {
	for _, address := range operands {
		id, err := account.ParseID(address)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", address, err)
		}
		ids = append(ids, id)
	}
	if len(operands) == 0 {
		for _, a := range d.List() {
			ids = append(ids, a.ID)
		}
	}
	return ids, nil
}

// terminal returns w when it is a terminal, else nil.
func terminal(w io.Writer) io.Writer {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return w
	}
	return nil
}

// mailCheck is a check of accounts and what it came to.
type mailCheck struct {
	options  maildir.CheckOptions
	verbose  bool
	out      io.Writer
	progress io.Writer // a terminal, or nil

	wrong, repaired int
	onLine          bool // progress is shown
}

// account checks one account. Without a tree, it never had mail: that is wrong only
// when it was named.
func (c *mailCheck) account(ctx context.Context, store *maildir.Store, id account.ID, named bool) error {
	v, err := store.Visit(string(id))
	if errors.Is(err, maildir.ErrNotFound) {
		if named {
			return fmt.Errorf("there is no mail of %s", id)
		}
		return nil
	}
	if err != nil {
		c.wrong++
		_, err = fmt.Fprintln(c.out, err)
		return err
	}
	if c.progress != nil {
		c.options.Progress = func(mailbox string, files int) {
			c.onLine = true
			fmt.Fprintf(c.progress, "\r\x1b[K%s %s: %d files", id, printable(mailbox, 40), files)
		}
	}
	var failed error
	err = v.Check(ctx, c.options, func(f maildir.Finding) {
		if e := c.finding(id, f); failed == nil {
			failed = e
		}
	})
	c.clear()
	return errors.Join(err, failed, v.Close())
}

// clear takes the progress off the terminal.
func (c *mailCheck) clear() {
	if c.onLine {
		fmt.Fprint(c.progress, "\r\x1b[K")
		c.onLine = false
	}
}

func (c *mailCheck) finding(id account.ID, f maildir.Finding) error {
	switch {
	case f.Note && !c.verbose:
		return nil
	case f.Note:
	case f.Mended:
		c.repaired++
	default:
		c.wrong++
	}
	c.clear()
	where := strings.Join(strings.Fields(printable(f.Mailbox, 250)), " ")
	if f.File != "" {
		where = strings.TrimSpace(where + " " + printable(f.File, 300))
	}
	line := fmt.Sprintf("%s %s: %s", id, where, f.Problem)
	switch {
	case f.Err != nil:
		line += fmt.Sprintf(" (not repaired, %s: %v)", f.Remedy, f.Err)
	case f.Mended:
		line += fmt.Sprintf(" (repaired: %s)", f.Remedy)
	case f.Remedy != "":
		line += fmt.Sprintf(" (--repair: %s)", f.Remedy)
	}
	_, err := fmt.Fprintln(c.out, printable(line, 2000))
	return err
}

// sum says what it came to; the error is for the exit code.
func (c *mailCheck) sum(accounts int) error {
	what := fmt.Sprintf("%d accounts", accounts)
	if accounts == 1 {
		what = "1 account"
	}
	if c.repaired > 0 {
		what += fmt.Sprintf(", %d repaired", c.repaired)
	}
	if c.wrong > 0 {
		return fmt.Errorf("checked %s: wrong: %d", what, c.wrong)
	}
	_, err := fmt.Fprintf(c.out, "checked %s: all is well\n", what)
	return err
}
