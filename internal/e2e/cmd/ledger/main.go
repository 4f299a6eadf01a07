// Command ledger is package ledger for hosts that run elsewhere: in containers,
// or on another machine.
//
//	ledger write -book FILE -to ADDRESS [-smtp HOST:PORT] [-submission HOST:PORT -user ADDRESS -password WORD]
//	ledger check -book FILE -imaps HOST:PORT -user ADDRESS -password WORD
//
// write sends until it is told to end by SIGTERM or SIGINT, or -for has passed.
// check wants every acknowledged message in the user's INBOX, and waits for
// those that are still on their way.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"buzon/internal/e2e/ledger"
)

type options struct {
	book, smtp, submission, imaps string
	user, password, to            string
	duration, pause               time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "ledger:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var o options
	flags := flag.NewFlagSet("ledger", flag.ExitOnError)
	flags.StringVar(&o.book, "book", "ledger", "`file` of what was acknowledged")
	flags.StringVar(&o.smtp, "smtp", "", "where to deliver as a stranger")
	flags.StringVar(&o.submission, "submission", "", "where to submit as the user")
	flags.StringVar(&o.imaps, "imaps", "", "where to look")
	flags.StringVar(&o.user, "user", "", "account to log in as")
	flags.StringVar(&o.password, "password", "", "its password")
	flags.StringVar(&o.to, "to", "", "recipient")
	flags.DurationVar(&o.duration, "for", time.Minute, "how long to write, or to wait for what is missing")
	flags.DurationVar(&o.pause, "pause", 0, "between two messages")
	if len(args) == 0 {
		return errors.New("want write or check")
	}
	flags.Parse(args[1:])
	book, err := ledger.Open(o.book)
	if err != nil {
		return err
	}
	defer book.Close()
	ctx, cancel := context.WithTimeout(ctx, o.duration)
	defer cancel()
	switch args[0] {
	case "write":
		return o.write(ctx, book)
	case "check":
		return o.check(ctx, book)
	}
	return fmt.Errorf("unknown command %q, want write or check", args[0])
}

// anyone: hosts in containers made their certificates themselves.
var anyone = &tls.Config{InsecureSkipVerify: true}

func (o options) write(ctx context.Context, book *ledger.Ledger) error {
	var writers []ledger.Writer
	if o.smtp != "" {
		transport := &ledger.SMTP{Addr: o.smtp}
		writers = append(writers, ledger.Writer{Transport: transport, From: "zoe@far.test", To: o.to, Account: o.to, Pause: o.pause})
	}
	if o.submission != "" {
		transport := &ledger.SMTP{Addr: o.submission, TLS: anyone, User: o.user, Password: o.password}
		writers = append(writers, ledger.Writer{Transport: transport, From: o.user, To: o.to, Account: o.to, Pause: o.pause})
	}
	errs := make([]error, len(writers))
	var running sync.WaitGroup
	for i, w := range writers {
		running.Go(func() { errs[i] = w.Run(ctx, book) })
	}
	running.Wait()
	n, _ := book.Len()
	fmt.Println(n, "acknowledged")
	return errors.Join(errs...)
}

func (o options) check(ctx context.Context, book *ledger.Ledger) error {
	entries := ledger.For(book.Entries(), o.user, "INBOX")
	mailbox := ledger.Mailbox{Addr: o.imaps, TLS: anyone, User: o.user, Password: o.password, Name: "INBOX"}
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for {
		report, err := ledger.CheckIMAP(ctx, entries, mailbox)
		if err == nil && !report.Lost() {
			fmt.Println(report)
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return errors.Join(err, errors.New(report.String()))
		}
	}
}
