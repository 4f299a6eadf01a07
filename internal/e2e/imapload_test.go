package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The rows of TestIMAPBench that need more than one session.
const (
	loadSessions  = 100
	loadMailboxes = 20
	loadMessages  = 200 // in each of them
	loadTime      = 8 * time.Second
	deliveries    = 20
)

// perOperation is how long the server takes for each operation of the load, in
// milliseconds.
func perOperation(t *testing.T, p peer) float64 {
	took, elapsed := mixedLoad(t, p)
	return milliseconds(elapsed) / float64(len(took))
}

// slowestHundredth is what 99 of 100 operations of the load do not exceed, in
// milliseconds.
func slowestHundredth(t *testing.T, p peer) float64 {
	took, _ := mixedLoad(t, p)
	slices.Sort(took)
	return milliseconds(took[len(took)*99/100])
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// mixedLoad has sessions do what mail programs do, each as fast as it is answered.
// It returns how long each operation took, and all of them together.
func mixedLoad(t *testing.T, p peer) (took []time.Duration, elapsed time.Duration) {
	t.Helper()
	first := p.session(t)
	first.do("SELECT INBOX")
	first.tryTo("CREATE Drafts")
	for m := range loadMailboxes {
		first.tryTo(fmt.Sprintf("DELETE Load%d", m))
		first.do("CREATE Load%d", m)
		first.do("COPY %d:%d Load%d", 1+m*loadMessages, (m+1)*loadMessages, m)
		first.do("SELECT Load%d", m)
		first.do("FETCH 1:* (UID FLAGS RFC822.SIZE INTERNALDATE ENVELOPE)") // as a client has done before
		first.do("SELECT INBOX")
	}
	sessions := []*imapSession{first}
	for len(sessions) < loadSessions {
		sessions = append(sessions, p.session(t))
	}
	for i, s := range sessions {
		defer s.end()
		s.races = true
		s.do("SELECT Load%d", i%loadMailboxes)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	start := time.Now()
	for i, s := range sessions {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 77))
			var mine []time.Duration
			for time.Since(start) < loadTime && !t.Failed() {
				mine = append(mine, s.operate(rnd, i%loadMailboxes))
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, mine...)
		})
	}
	all.Wait()
	return took, time.Since(start)
}

// operate does one thing that a mail program does, the frequent ones often.
func (s *imapSession) operate(rnd *rand.Rand, mailbox int) time.Duration {
	some := 1 + rnd.IntN(loadMessages-20)
	switch n := rnd.IntN(100); {
	case n < 25:
		return s.timed("NOOP")
	case n < 45:
		return s.timed("FETCH %d:%d (UID FLAGS)", loadMessages-49, loadMessages)
	case n < 60:
		return s.timed("FETCH %d:%d (UID FLAGS RFC822.SIZE INTERNALDATE ENVELOPE)", some, some+19)
	case n < 75:
		return s.timed("FETCH %d (UID BODY.PEEK[])", some)
	case n < 83:
		return s.timed(`STORE %d %cFLAGS (\Seen)`, some, "+-"[rnd.IntN(2)])
	case n < 88:
		return s.timed("UID SEARCH UNSEEN")
	case n < 93:
		return s.timed("STATUS Drafts (MESSAGES UNSEEN UIDNEXT)")
	case n < 96:
		text := "From: a@far.test\r\nSubject: draft\r\n\r\n" + strings.Repeat("a line of text that is not very long\r\n", 80)
		return s.timed("APPEND Drafts (\\Draft \\Seen) {%d+}\r\n%s", len(text), text)
	case n < 98:
		return s.timed("UID SEARCH SUBJECT invoice")
	default:
		return s.timed("SELECT Load%d", mailbox)
	}
}

// noticed is the median time from a message's arrival in new/ to its EXISTS at a
// client that waits in IDLE, in milliseconds.
func noticed(t *testing.T, p peer) float64 {
	s := p.session(t)
	defer s.end()
	s.do("SELECT INBOX")
	fmt.Fprint(s.w, "i IDLE\r\n")
	s.line()
	owner, err := os.Stat(filepath.Join(p.maildir(), "cur"))
	if err != nil {
		t.Fatal(err)
	}
	var all []time.Duration
	for i := range deliveries {
		name := fmt.Sprintf("%d.M%dP99.idle", time.Now().Unix(), i)
		tmp, path := filepath.Join(p.maildir(), "tmp", name), filepath.Join(p.maildir(), "new", name)
		if err := os.WriteFile(tmp, []byte("Subject: news\n\ntext\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if of := owner.Sys().(*syscall.Stat_t); os.Getuid() == 0 {
			os.Chown(tmp, int(of.Uid), int(of.Gid))
		}
		start := time.Now()
		if err := os.Rename(tmp, path); err != nil {
			t.Fatal(err)
		}
		for l := s.line(); l != "" && !strings.HasSuffix(strings.TrimSpace(l), "EXISTS"); l = s.line() {
		}
		all = append(all, time.Since(start))
		time.Sleep(200 * time.Millisecond) // as mail comes, one by one
	}
	slices.Sort(all)
	return milliseconds(all[len(all)/2])
}
