package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"text/tabwriter"
	"time"

	"buzon/internal/account"
)

// appPasswordCommands are about passwords for single devices.
func appPasswordCommands() []command {
	return []command{
		{
			name: "account app-password add", operands: "ADDRESS NAME",
			short: "Make a password for one device of an account",
			long: `
NAME is the device or program, like phone or laptop.mutt. The password is printed,
this once. It opens what the account's own password opens, and can be taken back
without changing anything on other devices.`,
			setup: func(fs *flag.FlagSet) runner {
				file := newConfigFlag(fs)
				return func(ctx context.Context, std streams, operands []string) error {
					return changeAccount(ctx, file, std, operands[0], func(d *account.Directory, id account.ID) error {
						password, err := d.AddAppPassword(ctx, id, operands[1])
						if err != nil {
							return err
						}
						_, err = fmt.Fprintf(std.out, "password of %s for %s: %s\n", id, operands[1], password)
						return err
					})
				}
			},
		},
		{
			name: "account app-password list", operands: "ADDRESS",
			short: "List the app passwords of an account, with their last use",
			setup: func(fs *flag.FlagSet) runner {
				file := newConfigFlag(fs)
				asJSON := fs.Bool("json", false, "write JSON")
				return func(_ context.Context, std streams, operands []string) error {
					id, err := account.ParseID(operands[0])
					if err != nil {
						return fmt.Errorf("%q: %w", operands[0], err)
					}
					return withAccounts(file, std, func(_ *config, d *account.Directory) error {
						list, err := d.AppPasswords(id)
						if err != nil {
							return err
						}
						return listAppPasswords(std, list, *asJSON)
					})
				}
			},
		},
		{
			name: "account app-password remove", operands: "ADDRESS NAME",
			short: "Take the password of a device back",
			long: `
Whoever is logged in to the account is logged out within a minute; the other
devices log in again by themselves.`,
			setup: func(fs *flag.FlagSet) runner {
				file := newConfigFlag(fs)
				return func(ctx context.Context, std streams, operands []string) error {
					return changeAccount(ctx, file, std, operands[0], func(d *account.Directory, id account.ID) error {
						if err := d.RemoveAppPassword(ctx, id, operands[1]); err != nil {
							return err
						}
						_, err := fmt.Fprintf(std.out, "removed the app password %s of %s\n", operands[1], id)
						return err
					})
				}
			},
		},
	}
}

func listAppPasswords(std streams, list []account.AppPassword, asJSON bool) error {
	type row struct {
		Name    string `json:"name"`
		Created string `json:"created"`
		Used    string `json:"used,omitempty"`
		UsedBy  string `json:"used_by,omitempty"`
	}
	rows := make([]row, len(list))
	for i, p := range list {
		rows[i] = row{Name: p.Name, Created: p.Created.UTC().Format(time.RFC3339), UsedBy: p.UsedBy}
		if !p.Used.IsZero() {
			rows[i].Used = p.Used.UTC().Format(time.RFC3339)
		}
	}
	if asJSON {
		return json.NewEncoder(std.out).Encode(rows)
	}
	w := tabwriter.NewWriter(std.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tCREATED\tLAST USED\tBY")
	for _, r := range rows {
		if r.Used == "" {
			r.Used = "never"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.Name, r.Created, r.Used, printable(r.UsedBy, 60))
	}
	return w.Flush()
}
