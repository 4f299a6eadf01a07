package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"buzon/internal/e2e/child"
)

// TestIMAPBench prints what IMAP commands cost on one large mailbox, ours beside
// Dovecot's on equal trees, row by row in turns. `make bench-imap` runs it, and with
// BUZON_BENCH_ROWS only the rows that this regular expression matches. Ours is asked
// over TCP, Dovecot through a pipe, both without TLS, but for the memory of a session.
func TestIMAPBench(t *testing.T) {
	messages := fromEnv(t, "BUZON_BENCH_MESSAGES", 0)
	if messages == 0 {
		t.Skip("make bench-imap runs it")
	}
	d := newDovecot(t)
	o := &ours{host: newHost(t, hostConfig{Domains: []string{"bench.test"}, Accounts: []string{benchAccount}, Extra: benchSettings}), withoutTLS: true}
	fillRealistic(t, d.maildir(), messages)
	if err := os.MkdirAll(filepath.Dir(o.maildir()), 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := child.Command(t, 10*time.Minute, "cp", "-a", d.maildir(), o.maildir()).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v %s", err, out)
	}
	d.own(t)
	child.Command(t, 10*time.Minute, "sync").Run()
	o.start(t)
	fmt.Printf("%d messages; load average %s\n%-42s %12s %12s %8s %8s\n", messages, loadAverage(), "", "dovecot", "buzon", "ratio", "wanted")
	only := regexp.MustCompile(os.Getenv("BUZON_BENCH_ROWS"))
	for _, row := range imapRows {
		if !only.MatchString(row.what) {
			continue
		}
		theirs, mine := row.compare(t, d, o)
		print := func(v float64) string { return fmt.Sprintf("%.3g %s", v, row.unit()) }
		note := ""
		if theirs/mine < row.wanted {
			note = "  below"
		}
		fmt.Printf("%-42s %12s %12s %7.1fx %7.1fx%s\n", row.what, print(theirs), print(mine), theirs/mine, row.wanted, note)
	}
	fmt.Printf("load average %s at the end\n", loadAverage())
}

// An imapRow is one line of the table: a command on the selected INBOX, its time
// the median of some runs, each in a session of its own. The files of the messages are
// in the system's memory for both peers, in cold rows too.
type imapRow struct {
	what, command string
	wanted        float64 // times faster than Dovecot
	cold          bool    // the server has no index and nothing in memory
	before        string  // a command that is not timed
	run           func(s *imapSession) time.Duration
	perSession    bool // memory for each session in IDLE instead of a time
	whole         func(t *testing.T, p peer) float64
}

var imapRows = []imapRow{
	{what: "SELECT, cold", command: "SELECT Cold", wanted: 1, cold: true},
	{what: "SELECT", command: "SELECT INBOX", wanted: 1},
	{what: "FETCH UID FLAGS", command: "FETCH 1:* (UID FLAGS)", wanted: 2},
	{what: "FETCH ENVELOPE BODYSTRUCTURE, cold", command: fetchOverview, wanted: 2, cold: true},
	{what: "FETCH ENVELOPE BODYSTRUCTURE", command: fetchOverview, wanted: 5},
	{what: "FETCH HEADER.FIELDS, cold", command: fetchFields, wanted: 2, cold: true},
	{what: "FETCH HEADER.FIELDS", command: fetchFields, wanted: 2},
	{what: "FETCH BODY.PEEK[]", command: "FETCH 1:* (UID BODY.PEEK[])", wanted: 1},
	{what: "SEARCH FLAGGED", command: "SEARCH FLAGGED", wanted: 1},
	{what: "SEARCH SINCE", command: "SEARCH SINCE 1-Jun-2025", wanted: 1},
	{what: "FETCH PREVIEW", command: "FETCH 1:* (UID PREVIEW)", wanted: 2},
	{what: "SEARCH FROM, cold", command: "SEARCH FROM p77@far.test", wanted: 1, cold: true},
	{what: "SEARCH BODY, cold", command: "SEARCH BODY " + rareWord, wanted: 1, cold: true},
	{what: "SEARCH TEXT", command: "SEARCH TEXT " + rareWord, wanted: 20},
	{what: "SEARCH SUBJECT", command: "SEARCH SUBJECT invoice", wanted: 1},
	{what: "SEARCH BODY", command: "SEARCH BODY " + rareWord, wanted: 20},
	{what: "SORT (SUBJECT)", command: "SORT (SUBJECT) UTF-8 ALL", wanted: 3},
	{what: "THREAD REFERENCES", command: "THREAD REFERENCES UTF-8 ALL", wanted: 3},
	{what: `STORE 1:* +FLAGS (\Seen)`, before: `STORE 1:* -FLAGS.SILENT (\Seen)`, command: `STORE 1:* +FLAGS (\Seen)`, wanted: 1},
	{what: "STORE of one message, 200 times", run: storeMany, wanted: 1},
	{what: "APPEND of 4 KiB, 500 times", run: appendMany, wanted: 2},
	{what: "COPY of 1000", before: "CREATE Copies", command: "COPY 1:1000 Copies", wanted: 1},
	{what: "EXPUNGE of 1000", run: expungeCopies, wanted: 1},
	{what: "delivery to its notice in IDLE, median", whole: noticed, wanted: 50},
	{what: "load of 100 sessions, each operation", whole: perOperation, wanted: 3},
	{what: "load of 100 sessions, slowest 1 %", whole: slowestHundredth, wanted: 5},
	{what: "memory of an idle session", perSession: true, wanted: 20},
}

