package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"text/tabwriter"

	"buzon/internal/account"
	"buzon/internal/size"
)

// accountCommands work on the files; a running server is told to look.
func accountCommands() []command {
	return []command{
		{
			name: "account add", operands: "ADDRESS",
			short: "Make an account",
			long: `
ADDRESS is the address that the account has and logs in with. Its domain must
be one of the configuration's domains.
` + passwordHelp,
			setup: func(fs *flag.FlagSet) runner {
				file, passwords := newConfigFlag(fs), newPasswordFlags(fs)
				var quota size.Bytes
				fs.Func("quota", "keep at most `SIZE` of mail, like \"2 GiB\" (default: the configuration's)", func(s string) error {
					return quota.UnmarshalText([]byte(s))
				})
				return func(ctx context.Context, std streams, operands []string) error {
					return changeAccount(ctx, file, std, operands[0], func(d *account.Directory, id account.ID) error {
						// Refused before the password is asked for.
						if _, exists := d.Lookup(id); exists {
							return fmt.Errorf("account %s %w: buzon account password %s changes its password", id, account.ErrExists, id)
						}
						if err := d.CanAdd(id); err != nil {
							return err
						}
						password, err := passwords.read(std, id)
						if err != nil {
							return err
						}
						if err := d.Add(ctx, id, password, int64(quota)); err != nil {
							return err
						}
						_, err = fmt.Fprintf(std.out, "added %s\n", id)
						return err
					})
				}
			},
		},
		{
			name:  "account list",
			short: "List the accounts",
			setup: func(fs *flag.FlagSet) runner {
				file := newConfigFlag(fs)
				asJSON := fs.Bool("json", false, "write JSON")
				return func(ctx context.Context, std streams, _ []string) error {
					return withAccounts(file, std, func(_ *config, d *account.Directory) error {
						return listAccounts(std, d.List(), *asJSON)
					})
				}
			},
		},
		{
			name: "account password", operands: "ADDRESS",
			short: "Change the password of an account",
			long: `
Whoever is logged in with the old password is logged out within a minute.
` + passwordHelp,
			setup: func(fs *flag.FlagSet) runner {
				file, passwords := newConfigFlag(fs), newPasswordFlags(fs)
				return func(ctx context.Context, std streams, operands []string) error {
					return changeAccount(ctx, file, std, operands[0], func(d *account.Directory, id account.ID) error {
						if _, exists := d.Lookup(id); !exists {
							return fmt.Errorf("account %s: %w", id, account.ErrNotFound)
						}
						password, err := passwords.read(std, id)
						if err != nil {
							return err
						}
						if err := d.SetPassword(ctx, id, password); err != nil {
							return err
						}
						_, err = fmt.Fprintf(std.out, "changed the password of %s\n", id)
						return err
					})
				}
			},
		},
		disableCommand("account disable", true, "Forbid an account to log in, and keep taking its mail", `
Whoever is logged in is logged out within a minute. Mail for the account is still
accepted; buzon account remove refuses it, too.`),
		disableCommand("account enable", false, "Allow an account to log in again", ""),
		{
			name: "account remove", operands: "ADDRESS",
			short: "Remove an account and keep its mail",
			long: `
Nobody can log in any more and new mail is refused. The mail stays in the data
directory; whoever is sure can remove it there. Aliases that lead to the
account lose it.`,
			setup: func(fs *flag.FlagSet) runner {
				file := newConfigFlag(fs)
				return func(ctx context.Context, std streams, operands []string) error {
					cfg, err := file.load()
					if err != nil {
						return err
					}
					return changeAccount(ctx, file, std, operands[0], func(d *account.Directory, id account.ID) error {
						if err := d.Remove(ctx, id); err != nil {
							return err
						}
						_, err := fmt.Fprintf(std.out, "removed %s; its mail is still in %s\n", id, cfg.path("mail", id.Domain(), id.User()))
						return err
					})
				}
			},
		},
	}
}

// disableCommand is "account disable" or its opposite.
func disableCommand(name string, disabled bool, short, long string) command {
	return command{
		name: name, operands: "ADDRESS", short: short, long: long,
		setup: func(fs *flag.FlagSet) runner {
			file := newConfigFlag(fs)
			return func(ctx context.Context, std streams, operands []string) error {
				return changeAccount(ctx, file, std, operands[0], func(d *account.Directory, id account.ID) error {
					if err := d.SetDisabled(ctx, id, disabled); err != nil {
						return err
					}
					done := "enabled"
					if disabled {
						done = "disabled"
					}
					_, err := fmt.Fprintf(std.out, "%s %s\n", done, id)
					return err
				})
			}
		},
	}
}

// withAccounts calls f with the accounts, as the user that owns them.
func withAccounts(file configFlag, std streams, f func(*config, *account.Directory) error) error {
	cfg, err := file.load()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: slog.LevelError}))
	if err := makeData(cfg.Data); err != nil {
		return err
	}
	if err := becomeOwner(cfg.Data, log); err != nil {
		return err
	}
	accountCfg := cfg.accountConfig()
	accountCfg.Log = log
	d, err := account.Open(accountCfg)
	if err != nil {
		return err
	}
	return errors.Join(f(cfg, d), d.Close())
}

// changeAccount calls f to change an account, and then lets a running server
// know. Without one, or when it does not hear, the files are enough.
func changeAccount(ctx context.Context, file configFlag, std streams, address string, f func(*account.Directory, account.ID) error) error {
	id, err := account.ParseID(address)
	if err != nil {
		return fmt.Errorf("%q: %w", address, err)
	}
	return withAccounts(file, std, func(cfg *config, d *account.Directory) error {
		if err := f(d, id); err != nil {
			return err
		}
		return tellServer(ctx, cfg)
	})
}

// tellServer makes a change count at once. The server would find it by itself
// within a second or two.
func tellServer(ctx context.Context, cfg *config) error {
	err := newControlClient(cfg).call(ctx, "POST", "/accounts/reload", nil)
	if errors.Is(err, errNotRunning) {
		return nil
	}
	return err
}

func listAccounts(std streams, list []account.Account, asJSON bool) error {
	type row struct {
		Address  account.ID `json:"address"`
		Disabled bool       `json:"disabled"`
		Quota    int64      `json:"quota"` // bytes; 0: the default
		Created  string     `json:"created,omitempty"`
	}
	rows := make([]row, len(list))
	for i, a := range list {
		rows[i] = row{a.ID, a.Disabled, a.Quota, ""}
		if !a.Created.IsZero() {
			rows[i].Created = a.Created.UTC().Format("2006-01-02T15:04:05Z")
		}
	}
	if asJSON {
		return json.NewEncoder(std.out).Encode(rows)
	}
	w := tabwriter.NewWriter(std.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ADDRESS\tSTATE\tQUOTA\tCREATED")
	for _, r := range rows {
		state, quota := "active", "default"
		if r.Disabled {
			state = "disabled"
		}
		if r.Quota > 0 {
			quota = size.Bytes(r.Quota).String()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.Address, state, quota, r.Created)
	}
	return w.Flush()
}
