package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// progress shows how far a copy is: a bar at a terminal, else a line for each
// mailbox.
type progress struct {
	w        io.Writer
	terminal bool
	shown    time.Time
	now      string // the mailbox under way
	line     string // about it
}

const barWidth = 24

// barEvery keeps a bar from costing more than the copy.
const barEvery = 100 * time.Millisecond

func newProgress(w io.Writer) *progress {
	f, ok := w.(*os.File)
	return &progress{w: w, terminal: ok && term.IsTerminal(int(f.Fd()))}
}

// Mailbox implements migrate.Progress.
func (p *progress) Mailbox(name string, done, total, new int) {
	name = printable(name, 40)
	if name != p.now {
		p.end()
		p.now, p.shown = name, time.Time{}
	}
	p.line = fmt.Sprintf("%s: %d of %d, %d new", name, done, total, new)
	if p.terminal && (time.Since(p.shown) >= barEvery || done == total) {
		filled := barWidth
		if total > 0 {
			filled = barWidth * done / total
		}
		fmt.Fprintf(p.w, "\r\x1b[K[%s%s] %s", strings.Repeat("#", filled), strings.Repeat(".", barWidth-filled), p.line)
		p.shown = time.Now()
	}
}

// Note implements migrate.Progress.
func (p *progress) Note(text string) {
	if p.terminal {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
	fmt.Fprintln(p.w, printable(text, 500))
}

// end completes the line of a mailbox.
func (p *progress) end() {
	switch {
	case p.now == "":
	case p.terminal:
		fmt.Fprintln(p.w)
	default:
		fmt.Fprintln(p.w, p.line)
	}
	p.now = ""
}