const (
	fetchOverview = "FETCH 1:* (UID RFC822.SIZE INTERNALDATE ENVELOPE BODYSTRUCTURE)"
	fetchFields   = "FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT DATE MESSAGE-ID)])"
	benchSettings = "[imap]\nplaintext_login = \"loopback\"\n[limits]\nimap_sessions_per_user = 1000\nimap_sessions_per_user_and_address = 1000\n"
	coldMailbox   = "Cold"
	rareWord      = "zanzibarquux" // in one message of a thousand
	runs          = 5              // of each peer; odd, for the median
	idleProcesses = 50
	// idleSessions is more: what a few leave to the collector is more than they keep.
	idleSessions = 400
)

func (row imapRow) unit() string {
	if row.perSession {
		return "KiB"
	}
	return "ms"
}

// compare gives milliseconds, or KiB, of two peers. It goes to and fro between them
// (ABBA), for a disk has its moods.
func (row imapRow) compare(t *testing.T, a, b peer) (ofA, ofB float64) {
	switch {
	case row.whole != nil:
		return row.whole(t, a), row.whole(t, b)
	case row.perSession:
		return idleMemory(t, a), idleMemory(t, b)
	}
	if strings.HasSuffix(row.command, coldMailbox) {
		copyInbox(t, a)
		copyInbox(t, b)
	}
	var as, bs []float64
	for i := range runs {
		if i%2 == 0 {
			as = append(as, row.once(t, a))
		}
		bs = append(bs, row.once(t, b))
		if i%2 == 1 {
			as = append(as, row.once(t, a))
		}
	}
	slices.Sort(as)
	slices.Sort(bs)
	return as[len(as)/2], bs[len(bs)/2]
}

// once gives milliseconds.
func (row imapRow) once(t *testing.T, p peer) float64 {
	show := func() {}
	if row.cold {
		show = hideColdMailbox(t, p)
		forget(t, p)
	}
	s := p.session(t)
	defer s.end()
	show()
	if !strings.HasPrefix(row.command, "SELECT") {
		s.do("SELECT INBOX")
	}
	if row.before != "" {
		s.tryTo("DELETE Copies")
		s.do("%s", row.before)
	}
	took := time.Duration(0)
	if row.run != nil {
		took = row.run(s)
	} else {
		took = s.timed("%s", row.command)
	}
	return milliseconds(took)
}

// tryTo runs a command that may fail.
func (s *imapSession) tryTo(command string) {
	s.tag++
	fmt.Fprintf(s.w, "t%d %s\r\n", s.tag, command)
	for l := s.line(); l != "" && !strings.HasPrefix(l, fmt.Sprintf("t%d ", s.tag)); l = s.line() {
	}
}

func storeMany(s *imapSession) (took time.Duration) {
	for i := range 200 {
		took += s.timed(`UID STORE %d %cFLAGS (\Flagged)`, 1+i/2*7, "+-"[i%2])
	}
	return took
}

