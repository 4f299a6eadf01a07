package smtpd

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// The dialogues in testdata/dialog are run against a real listener and store,
// those in incoming/ against port 25, those in submission/ against 587, and
// those in lmtp/ against a Unix socket.
//
//	> text    send the line; lines that follow each other go in one segment
//	>| "text" send a Go string as it is
//	< text    a reply ends with this line; "..." matches anything
//	< EOF     the connection is closed
//	! tls     put TLS on
//	! ana 2   ana has two messages
//	! ana has TEXT   her last message holds the text
//
// S05: each is run twice, the second time with one octet in each segment, and
// must go the same way.
func TestDialogues(t *testing.T) {
	files, err := fs.Glob(os.DirFS("testdata/dialog"), "*/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dialogues: %v", err)
	}
	for _, file := range files {
		for _, mode := range []string{"lines", "octets"} {
			t.Run(file+"/"+mode, func(t *testing.T) {
				t.Parallel()
				h := newHouse(t)
				addr := ""
				switch filepath.Dir(file) {
				case "incoming":
					addr = h.incoming()
				case "lmtp":
					addr = h.lmtp()
				default:
					addr = h.submission(false)
				}
				text, err := os.ReadFile(filepath.Join("testdata/dialog", file))
				h.must(err)
				d := dialogue{peer: dial(t, addr), h: h, octets: mode == "octets"}
				for i, line := range strings.Split(string(text), "\n") {
					d.line = i + 1
					d.step(line)
				}
			})
		}
	}
}

type dialogue struct {
	*peer
	h      *house
	octets bool
	line   int
	out    string // not sent yet
}

func (d *dialogue) step(line string) {
	d.t.Helper()
	kind, rest, _ := strings.Cut(line, " ")
	if !strings.HasPrefix(kind, ">") {
		d.flush()
	}
	switch kind {
	case ">":
		d.out += rest + "\r\n"
	case ">|":
		s, err := strconv.Unquote(rest)
		if err != nil {
			d.t.Fatalf("line %d: %v", d.line, err)
		}
		d.out += s
	case "<":
		reply := d.reply()
		last := reply[strings.LastIndexByte(reply, '\n')+1:]
		if !matches(rest, last) {
			d.t.Fatalf("line %d: reply %q, want %q", d.line, reply, rest)
		}
	case "!":
		d.check(strings.Fields(rest))
	case "", "#":
	default:
		d.t.Fatalf("line %d: what is %q?", d.line, line)
	}
}

func (d *dialogue) flush() {
	d.t.Helper()
	size := len(d.out)
	if d.octets {
		size = 1
	}
	for len(d.out) > 0 {
		// An early end of the connection shows in the replies.
		if _, err := d.nc.Write([]byte(d.out[:min(size, len(d.out))])); err != nil {
			d.out = ""
			return
		}
		d.out = d.out[min(size, len(d.out)):]
	}
}

func (d *dialogue) check(args []string) {
	d.t.Helper()
	if len(args) == 1 && args[0] == "tls" {
		d.startTLS(false)
		return
	}
	if args[1] == "has" {
		all, want := d.h.inbox(args[0]), strings.Join(args[2:], " ")
		if len(all) == 0 || !strings.Contains(strings.ReplaceAll(all[len(all)-1], "\r\n\t", " "), want) {
			d.t.Errorf("line %d: %s has %q", d.line, args[0], all)
		}
		return
	}
	if got := strconv.Itoa(len(d.h.inbox(args[0]))); got != args[1] {
		d.t.Errorf("line %d: %s has %s messages, want %s", d.line, args[0], got, args[1])
	}
}

// matches reports whether s is like pattern, in which "..." is anything.
func matches(pattern, s string) bool {
	first, rest, wild := strings.Cut(pattern, "...")
	s, ok := strings.CutPrefix(s, first)
	if !ok || !wild {
		return ok && s == ""
	}
	for i := range len(s) + 1 {
		if matches(rest, s[i:]) {
			return true
		}
	}
	return false
}
