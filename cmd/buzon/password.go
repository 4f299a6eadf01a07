package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"buzon/internal/account"
)

// passwordFlags say where a new password comes from.
type passwordFlags struct {
	stdin, generate *bool
	file            *string
}

func newPasswordFlags(fs *flag.FlagSet) passwordFlags {
	return passwordFlags{
		stdin:    fs.Bool("password-stdin", false, "read the password from standard input, one line"),
		generate: fs.Bool("generate", false, "make a random password and print it"),
		file:     fs.String("password-file", "", "read the password from the first line of `FILE`"),
	}
}

const passwordHelp = `
The password is asked for at a terminal, and read from standard input, one
line, where that is no terminal. Passwords are never taken from the command
line: other users could see them there.`

// shortPassword is where a warning begins, in bytes.
const shortPassword = 8

// read gets the password. It prints one that it made itself.
func (f passwordFlags) read(std streams, id account.ID) (string, error) {
	password, err := f.source(std, id)
	if err != nil {
		return "", err
	}
	if len(password) < shortPassword {
		fmt.Fprintf(std.err, "warning: a password of less than %d characters is soon guessed\n", shortPassword)
	}
	return password, nil
}

func (f passwordFlags) source(std streams, id account.ID) (string, error) {
	terminal, isTerminal := std.in.(*os.File)
	isTerminal = isTerminal && term.IsTerminal(int(terminal.Fd()))
	switch {
	case *f.generate && (*f.stdin || *f.file != ""), *f.stdin && *f.file != "":
		return "", usageError{"buzon account add", "--generate, --password-stdin and --password-file exclude each other"}
	case *f.generate:
		password := account.GeneratePassword()
		_, err := fmt.Fprintf(std.out, "password for %s: %s\n", id, password)
		return password, err
	case *f.file == "-":
		return readLine(std.in)
	case *f.file != "":
		return readPassword(*f.file)
	case *f.stdin || !isTerminal:
		return readLine(std.in)
	}
	return askTwice(terminal, std.err, id)
}

func readLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", errors.New("there is no password on standard input: pipe it in, run this at a terminal, or let --generate make one")
	}
	return line, nil
}

// askTwice asks at a terminal without showing what is typed.
func askTwice(terminal *os.File, prompt io.Writer, id account.ID) (string, error) {
	ask := func(text string) (string, error) {
		fmt.Fprint(prompt, text)
		line, err := term.ReadPassword(int(terminal.Fd()))
		fmt.Fprintln(prompt)
		return string(line), err
	}
	first, err := ask(fmt.Sprintf("new password for %s: ", id))
	if err != nil {
		return "", err
	}
	again, err := ask("once more: ")
	if err != nil {
		return "", err
	}
	if first != again {
		return "", errors.New("the two passwords differ; nothing was changed")
	}
	return first, nil
}