func appendMany(s *imapSession) (took time.Duration) {
	text := "From: a@far.test\r\nSubject: appended\r\n\r\n" + strings.Repeat("a line of text that is not very long\r\n", 108)
	s.tryTo("DELETE Appended")
	s.do("CREATE Appended")
	for range 500 {
		took += s.timed("APPEND Appended {%d+}\r\n%s", len(text), text)
	}
	return took
}

func expungeCopies(s *imapSession) time.Duration {
	s.tryTo("DELETE Copies")
	s.do("CREATE Copies")
	s.do("COPY 1:1000 Copies")
	s.do("SELECT Copies")
	s.do(`STORE 1:* +FLAGS.SILENT (\Deleted)`)
	return s.timed("EXPUNGE")
}

// forget takes the indexes away, and what a server has in memory.
func forget(t *testing.T, p peer) {
	if o, ok := p.(*ours); ok {
		if o.cmd == nil {
			o.start(t)
			o.session(t).end() // the first log-in of an account makes its folders, and looks
		}
		o.stop(t)
		forgetFiles(p, "dovecot-uidlist")
		if err := os.RemoveAll(filepath.Join(o.data(), "state")); err != nil {
			t.Fatal(err)
		}
		o.start(t)
		return
	}
	forgetFiles(p, "dovecot*")
}

// forgetFiles removes files beside the messages, of all mailboxes and of a hidden one.
func forgetFiles(p peer, pattern string) {
	for _, dir := range []string{"", ".*"} {
		old, _ := filepath.Glob(filepath.Join(p.maildir()+"*", dir, pattern))
		for _, name := range old {
			os.Remove(name)
		}
	}
}

// hideColdMailbox takes the mailbox for the cold SELECT out of the tree, where there
// is one, until show: ours looks at all mailboxes when it starts.
func hideColdMailbox(t *testing.T, p peer) (show func()) {
	path, aside := filepath.Join(p.maildir(), "."+coldMailbox), p.maildir()+"-"+coldMailbox
	if os.Rename(path, aside) != nil {
		return func() {}
	}
	return func() {
		if err := os.Rename(aside, path); err != nil {
			t.Fatal(err)
		}
	}
}

// copyInbox makes the mailbox for the cold SELECT: the log-in has looked at INBOX.
func copyInbox(t *testing.T, p peer) {
	if o, ok := p.(*ours); ok && o.cmd == nil {
		o.start(t)
	}
	s := p.session(t)
	defer s.end()
	s.do("SELECT INBOX")
	s.tryTo("DELETE " + coldMailbox)
	s.do("CREATE " + coldMailbox)
	s.do("COPY 1:* " + coldMailbox)
}

// idleMemory is how much more memory each session takes that waits in IDLE.
func idleMemory(t *testing.T, p peer) float64 {
	if o, ok := p.(*ours); ok {
		o.withoutTLS = false // it is the usual session that must cost little
	}
	p.restart(t) // with no memory left over from the rows before
	var all []*imapSession
	open := func(n int) {
		for range n {
			s := p.session(t)
			s.do("SELECT INBOX")
			fmt.Fprint(s.w, "i IDLE\r\n")
			s.line()
			all = append(all, s)
		}
	}
	defer func() {
		for _, s := range all {
			s.end()
		}
	}()
	first, n := idleSessions, idleSessions
	if _, ok := p.(*dovecot); ok {
		first, n = 5, idleProcesses
	}
	const giveBack = 5 * time.Second // buffers are given back after a while
	open(first)                      // with what the first log-in left behind
	time.Sleep(giveBack)
	before := proportional(p.pids())
	open(n)
	time.Sleep(giveBack)
	return float64(proportional(p.pids())-before) / float64(n)
}

// proportional is the memory of processes in KiB, what they share counted once.
func proportional(pids []int) (total int) {
	for _, pid := range pids {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if m := regexp.MustCompile(`Pss:\s+(\d+) kB`).FindSubmatch(text); m != nil {
			n, _ := strconv.Atoi(string(m[1]))
			total += n
		}
	}
	return total
}

