package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// fromEnv is a number that `make` may set.
func fromEnv(t testing.TB, key string, otherwise int) int {
	text := os.Getenv(key)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	return n
}

// TestStorm has another program toggle flags by renaming files, first at 45 a
// second and then as fast as it can, while a client with QRESYNC looks on and
// others come and go. Nobody removes a message, so none may vanish and no UID be
// given. `make storm` runs it at length, with Dovecot beside it.
func TestStorm(t *testing.T) {
	messages := fromEnv(t, "BUZON_STORM_MESSAGES", 2000)
	during := time.Duration(fromEnv(t, "BUZON_STORM_SECONDS", 2)) * time.Second
	o := newOurs(t)
	fillMaildir(t, o.maildir(), messages)
	o.start(t)
	got := storm(t, o, messages, during)
	fmt.Println(got)
	if got.vanished > 0 || got.appeared > 0 || got.next != messages+1 || got.messages != messages {
		t.Errorf("%v: nobody removed or added anything", got)
	}
	if os.Getenv("BUZON_STORM_SECONDS") == "" {
		return
	}
	t.Run("dovecot", func(t *testing.T) {
		d := newDovecot(t)
		fillMaildir(t, d.maildir(), messages)
		d.own(t)
		fmt.Println(storm(t, d, messages, during))
	})
}

// stormReport is what a client saw that should have seen flags only.
type stormReport struct {
	server             string
	renames, opens     int
	vanished, appeared int // told to the observer
	flags              int // the same
	messages, next     int // in the end
}

func (r stormReport) String() string {
	return fmt.Sprintf("storm %-8s %7d renames, %6d flags told, %4d opens: phantom expunges=%d, messages that came again=%d, UIDNEXT %d of %d",
		r.server, r.renames, r.flags, r.opens, r.vanished, r.appeared, r.next, r.messages+1)
}

func storm(t *testing.T, p peer, messages int, during time.Duration) stormReport {
	r := stormReport{server: p.name()}
	observer := p.session(t)
	defer observer.end()
	observer.do("ENABLE QRESYNC")
	exists := existing(observer.do("SELECT INBOX"))
	if exists != messages {
		t.Fatalf("%s shows %d messages of %d", p.name(), exists, messages)
	}
	quit, ended := make(chan struct{}), make(chan int)
	var unthrottled atomic.Bool
	go func() { ended <- toggle(t, filepath.Join(p.maildir(), "cur"), quit, &unthrottled) }()
	start := time.Now()
	for time.Since(start) < during {
		if time.Since(start) > during/2 {
			unthrottled.Store(true)
		}
		observer.each(r.count, "NOOP")
		visitor := p.session(t)
		visitor.do("SELECT INBOX")
		visitor.end()
		r.opens++
	}
	close(quit)
	r.renames = <-ended
	time.Sleep(1100 * time.Millisecond) // Dovecot looks again only when a second has passed
	observer.each(r.count, "NOOP")
	last := p.session(t)
	defer last.end()
	status := last.do("SELECT INBOX")
	r.messages, r.next = existing(status), number(status, "[UIDNEXT")
	return r
}

// existing is the number of messages that SELECT tells.
func existing(lines []string) int {
	for _, l := range lines {
		if n, ok := strings.CutSuffix(strings.TrimSpace(l), " EXISTS"); ok {
			v, _ := strconv.Atoi(strings.TrimPrefix(n, "* "))
			return v
		}
	}
	return -1
}

// count takes in one untagged response.
func (r *stormReport) count(line string) {
	switch {
	case strings.HasPrefix(line, "* VANISHED "):
		r.vanished += uidsIn(strings.TrimSpace(strings.TrimPrefix(line, "* VANISHED ")))
	case strings.HasSuffix(strings.TrimSpace(line), " EXPUNGE"):
		r.vanished++
	case strings.HasSuffix(strings.TrimSpace(line), " EXISTS"):
		r.appeared++
	case strings.Contains(line, " FETCH ("):
		r.flags++
	}
}

func uidsIn(set string) (n int) {
	for part := range strings.SplitSeq(set, ",") {
		from, to, ranged := strings.Cut(part, ":")
		a, _ := strconv.Atoi(from)
		b := a
		if ranged {
			b, _ = strconv.Atoi(to)
		}
		n += max(a, b) - min(a, b) + 1
	}
	return n
}

// toggle renames files in cur until quit, 45 a second or as fast as it can.
func toggle(t *testing.T, cur string, quit chan struct{}, unthrottled *atomic.Bool) (n int) {
	entries, err := os.ReadDir(cur)
	if err != nil {
		t.Error(err)
		return 0
	}
	rng := rand.New(rand.NewPCG(uint64(len(entries)), 1))
	tick := time.NewTicker(time.Second / 45)
	defer tick.Stop()
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	for {
		select {
		case <-quit:
			return n
		default:
		}
		if !unthrottled.Load() {
			<-tick.C
		}
		i := rng.IntN(len(names))
		to := toggledName(names[i])
		if err := os.Rename(filepath.Join(cur, names[i]), filepath.Join(cur, to)); err != nil {
			t.Error(err)
			return n
		}
		names[i] = to
		n++
	}
}
