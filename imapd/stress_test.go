package imapd_test

import (
	"bufio"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"buzon/imapd"
)

var stressTime = flag.Duration("stress", 2*time.Second, "how long TestStress runs")

// TestStress lets many connections do everything at random in one mailbox, and holds every session
// to what RFC 9051 promises it: a sequence number means the same message until an EXPUNGE says
// otherwise, EXISTS never shrinks by itself, a UID has the same content for ever, and in the end
// all see the same.
func TestStress(t *testing.T) {
	const clients = 8
	h := newHost(t, func(cfg *imapd.Config) { cfg.SessionsPerUserIP = 100; cfg.SessionsPerUser = 100 })
	content := &contentByUID{hash: make(map[uint32]uint64)}
	end := time.Now().Add(*stressTime)
	trackers := make([]*tracker, clients)
	var wg sync.WaitGroup
	for k := range trackers {
		tr := newTracker(t, h, content, rand.New(rand.NewPCG(1, uint64(k))))
		trackers[k] = tr
		wg.Go(func() {
			for time.Now().Before(end) && !t.Failed() {
				tr.step()
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	var first []string
	total := 0
	for k, tr := range trackers {
		tr.command("NOOP")
		tr.command("UID FETCH 1:* FLAGS")
		view := tr.view()
		total += tr.n
		if k == 0 {
			first = view
		} else if !slices.Equal(view, first) {
			t.Errorf("client %d sees\n%v, client 0\n%v", k, view, first)
		}
	}
	t.Logf("%d commands, %d messages in the end", total, len(first))
}

// contentByUID remembers what each UID holds.
type contentByUID struct {
	mu   sync.Mutex
	hash map[uint32]uint64
}

func (c *contentByUID) check(uid uint32, body string) error {
	f := fnv.New64a()
	io.WriteString(f, body)
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.hash[uid]; ok && old != f.Sum64() {
		return fmt.Errorf("UID %d has changed its content", uid)
	}
	c.hash[uid] = f.Sum64()
	return nil
}

// A tracker is a client that believes only what it was told.
type tracker struct {
	t       *testing.T
	nc      net.Conn
	r       *bufio.Reader
	rnd     *rand.Rand
	content *contentByUID
	n       int
	uids    []uint32 // by sequence number; 0 = not told yet
	flags   map[uint32]string
	seqOnly bool // the command in progress forbids EXPUNGE
	log     []string
}

func newTracker(t *testing.T, h *host, content *contentByUID, rnd *rand.Rand) *tracker {
	nc := h.dial(t)
	tr := &tracker{t: t, nc: nc, r: bufio.NewReader(nc), rnd: rnd, content: content, flags: make(map[uint32]string)}
	tr.line()
	tr.command(fmt.Sprintf("LOGIN %s %q", ana, password))
	tr.command("SELECT INBOX")
	return tr
}

func (tr *tracker) fail(format string, args ...any) {
	tr.t.Errorf(format+"\nafter:\n%s", append(args, strings.Join(tr.log[max(0, len(tr.log)-40):], "\n"))...)
}

func (tr *tracker) step() {
	set := tr.set()
	switch k := tr.rnd.IntN(100); {
	case k < 12 || set == "" && k < 60:
		body := fmt.Sprintf("Subject: %d\r\n\r\n%s\r\n", tr.rnd.Uint64(), strings.Repeat("x", tr.rnd.IntN(200)))
		tr.command(fmt.Sprintf("APPEND INBOX (%s) {%d+}\r\n%s", tr.someFlags(), len(body), body))
	case set == "":
		tr.command("NOOP")
	case k < 25:
		tr.command("FETCH " + set + " (UID FLAGS)")
	case k < 35:
		tr.command("FETCH " + set + " (UID BODY.PEEK[])")
	case k < 40:
		tr.command("UID FETCH 1:* (FLAGS)")
	case k < 45:
		tr.command("FETCH " + set + " (UID BODY[TEXT] ENVELOPE BODYSTRUCTURE)")
	case k < 60:
		tr.command("STORE " + set + " " + string("+- "[tr.rnd.IntN(2)]) + "FLAGS" + []string{"", ".SILENT"}[tr.rnd.IntN(2)] + " (" + tr.someFlags() + ")")
	case k < 70:
		tr.command("STORE " + set + " +FLAGS (\\Deleted)")
	case k < 75:
		tr.command("EXPUNGE")
	case k < 80:
		tr.command("COPY " + set + " INBOX")
	case k < 84:
		tr.command("UID SEARCH RETURN (ALL) UNSEEN")
	case k < 88:
		tr.command("MOVE " + set + " Trash")
	case k < 92:
		tr.command("SEARCH SUBJECT 1")
	case k < 95:
		tr.uids = nil
		tr.flags = make(map[uint32]string)
		tr.command("SELECT INBOX")
	default:
		tr.command("NOOP")
	}
}

func (tr *tracker) someFlags() string {
	all := []string{`\Seen`, `\Flagged`, `\Answered`, "one", "two"}
	return strings.Join(all[:tr.rnd.IntN(len(all))], " ")
}

func (tr *tracker) set() string {
	n := len(tr.uids)
	if n == 0 {
		return ""
	}
	a, b := 1+tr.rnd.IntN(n), 1+tr.rnd.IntN(n)
	if b > a+10 {
		b = a + tr.rnd.IntN(10)
	}
	return fmt.Sprintf("%d:%d", a, b)
}

// command sends one command and reads to its answer.
func (tr *tracker) command(c string) {
	tr.n++
	tag := "t" + strconv.Itoa(tr.n)
	verb, _, _ := strings.Cut(c, " ")
	tr.seqOnly = verb == "FETCH" || verb == "STORE" || verb == "SEARCH"
	if _, err := io.WriteString(tr.nc, tag+" "+c+"\r\n"); err != nil {
		tr.fail("%v", err)
		return
	}
	tr.log = append(tr.log, "> "+tag+" "+c)
	for !tr.t.Failed() {
		line := tr.line()
		if rest, ok := strings.CutPrefix(line, tag+" "); ok {
			if strings.HasPrefix(rest, "BAD") || strings.HasPrefix(rest, "NO") && !strings.Contains(rest, "[EXPUNGEISSUED]") {
				tr.fail("%s", line)
			}
			return
		}
		tr.untagged(line)
	}
}

var literalEnd = regexp.MustCompile(`\{(\d+)\}$`)

// line reads a response with its literals.
func (tr *tracker) line() string {
	tr.nc.SetReadDeadline(time.Now().Add(2 * time.Minute))
	var whole strings.Builder
	for {
		line, err := tr.r.ReadString('\n')
		if err != nil {
			tr.fail("%v", err)
			return ""
		}
		whole.WriteString(strings.TrimSuffix(line, "\r\n"))
		m := literalEnd.FindStringSubmatch(strings.TrimSuffix(line, "\r\n"))
		if m == nil {
			break
		}
		n, _ := strconv.Atoi(m[1])
		literal := make([]byte, n)
		if _, err := io.ReadFull(tr.r, literal); err != nil {
			tr.fail("%v", err)
			return ""
		}
		whole.WriteString("\n")
		whole.Write(literal)
	}
	tr.log = append(tr.log, "< "+whole.String())
	return whole.String()
}

var (
	countLine = regexp.MustCompile(`^\* (\d+) (EXISTS|EXPUNGE|FETCH)(?s: (.*))?$`)
	uidItem   = regexp.MustCompile(`UID (\d+)`)
	flagsItem = regexp.MustCompile(`FLAGS \(([^)]*)\)`)
	bodyItem  = regexp.MustCompile(`(?s)BODY\[\] \{\d+\}\n(.*)\)$`)
)

func (tr *tracker) untagged(line string) {
	m := countLine.FindStringSubmatch(line)
	if m == nil {
		return
	}
	n, _ := strconv.Atoi(m[1])
	switch m[2] {
	case "EXISTS":
		if n < len(tr.uids) {
			tr.fail("EXISTS shrinks from %d to %d", len(tr.uids), n)
			return
		}
		tr.uids = append(tr.uids, make([]uint32, n-len(tr.uids))...)
	case "EXPUNGE":
		if tr.seqOnly {
			tr.fail("EXPUNGE in a command with sequence numbers")
		}
		if n < 1 || n > len(tr.uids) {
			tr.fail("EXPUNGE of %d among %d", n, len(tr.uids))
			return
		}
		delete(tr.flags, tr.uids[n-1])
		tr.uids = slices.Delete(tr.uids, n-1, n)
	case "FETCH":
		tr.fetched(n, m[3])
	}
}

func (tr *tracker) fetched(n int, data string) {
	if n < 1 || n > len(tr.uids) {
		tr.fail("FETCH of %d among %d", n, len(tr.uids))
		return
	}
	head, _, _ := strings.Cut(data, "\n")
	if m := uidItem.FindStringSubmatch(head); m != nil {
		uid, _ := strconv.ParseUint(m[1], 10, 32)
		if old := tr.uids[n-1]; old != 0 && old != uint32(uid) {
			tr.fail("message %d was UID %d and is UID %d", n, old, uid)
		}
		if n > 1 && tr.uids[n-2] >= uint32(uid) {
			tr.fail("UID %d behind UID %d", uid, tr.uids[n-2])
		}
		tr.uids[n-1] = uint32(uid)
	}
	if m := flagsItem.FindStringSubmatch(head); m != nil && tr.uids[n-1] != 0 {
		fs := strings.Fields(strings.ReplaceAll(m[1], `\Recent`, ""))
		slices.Sort(fs)
		tr.flags[tr.uids[n-1]] = strings.Join(fs, " ")
	}
	if m := bodyItem.FindStringSubmatch(data); m != nil {
		if err := tr.content.check(tr.uids[n-1], m[1]); err != nil {
			tr.fail("%v", err)
		}
	}
}

// view is all that the client knows in the end.
func (tr *tracker) view() []string {
	var v []string
	for i, uid := range tr.uids {
		v = append(v, fmt.Sprintf("%d=%d(%s)", i+1, uid, tr.flags[uid]))
	}
	return v
}