func loadAverage() string {
	b, _ := os.ReadFile("/proc/loadavg")
	return strings.Join(strings.Fields(string(b))[:3], " ")
}

// fillRealistic writes n messages of 20 KiB on average, the same at each call:
// plain text, alternatives and attachments, with line ends as other programs on
// this system leave them.
func fillRealistic(t *testing.T, dir string, n int) {
	t.Helper()
	for _, d := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		date := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(i) * 6 * time.Hour * 1000 / time.Duration(n))
		name := fmt.Sprintf("%d.M%dP77Q%d.host:2,%s", date.Unix(), i%1000000, i, []string{"", "S", "S", "RS", "FS"}[rnd.IntN(5)])
		path := filepath.Join(dir, "cur", name)
		if err := os.WriteFile(path, realistic(rnd, i, date), 0o600); err != nil {
			t.Fatal(err)
		}
		os.Chtimes(path, date, date)
	}
}

func realistic(rnd *rand.Rand, i int, date time.Time) []byte {
	var m strings.Builder
	for hop := range 3 + rnd.IntN(4) {
		fmt.Fprintf(&m, "Received: from relay%d.far.test (relay%[1]d.far.test [192.0.2.%d])\n\tby mx.bench.test with ESMTPS id %x;\n\t%s\n",
			hop, rnd.IntN(250), rnd.Uint64(), date.Format(time.RFC1123Z))
	}
	about := []string{"invoice", "minutes", "holiday", "Réunion", "release", "question"}[rnd.IntN(6)]
	if about == "Réunion" {
		about = "=?UTF-8?Q?R=C3=A9union?="
	}
	fmt.Fprintf(&m, "DKIM-Signature: v=1; a=rsa-sha256; d=far.test; s=s1;\n\tb=%s\n", noise(rnd, 340))
	fmt.Fprintf(&m, "From: Person %d <p%[1]d@far.test>\nTo: %s\nSubject: %s %d\nDate: %s\nMessage-ID: <%d@far.test>\n",
		rnd.IntN(300), benchAccount, about, i/4, date.Format(time.RFC1123Z), i)
	if i%4 > 0 {
		fmt.Fprintf(&m, "In-Reply-To: <%d@far.test>\nReferences: <%d@far.test> <%[1]d@far.test>\n", i-1, i/4*4)
	}
	m.WriteString("MIME-Version: 1.0\n")
	text := words(rnd, 500+int(8000*rnd.ExpFloat64()))
	if i%1000 == 500 {
		text += rareWord + "\n"
	}
	const plain = "Content-Type: text/plain; charset=utf-8\n\n"
	switch kind := rnd.IntN(100); {
	case kind < 55:
		m.WriteString(plain + text)
	case kind < 80:
		fmt.Fprintf(&m, "Content-Type: multipart/alternative; boundary=alt\n\n--alt\n%s%s\n--alt\nContent-Type: text/html; charset=utf-8\n\n<html><p>%s</html>\n--alt--\n", plain, text, text)
	default:
		fmt.Fprintf(&m, "Content-Type: multipart/mixed; boundary=mix\n\n--mix\n%s%s\n--mix\nContent-Type: application/pdf; name=a.pdf\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=a.pdf\n\n%s\n--mix--\n",
			plain, text, noise(rnd, 40_000))
	}
	return []byte(m.String())
}

// words is some text of about n bytes.
func words(rnd *rand.Rand, n int) string {
	some := []string{"the", "message", "of", "our", "house", "and", "every", "letter", "is", "delivered", "with", "care", "tomorrow", "Überraschung"}
	var b strings.Builder
	for column := 0; b.Len() < n; column++ {
		b.WriteString(some[rnd.IntN(len(some))])
		b.WriteByte(" \n"[min(1, column%11/10)])
	}
	return b.String() + "\n"
}

// noise is n characters of base64 in lines.
func noise(rnd *rand.Rand, n int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	b := make([]byte, 0, n+n/38)
	for i := range n / 4 * 4 {
		if i > 0 && i%76 == 0 {
			b = append(b, "\n "[:1+min(1, max(0, 341-n))]...)
		}
		b = append(b, alphabet[rnd.IntN(64)])
	}
	return string(b)
}
