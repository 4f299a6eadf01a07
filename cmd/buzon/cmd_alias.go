package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"strings"
	"text/tabwriter"

	"buzon/internal/account"
	"buzon/internal/smtp"
)

// aliasCommands work on the files; a running server is told to look.
func aliasCommands() []command {
	return []command{
		{
			name: "alias add", operands: "ALIAS MEMBER...",
			short: "Make an alias, or add members to one",
			long: `
Mail for ALIAS goes to every MEMBER: addresses of accounts or of other aliases
here, or of people at other hosts, to whom it is forwarded. A MEMBER without a
domain is in the domain of ALIAS. The members that are accounts here may send
under the alias' address.`,
			setup: func(fs *flag.FlagSet) runner {
				file := newConfigFlag(fs)
				return func(ctx context.Context, std streams, operands []string) error {
					return changeAlias(ctx, file, std, operands, "added", (*account.Directory).AddAlias)
				}
			},
		},
		{
			name:  "alias list",
			short: "List the aliases",
			setup: func(fs *flag.FlagSet) runner {
				file := newConfigFlag(fs)
				asJSON := fs.Bool("json", false, "write JSON")
				return func(ctx context.Context, std streams, _ []string) error {
					return withAccounts(file, std, func(_ *config, d *account.Directory) error {
						return listAliases(std, d.Aliases(), *asJSON)
					})
				}
			},
		},
		{
			name: "alias remove", operands: "ALIAS [MEMBER...]",
			short: "Remove an alias, or only some of its members",
			setup: func(fs *flag.FlagSet) runner {
				file := newConfigFlag(fs)
				return func(ctx context.Context, std streams, operands []string) error {
					return changeAlias(ctx, file, std, operands, "removed", (*account.Directory).RemoveAlias)
				}
			},
		},
	}
}

func changeAlias(ctx context.Context, file configFlag, std streams, operands []string, done string,
	change func(*account.Directory, context.Context, smtp.Address, []string) error) error {
	alias, err := smtp.ParseAddress(operands[0])
	if err != nil {
		return fmt.Errorf("%q: %w", operands[0], err)
	}
	return withAccounts(file, std, func(cfg *config, d *account.Directory) error {
		if err := change(d, ctx, alias, operands[1:]); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(std.out, "%s %s\n", done, strings.Join(operands, " ")); err != nil {
			return err
		}
		return tellServer(ctx, cfg)
	})
}

func listAliases(std streams, list []account.Alias, asJSON bool) error {
	type row struct {
		Alias   string   `json:"alias"`
		Members []string `json:"members"`
	}
	rows := make([]row, len(list))
	for i, a := range list {
		rows[i].Alias = a.Name.String()
		for _, m := range a.Members {
			rows[i].Members = append(rows[i].Members, m.String())
		}
	}
	if asJSON {
		return json.NewEncoder(std.out).Encode(rows)
	}
	w := tabwriter.NewWriter(std.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ALIAS\tMEMBERS")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\n", r.Alias, strings.Join(r.Members, " "))
	}
	return w.Flush()
}
