package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"text/tabwriter"

	"buzon/internal/account"
	"buzon/internal/durable"
	"buzon/maildir"
)

// junkCommands are about what the server learns from its users' junk.
func junkCommands() []command {
	return []command{
		{
			name: "junk train", operands: "ADDRESS",
			short: "Learn anew from an account's mailboxes what it calls junk",
			long: `
Forgets what was learned of the account, and learns from its mail: as junk what
lies in the mailbox for junk, as good what was read in the others but the trash,
drafts and sent mail; of either the 5000 newest messages. Whoever comes from
another server with a full Junk need not teach from the start again.

This works with a running server and without one.`,
			setup: func(fs *flag.FlagSet) runner {
				file := newConfigFlag(fs)
				return func(ctx context.Context, std streams, operands []string) error {
					return withJunk(file, std, operands[0], func(cfg *config, d *account.Directory, id account.ID) error {
						p := newProgress(std.err)
						state, err := train(ctx, cfg, d, id, std, p)
						p.end()
						if err != nil {
							return err
						}
						fmt.Fprintf(std.out, "%s: learned %d messages as junk and %d as good\n", id, state.Junk, state.Good)
						if !state.Enough {
							fmt.Fprintf(std.out, "new messages are judged when there are %d of either\n", cfg.Junk.Minimum)
						}
						return nil
					})
				}
			},
		},
		{
			name: "junk status", operands: "[ADDRESS...]",
			short: "Show how much was learned of accounts",
			long: `
Shows for each ADDRESS, or for all accounts, how many messages were learned as
junk and as good, and whether that is enough to judge new ones.`,
			setup: func(fs *flag.FlagSet) runner {
				file := newConfigFlag(fs)
				asJSON := fs.Bool("json", false, "write JSON")
				return func(ctx context.Context, std streams, operands []string) error {
					return withAccounts(file, std, func(cfg *config, d *account.Directory) error {
						ids, err := checkedAccounts(d, operands)
						if err != nil {
							return err
						}
						return showJunk(ctx, cfg, std, ids, *asJSON)
					})
				}
			},
		},
	}
}

// withJunk calls f for an account, where something is learned at all.
func withJunk(file configFlag, std streams, address string, f func(*config, *account.Directory, account.ID) error) error {
	id, err := account.ParseID(address)
	if err != nil {
		return fmt.Errorf("%q: %w", address, err)
	}
	return withAccounts(file, std, func(cfg *config, d *account.Directory) error {
		if _, ok := d.Lookup(id); !ok {
			return fmt.Errorf("account %s: %w", id, account.ErrNotFound)
		}
		if !cfg.Junk.Learn {
			return errors.New("nothing is learned here: junk.learn is false")
		}
		return f(cfg, d, id)
	})
}

// train has the running server train, or does it itself.
func train(ctx context.Context, cfg *config, d *account.Directory, id account.ID, std streams, p *progress) (junkState, error) {
	client := newControlClient(cfg)
	client.http.Timeout = 0 // it takes as long as it takes, and says how far it is
	lines, err := client.open(ctx, "POST", "/junk/"+url.PathEscape(string(id))+"/train")
	if errors.Is(err, errNotRunning) {
		return trainAlone(ctx, cfg, d, id, std, p)
	}
	if err != nil {
		return junkState{}, err
	}
	defer lines.Close()
	for dec := json.NewDecoder(lines); ; {
		var s junkState
		if err := dec.Decode(&s); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return s, fmt.Errorf("the running server stopped: %w", err)
		}
		switch {
		case s.Error != "":
			return s, errors.New(s.Error)
		case s.Mailbox == "":
			return s, nil
		}
		p.Mailbox(s.Mailbox, s.Done, s.Total, s.Done)
	}
}

// trainAlone trains without a server, and keeps one from starting meanwhile.
func trainAlone(ctx context.Context, cfg *config, d *account.Directory, id account.ID, std streams, p *progress) (state junkState, err error) {
	unlock, err := durable.Lock(cfg.path(lockName))
	if err != nil {
		return state, lockError(cfg, err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	log := slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: slog.LevelError}))
	store, err := maildir.Open(maildir.Config{Mail: cfg.path("mail"), State: cfg.path("state"), Host: cfg.Hostname, Log: log})
	if err != nil {
		return state, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	library, err := cfg.openJunk(log)
	if err != nil {
		return state, err
	}
	defer func() { err = errors.Join(err, library.Close()) }()
	good, bad, err := teacher(store, library, d, log).Train(ctx, string(id), func(mailbox string, done, total int) {
		p.Mailbox(mailbox, done, total, done)
	})
	return stateOf(cfg, id, good, bad), err
}

// showJunk shows what is known of accounts: what the running server knows, or what
// lies on the disk.
func showJunk(ctx context.Context, cfg *config, std streams, ids []account.ID, asJSON bool) error {
	rows := make([]junkState, 0, len(ids))
	for _, id := range ids {
		var s junkState
		err := newControlClient(cfg).call(ctx, "GET", "/junk/"+url.PathEscape(string(id)), &s)
		if errors.Is(err, errNotRunning) {
			s, err = junkOnDisk(cfg, id, std)
		}
		if err != nil {
			return err
		}
		rows = append(rows, s)
	}
	if asJSON {
		return json.NewEncoder(std.out).Encode(rows)
	}
	w := tabwriter.NewWriter(std.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ACCOUNT\tJUNK\tGOOD\tJUDGES")
	for _, r := range rows {
		judges := "yes"
		if !r.Enough {
			judges = fmt.Sprintf("from %d of either on", cfg.Junk.Minimum)
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\n", r.Account, r.Junk, r.Good, judges)
	}
	return w.Flush()
}

func junkOnDisk(cfg *config, id account.ID, std streams) (state junkState, err error) {
	log := slog.New(slog.NewTextHandler(std.err, nil))
	library, err := cfg.openJunk(log)
	if err != nil {
		return state, err
	}
	state, err = known(cfg, teacher(nil, library, nil, log), id)
	return state, errors.Join(err, library.Close())
}
