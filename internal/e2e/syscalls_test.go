package e2e_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"buzon/internal/e2e/child"
)

// Case 23: what the kernel is asked to do, and in which order, before an operation is
// answered for. `make test-store` runs it, as it needs to trace processes.
func TestCase23OrderOfSystemCalls(t *testing.T) {
	if os.Getenv("BUZON_STORE_TESTS") == "" {
		t.Skip("make test-store runs it")
	}
	need(t, "strace")
	o := newOurs(t)
	fillMaildir(t, o.maildir(), 5)
	o.start(t)
	s := o.session(t)
	defer s.end()
	s.do("ENABLE CONDSTORE")
	s.do("SELECT INBOX")
	text := "Subject: traced\r\n\r\nx\r\n"
	for _, test := range []struct {
		what string
		do   func()
		want []string // regular expressions, in this order
		also []string // others, in this order
	}{
		{"delivery", func() { o.deliver(t, benchAccount, "traced") },
			[]string{"openat tmp/", "write tmp/", "fsync tmp/", "renameat2 tmp/.* new/", "fsync new$", "answer"}, nil},
		{"APPEND", func() { s.do("APPEND Archive (\\Seen) {%d+}\r\n%s", len(text), text) },
			[]string{"openat tmp/", "write tmp/", "fsync tmp/", "renameat2 tmp/.* .Archive/cur/", "write .Archive/dovecot-uidlist$", "f(data)?sync .Archive/dovecot-uidlist$", "answer"},
			[]string{"renameat2 tmp/.* .Archive/cur/", "fsync .Archive/cur$", "answer"}},
		{"COPY", func() { s.do("UID COPY 1 Archive") },
			[]string{"linkat .* tmp/", "renameat2 tmp/.* .Archive/(cur|new)/", "write .Archive/dovecot-uidlist$", "f(data)?sync .Archive/dovecot-uidlist$", "answer"},
			[]string{"renameat2 tmp/.* .Archive/(cur|new)/", "fsync .Archive/(cur|new)$", "answer"}},
		{"COPY of two", func() { s.do("UID COPY 2:3 Archive") },
			[]string{"write log", "f(data)?sync log", "renameat2 tmp/.* .Archive/cur/", "fsync .Archive/cur$", "f(data)?sync .Archive/dovecot-uidlist$", "answer"}, nil},
		{"MOVE", func() { s.do("UID MOVE 2:3 Archive") },
			[]string{"write log", "f(data)?sync log", "renameat2 cur/.* .Archive/cur/", "fsync .Archive/cur$", "f(data)?sync .Archive/dovecot-uidlist$", "fsync cur$", "answer"}, nil},
		{"STORE of a new keyword", func() { s.do("UID STORE 5 +FLAGS (Traced)") },
			[]string{"write dovecot-keywords.lock", "fsync dovecot-keywords.lock", "renameat dovecot-keywords.lock dovecot-keywords", "fsync $", "renameat2 cur/.* cur/", "f(data)?sync log", "answer"}, nil},
		{"EXPUNGE", func() { s.do("UID STORE 5 +FLAGS.SILENT (\\Deleted)"); s.do("UID EXPUNGE 5") },
			[]string{"unlinkat cur/", "fsync cur$", "answer"}, nil},
	} {
		calls := o.trace(t, test.do)
		for _, order := range [][]string{test.want, test.also} {
			if missing, ok := inOrder(calls, order); !ok {
				t.Errorf("%s: no %q in its place among\n\t%s", test.what, missing, strings.Join(calls, "\n\t"))
			}
		}
	}
}

// inOrder looks for calls that match patterns, one behind the other.
func inOrder(calls, patterns []string) (missing string, ok bool) {
	at := 0
	for _, want := range patterns {
		pattern := regexp.MustCompile("^(" + want + ")")
		for at < len(calls) && !pattern.MatchString(calls[at]) {
			at++
		}
		if at == len(calls) {
			return want, false
		}
		at++
	}
	return "", true
}

// traced are the system calls that change files or make them durable, and write,
// which also answers.
const traced = "openat,write,pwrite64,writev,linkat,renameat,renameat2,unlinkat,fsync,fdatasync"

// trace returns what the host asks of the kernel while do runs: the call and its
// paths below the Maildir, "log" for the log of an index, "answer" for a write to a
// client.
func (o *ours) trace(t *testing.T, do func()) []string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "trace")
	cmd := child.Command(t, 2*patience, "strace", "-f", "-y", "-s", "0", "-e", "signal=none", "-e", "trace="+traced, "-o", out, "-p", strconv.Itoa(o.cmd.Process.Pid))
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	for lines.Scan() && !strings.Contains(lines.Text(), "attached") {
	}
	do()
	cmd.Process.Signal(syscall.SIGINT)
	for lines.Scan() {
	}
	cmd.Wait()
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return o.calls(string(text))
}

var (
	traceLine   = regexp.MustCompile(`^\d+ +(?:<\.\.\. )?(\w+)(\(| resumed)`)
	tracedPath  = regexp.MustCompile(`<([^<>]*)>|"([^"]*)"`)
	tracedIndex = regexp.MustCompile(`/state/.*/log\.`)
)

// calls reads a trace. A call that another thread interrupts in the trace counts
// where it ends when it makes something durable, and else where it begins.
func (o *ours) calls(trace string) (all []string) {
	begun := map[string]string{} // by process
	for line := range strings.SplitSeq(trace, "\n") {
		m := traceLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		pid, _, _ := strings.Cut(line, " ")
		syncs := strings.HasSuffix(m[1], "sync")
		if m[2] == " resumed" {
			if !syncs {
				continue
			}
			line = begun[pid]
		} else if strings.Contains(line, "<unfinished") {
			begun[pid] = line
			if syncs {
				continue
			}
		}
		if call := o.call(m[1], line); call != "" {
			all = append(all, call)
		}
	}
	return all
}

// call is one call with its paths; "" when it is of no interest.
func (o *ours) call(name, line string) string {
	var paths []string
	dir := ""
	for _, m := range tracedPath.FindAllStringSubmatch(strings.ReplaceAll(line, "<unfinished ...>", ""), -1) {
		switch {
		case m[1] != "":
			dir = m[1]
			paths = append(paths, dir)
		case m[2] != "" && len(paths) > 0: // a name below the directory before it
			paths[len(paths)-1] = filepath.Join(dir, m[2])
		}
	}
	if len(paths) == 0 {
		return ""
	}
	if strings.HasPrefix(paths[0], "socket:") || strings.HasPrefix(paths[0], "TCP") {
		return "answer"
	}
	for i, p := range paths {
		if tracedIndex.MatchString(p) {
			paths[i] = "log"
			continue
		}
		rest, ok := strings.CutPrefix(p, o.maildir())
		if !ok {
			return ""
		}
		paths[i] = strings.TrimPrefix(rest, "/")
	}
	if name == "pwrite64" || name == "writev" {
		name = "write"
	}
	if name == "openat" {
		paths = paths[:1]
	}
	return fmt.Sprint(name, " ", strings.Join(paths, " "))
}
