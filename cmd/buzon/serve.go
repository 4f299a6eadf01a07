package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"buzon/internal/heap"
)

func serveCommand() command {
	return command{
		name:  "serve",
		short: "Run the mail host",
		long: `
Runs in the foreground and logs to standard error.

  SIGTERM, SIGINT   end: no new connections, transactions in flight get 25 s
  SIGHUP            read the configuration, the accounts and the certificate
                    again; when they are bad the old ones stay in force

Started by root over a data directory that another user owns, it opens its
ports and goes on as that user.`,
		setup: func(fs *flag.FlagSet) runner {
			file := newConfigFlag(fs)
			return func(ctx context.Context, std streams, _ []string) error {
				cfg, err := file.load()
				if err != nil {
					return err
				}
				h, err := open(cfg, *file.path, std.err)
				if err != nil {
					return err
				}
				hangup := make(chan os.Signal, 1)
				signal.Notify(hangup, syscall.SIGHUP)
				defer signal.Stop(hangup)
				return errors.Join(h.serve(ctx, hangup), h.Close())
			}
		},
	}
}

// How long things may take at the end. A service manager that sends SIGKILL
// does so after 30 s or more.
const (
	grace    = 25 * time.Second // for transactions in flight
	lastCall = 30 * time.Second // after which whatever is left is cut off
)

// server returns what answers the clients of a service.
func (h *host) server(ln listener) func(context.Context) error {
	switch ln.service {
	case "smtp":
		return func(ctx context.Context) error { return h.incoming.Serve(ctx, ln) }
	case "lmtp":
		return func(ctx context.Context) error { return h.lmtp.Serve(ctx, ln) }
	case "submission":
		return func(ctx context.Context) error { return h.submission.Serve(ctx, ln) }
	case "submissions":
		return func(ctx context.Context) error { return h.implicit.Serve(ctx, ln) }
	case "managesieve":
		return func(ctx context.Context) error { return h.filters.Serve(ctx, ln) }
	case "https":
		return func(ctx context.Context) error { return h.serveWeb(ctx, ln) }
	default:
		return func(ctx context.Context) error { return h.imap.Serve(ctx, ln, ln.service == "imaps") }
	}
}

// serve answers until ctx ends or a part fails, and then lets what is in
// flight finish.
func (h *host) serve(ctx context.Context, hangup <-chan os.Signal) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var parts sync.WaitGroup
	start := func(name string, run func(context.Context) error) {
		parts.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	for _, ln := range h.listeners {
		h.log.Info("listening", "service", ln.service, "addr", ln.Addr().String())
		start(ln.service, h.server(ln))
	}
	start("queue", h.queue.Run)
	start("control", h.serveControl)
	parts.Go(func() { heap.Keep(ctx) })
	if h.greylist != nil {
		start("greylist", h.greylist.Run)
	}
	if h.teacher != nil {
		start("junk", h.teacher.Run)
	}
	if h.sts != nil {
		start("mta-sts", h.sts.Run)
	}
	if h.tlsReports != nil {
		start("tls reports", h.tellOfTLS)
	}
	if h.dmarcSeen != nil {
		start("dmarc reports", h.tellOfMail)
	}
	h.log.Info("ready", "version", version, "host", h.cfg.Hostname, "domains", strings.Join(h.cfg.Domains, " "), "dur", time.Since(h.started))
	notify(notifyReady)

	for ctx.Err() == nil {
		select {
		case <-hangup:
			h.reloadAndTell()
		case <-ctx.Done():
		}
	}
	notify(notifyStopping)
	h.log.Info("stopping", "grace", grace)
	if !finished(&parts, lastCall) {
		h.log.Error("not everything came to its end, cut off", "dur", lastCall)
	}
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	h.log.Info("stopped", "dur", time.Since(h.started))
	return nil
}

// finished waits for the parts, but not for ever.
func finished(parts *sync.WaitGroup, patience time.Duration) bool {
	done := make(chan struct{})
	go func() { parts.Wait(); close(done) }()
	select {
	case <-done:
		return true
	case <-time.After(patience):
		return false
	}
}
