package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"buzon/internal/account"
	"buzon/internal/certs"
	"buzon/mx/dkim"
)

const defaultConfig = "/etc/buzon/buzon.toml"

// configFlag is --config, which every command has that needs a configuration.
type configFlag struct{ path *string }

func newConfigFlag(fs *flag.FlagSet) configFlag {
	path := cmp.Or(os.Getenv("BUZON_CONFIG"), defaultConfig)
	return configFlag{fs.String("config", path, "the configuration `FILE`; $BUZON_CONFIG names another default")}
}

func (f configFlag) load() (*config, error) { return loadConfig(*f.path) }

func configCheckCommand() command {
	return command{
		name:  "config check",
		short: "Check the configuration, the accounts and the certificate, and change nothing",
		long: `
Reads buzon.toml and everything that it refers to, and reports every problem
with its file and line. The exit code is 0 when the server would start with
it, and 78 when it would not.`,
		setup: func(fs *flag.FlagSet) runner {
			file := newConfigFlag(fs)
			return func(ctx context.Context, std streams, _ []string) error {
				cfg, err := file.load()
				if err != nil {
					return err
				}
				return checkAll(cfg, *file.path, std)
			}
		},
	}
}

// checkAll checks what the configuration refers to.
func checkAll(cfg *config, path string, std streams) error {
	if !strings.Contains(cfg.Hostname, ".") {
		fmt.Fprintf(std.err, "warning: hostname %q is not a full name; other hosts may refuse mail from it\n", cfg.Hostname)
	}
	if _, err := cfg.mxConfig(); err != nil {
		return configError{err}
	}
	if cfg.TLS.Cert != "" {
		log := slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
		if _, err := certs.Open(certs.Config{Cert: cfg.TLS.Cert, Key: cfg.TLS.Key, Names: []string{cfg.Hostname}, Log: log}); err != nil {
			return configError{err}
		}
	}
	if _, err := os.Stat(cfg.path(keyDir)); err == nil {
		store, err := dkim.OpenStore(cfg.path(keyDir))
		if err != nil {
			return configError{err}
		}
		_, err = cfg.checkKeys(store)
		store.Close()
		if err != nil {
			return configError{err}
		}
	}
	accounts := 0
	if _, err := os.Stat(cfg.path("accounts")); err == nil {
		accountCfg := cfg.accountConfig()
		accountCfg.Log = slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
		d, err := account.Open(accountCfg)
		if err != nil {
			return configError{err}
		}
		accounts = len(d.List())
		d.Close()
	}
	fmt.Fprintf(std.out, "%s is good: %s, domains %s, accounts: %d\n", path, cfg.Hostname, strings.Join(cfg.Domains, " "), accounts)
	if accounts == 0 {
		fmt.Fprintf(std.out, "no account yet: make one with `buzon account add NAME@%s`\n", cfg.Domains[0])
	}
	return nil
}
