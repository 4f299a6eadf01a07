package main

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"

	"github.com/emersion/go-imap/v2/imapclient"

	"buzon/internal/account"
	"buzon/internal/migrate"
)

// exportCommands write an account's mail for other programs.
func exportCommands() []command {
	export := func(name, short, long string, target func(dir string) migrate.Target) command {
		return command{
			name: "export " + name, operands: "ADDRESS DIRECTORY", short: short, long: long,
			setup: func(fs *flag.FlagSet) runner {
				file := newConfigFlag(fs)
				return func(ctx context.Context, std streams, operands []string) error {
					dir, err := filepath.Abs(operands[1])
					if err != nil {
						return err
					}
					return withAccountIMAP(ctx, file, std, operands[0], func(_ *config, id account.ID, client *imapclient.Client) error {
						progress := newProgress(std.err)
						res, err := migrate.Export(ctx, migrate.IMAP{Client: client}, target(dir), progress)
						progress.end()
						if err == nil {
							_, err = fmt.Fprintf(std.out, "%s: %s of %d mailboxes in %s\n", id, messages(res.New), res.Mailboxes, dir)
						}
						return err
					})
				}
			},
		}
	}
	return []command{
		export("mbox", "Write the mail of an account as mbox files", `
Each mailbox becomes a file below DIRECTORY, like Archive/2025.mbox, in the form
mboxrd, with flags in the fields Status, X-Status and X-Keywords. DIRECTORY must be
one that the user that runs buzon may write to. Files that exist are not touched.`,
			func(dir string) migrate.Target { return &migrate.MboxTarget{Dir: dir} }),
		export("maildir", "Write the mail of an account as Maildirs", `
DIRECTORY becomes a Maildir with INBOX, its folders are beside it as in Maildir++:
DIRECTORY/.Archive.2025. It must be one that the user that runs buzon may write to;
a Maildir with messages in it is not touched.`,
			func(dir string) migrate.Target { return &migrate.MaildirTarget{Dir: dir} }),
	}
}
