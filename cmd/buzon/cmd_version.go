package main

import (
	"context"
	"flag"
	"fmt"
	"runtime"
)

func versionCommand() command {
	return command{
		name:  "version",
		short: "Print the version",
		setup: func(*flag.FlagSet) runner {
			return func(_ context.Context, std streams, _ []string) error {
				_, err := fmt.Fprintf(std.out, "buzon %s (%s, %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
				return err
			}
		},
	}
}
