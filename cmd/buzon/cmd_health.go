package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"
	"time"
)

func healthCommand() command {
	return command{
		name:  "health",
		short: "Ask the running server how it is",
		long: `
The exit code is 0 when the server with this configuration answers, so that a
container engine or a monitor can use it.`,
		setup: func(fs *flag.FlagSet) runner {
			file := newConfigFlag(fs)
			asJSON := fs.Bool("json", false, "write JSON")
			return func(ctx context.Context, std streams, _ []string) error {
				cfg, err := file.load()
				if err != nil {
					return err
				}
				var state health
				if err := newControlClient(cfg).call(ctx, "GET", "/health", &state); errors.Is(err, errNotRunning) {
					return fmt.Errorf("%w on %s: start it with `buzon serve`", err, cfg.Data)
				} else if err != nil {
					return err
				}
				if *asJSON {
					return json.NewEncoder(std.out).Encode(state)
				}
				return state.print(std)
			}
		},
	}
}

func (s health) print(std streams) error {
	w := tabwriter.NewWriter(std.out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "%s\tbuzon %s, process %d, up for %s\n", s.Hostname, s.Version, s.PID, time.Since(s.Started).Round(time.Second))
	for _, address := range slices.Sorted(maps.Keys(s.Services)) {
		fmt.Fprintf(w, "%s\t%s\n", s.Services[address], address)
	}
	fmt.Fprintf(w, "accounts\t%d\n", s.Accounts)
	fmt.Fprintf(w, "queued\t%d\n", s.Queued)
	fmt.Fprintf(w, "certificate\tuntil %s, SHA-256 %s\n", s.Expires.Local().Format(time.DateOnly), s.Signature)
	return w.Flush()
}
