// Command buzon is a mail host: it receives mail by SMTP, keeps it in Maildir
// trees, serves them over IMAP, and sends its users' mail through a queue.
//
// host.go and host_*.go wire the parts together; every subcommand has a file of its
// own. This package owns the configuration file.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the linker: -ldflags "-X main.version=v1.2.3".
var version = "devel"

// Exit codes. A service manager need not restart what has a bad configuration.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	exitConfig = 78 // EX_CONFIG of sysexits(3)
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks for an orderly end; the next one ends at once.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr})
	stop()
	os.Exit(code)
}

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// run runs the command that args name and returns the exit code.
func run(ctx context.Context, args []string, std streams) int {
	err := dispatch(ctx, args, std)
	var usage usageError
	var cfg configError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		fmt.Fprintf(std.err, "buzon: %v\nTry: %s --help\n", err, usage.command)
		return exitUsage
	case errors.As(err, &cfg):
		fmt.Fprintln(std.err, "buzon:", err)
		return exitConfig
	default:
		fmt.Fprintln(std.err, "buzon:", err)
		return exitFailed
	}
}
