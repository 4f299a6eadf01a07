// Command zone is a name server for the tests in containers: it answers for the
// whole world from one file, as dnstest describes it.
//
//	zone ADDRESS FILE
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"buzon/mx/dns/dnstest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: zone ADDRESS FILE")
		os.Exit(2)
	}
	if err := serve(ctx, os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "zone:", err)
		os.Exit(1)
	}
}

func serve(ctx context.Context, address, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	zone, err := dnstest.Parse(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	server, err := dnstest.Listen(address, zone)
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve() }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return server.Close()
	}
}
