package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// command is a subcommand.
type command struct {
	name     string // "account add"
	operands string // "ADDRESS"
	short    string // what it does, for the list of commands
	long     string // the rest of its help
	// setup defines its flags and returns what runs with them set.
	setup func(*flag.FlagSet) runner
}

// runner runs a command with its operands.
type runner func(ctx context.Context, std streams, operands []string) error

// commands is every subcommand, in the order of the help.
func commands() []command {
	return slices.Concat(
		[]command{serveCommand(), configCheckCommand()},
		accountCommands(), appPasswordCommands(), aliasCommands(), domainCommands(), queueCommands(), maildirCommands(), junkCommands(),
		[]command{dnsCommand(), reportCommand(), undeleteCommand()}, importCommands(), exportCommands(), []command{healthCommand(), versionCommand()},
	)
}

// usageError is a command line that cannot be run.
type usageError struct {
	command string // whose help helps: "buzon account add"
	text    string
}

func (e usageError) Error() string { return e.text }

// dispatch finds the command that args name, reads its flags and runs it.
func dispatch(ctx context.Context, args []string, std streams) error {
	if len(args) > 0 && args[0] == "help" {
		args = append(slices.Clone(args[1:]), "--help")
	}
	name, rest := commandName(args)
	all := commands()
	i := slices.IndexFunc(all, func(c command) bool { return c.name == name })
	if i >= 0 {
		return all[i].call(ctx, rest, std)
	}
	group := slices.DeleteFunc(all, func(c command) bool { return name != "" && !strings.HasPrefix(c.name, name+" ") })
	self := strings.TrimSpace("buzon " + name)
	if len(group) == 0 {
		return usageError{"buzon", fmt.Sprintf("there is no command %q", name)}
	}
	if len(rest) > 0 && isHelp(rest[0]) {
		overview(std.out, self, group)
		return nil
	}
	if len(rest) > 0 {
		return usageError{self, fmt.Sprintf("there is no command %q", name+" "+rest[0])}
	}
	overview(std.err, self, group)
	return usageError{self, "a command is missing"}
}

// commandName takes the name of a command or of a group of them, as many words
// as one has, off args.
func commandName(args []string) (name string, rest []string) {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return "", args
	}
	all := commands()
	for n := min(len(args), 3); n > 0; n-- {
		name := strings.Join(args[:n], " ")
		if slices.ContainsFunc(all, func(c command) bool { return c.name == name || strings.HasPrefix(c.name, name+" ") }) {
			return name, args[n:]
		}
	}
	return args[0], args[1:]
}

func isHelp(arg string) bool { return arg == "--help" || arg == "-help" || arg == "-h" }

// call reads the flags, which may stand before, between and after the
// operands, and runs the command.
func (c command) call(ctx context.Context, args []string, std streams) error {
	self := "buzon " + c.name
	fs := flag.NewFlagSet(self, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	run := c.setup(fs)
	var operands []string
	for {
		err := fs.Parse(args)
		if errors.Is(err, flag.ErrHelp) {
			c.help(std.out, fs)
			return nil
		}
		if err != nil {
			return usageError{self, err.Error()}
		}
		rest := fs.Args()
		if len(rest) == 0 {
			break
		}
		if len(args) > len(rest) && args[len(args)-len(rest)-1] == "--" {
			operands = append(operands, rest...) // whatever they look like
			break
		}
		operands, args = append(operands, rest[0]), rest[1:]
	}
	if err := c.checkOperands(operands); err != nil {
		return usageError{self, err.Error()}
	}
	return run(ctx, std, operands)
}

// checkOperands wants as many operands as the command names: "[X]" is
// optional, "X..." takes any number from one.
func (c command) checkOperands(given []string) error {
	names := strings.Fields(c.operands)
	least, most := 0, len(names)
	for _, name := range names {
		if !strings.HasPrefix(name, "[") {
			least++
		}
		if strings.Contains(name, "...") {
			most = 1 << 20
		}
	}
	switch {
	case len(given) < least:
		return fmt.Errorf("%s is missing", strings.TrimSuffix(names[len(given)], "..."))
	case len(given) > most:
		return fmt.Errorf("%q is too much", given[most])
	}
	return nil
}

func (c command) help(w io.Writer, fs *flag.FlagSet) {
	fmt.Fprintf(w, "Usage: buzon %s\n\n%s.\n", strings.TrimSpace(c.name+" "+c.operands), c.short)
	if c.long != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(c.long))
	}
	fmt.Fprint(w, "\nFlags:\n")
	fs.VisitAll(func(f *flag.Flag) {
		value, text := flag.UnquoteUsage(f)
		name := strings.TrimSpace("--" + f.Name + " " + value)
		if f.DefValue != "" && f.DefValue != "false" {
			text += fmt.Sprintf(" (default %s)", f.DefValue)
		}
		fmt.Fprintf(w, "  %-22s %s\n", name, text)
	})
	fmt.Fprintf(w, "  %-22s %s\n", "--help", "show this text")
}

// overview lists commands.
func overview(w io.Writer, self string, list []command) {
	if self == "buzon" {
		fmt.Fprint(w, "Buzón is a mail host in one program.\n\n")
	}
	fmt.Fprintf(w, "Usage: %s COMMAND\n\nCommands:\n", self)
	width := 16
	for _, c := range list {
		width = max(width, len(c.name))
	}
	for _, c := range list {
		fmt.Fprintf(w, "  %-*s %s\n", width, c.name, c.short)
	}
	fmt.Fprint(w, "\n`buzon COMMAND --help` tells more about each of them.\n")
}
