package e2e_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// TestRelayBench measures messages a second from users' programs through a
// relay to another host, ours beside Postfix, in turns of the same run. Both speak TLS
// with the users and put a message on the disk before they acknowledge it; ours also
// asks for a password, and signs what leaves with two keys. The clock stops when the
// other host has everything. BUZON_BENCH_MESSAGES is how many are sent by each, with
// each number of connections.
func TestRelayBench(t *testing.T) {
	messages, _ := strconv.Atoi(os.Getenv("BUZON_BENCH_MESSAGES"))
	if os.Getenv("BUZON_BENCH_RELAY") == "" || messages == 0 {
		t.Skip("make bench-relay runs it")
	}
	need(t, "postfix", "unshare")
	if os.Getuid() != 0 {
		t.Skip("Postfix needs root")
	}
	sink := startSink(t)

	ours := newHost(t, hostConfig{Domains: []string{"a.test"}, Accounts: []string{"ana@a.test"}, Extra: fmt.Sprintf(
		"[smarthost.\"*\"]\nhost = %q\nport = %d\ntls = \"none\"\n[limits]\nrecipients_per_hour = 10000000\n[queue]\nattempts_per_destination = 20\n",
		sink.ip, sink.port)})
	ours.start(t)
	trust := ours.tls(t)
	ip := loopback()
	postfix := startRelayPostfix(t, ip, sink)

	contest{
		messages: messages,
		ours: contestant{name: "buzon", pid: ours.cmd.Process.Pid, dial: func() (*smtp.Client, error) {
			client, err := smtp.DialStartTLS(ours.Addr("submission"), trust)
			if err == nil {
				err = client.Auth(sasl.NewPlainClient("", "ana@a.test", password))
			}
			return client, err
		}},
		theirs: contestant{name: "postfix", pid: postfix.master(t), dial: func() (*smtp.Client, error) {
			return smtp.DialStartTLS(ip+":25", &tls.Config{InsecureSkipVerify: true})
		}},
		send: func(client *smtp.Client, n int) error {
			return client.SendMail("ana@a.test", []string{"eva@far.test"}, strings.NewReader(benchText))
		},
		arrived: func(*contestant) int64 { return sink.messages.Load() },
	}.run(t)
}

// benchText is a message of 4 KiB.
var benchText = "From: <ana@a.test>\r\nTo: <eva@far.test>\r\nSubject: bench\r\n\r\n" + strings.Repeat(strings.Repeat("x", 78)+"\r\n", 50)

// contest measures two servers in turns.
type contest struct {
	messages     int // that each is sent with each number of connections
	ours, theirs contestant
	send         func(client *smtp.Client, n int) error // the n-th message
	arrived      func(*contestant) int64                // messages so far
}

// contestant is a server that is measured.
type contestant struct {
	name string
	pid  int // of the process that has all others below it
	dial func() (*smtp.Client, error)
}

// contestRounds are the turns: the first one warms up, and of the others the median
// counts, for the machine does other things too.
const contestRounds = 8

func (c contest) run(t *testing.T) {
	t.Helper()
	fmt.Printf("load average %s\n%-8s %11s %11s %11s %13s\n", loadAverage(), "", "connections", "accepted/s", "delivered/s", "cpu a message")
	for _, connections := range []int{1, 20} {
		var results [2][]turn
		for round := range contestRounds {
			for i, server := range []*contestant{&c.ours, &c.theirs} {
				r := c.turn(t, server, connections, max(connections, c.messages/(contestRounds-1)))
				if round > 0 {
					results[i] = append(results[i], r)
				}
			}
		}
		var ratios []float64
		for round := range results[0] {
			ratios = append(ratios, results[0][round].delivered/results[1][round].delivered)
		}
		for i, server := range []*contestant{&c.ours, &c.theirs} {
			fmt.Printf("%-8s %11d %11.0f %11.0f %13s\n", server.name, connections, medianOf(results[i], func(r turn) float64 { return r.accepted }),
				medianOf(results[i], func(r turn) float64 { return r.delivered }),
				time.Duration(medianOf(results[i], func(r turn) float64 { return float64(r.cpu) })).Round(10*time.Microsecond))
		}
		slices.Sort(ratios)
		fmt.Printf("%-8s %11d %23.2fx (%.2f to %.2f)\n", "ratio", connections, ratios[len(ratios)/2], ratios[0], ratios[len(ratios)-1])
	}
	fmt.Printf("load average %s\n", loadAverage())
}

// turn is what one server has done in one turn.
type turn struct {
	accepted, delivered float64       // a second
	cpu                 time.Duration // of the server, for each message
}

func medianOf(turns []turn, of func(turn) float64) float64 {
	var all []float64
	for _, r := range turns {
		all = append(all, of(r))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// turn sends messages over so many connections and waits until they have arrived.
func (c contest) turn(t *testing.T, server *contestant, connections, messages int) (r turn) {
	t.Helper()
	clients := make([]*smtp.Client, connections)
	for i := range clients {
		var err error
		if clients[i], err = server.dial(); err != nil {
			t.Fatal(err)
		}
		defer clients[i].Close()
	}
	before, used := c.arrived(server), treeTime(server.pid)
	began := time.Now()
	var left atomic.Int64
	left.Store(int64(messages))
	var work sync.WaitGroup
	for _, client := range clients {
		work.Go(func() {
			for n := left.Add(-1); n >= 0; n = left.Add(-1) {
				if err := c.send(client, int(n)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
	r.accepted = float64(messages) / time.Since(began).Seconds()
	eventually(t, 10*patience, func() error {
		if n := c.arrived(server) - before; n < int64(messages) {
			return fmt.Errorf("%d of %d messages have arrived at %s", n, messages, server.name)
		}
		return nil
	})
	r.delivered = float64(messages) / time.Since(began).Seconds()
	r.cpu = (treeTime(server.pid) - used) / time.Duration(messages)
	return r
}

// treeTime is the processor time that a process and those below it have used, the
// ended ones included.
func treeTime(pid int) (total time.Duration) {
	children := make(map[int][]int)
	used := make(map[int]time.Duration)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		text, _ := os.ReadFile(name)
		head, rest, _ := strings.Cut(string(text), ") ")
		f := strings.Fields(rest)
		id, err := strconv.Atoi(strings.Fields(head + " -")[0])
		if err != nil || len(f) < 15 {
			continue
		}
		parent, _ := strconv.Atoi(f[1])
		children[parent] = append(children[parent], id)
		for _, ticks := range f[11:15] {
			n, _ := strconv.Atoi(ticks)
			used[id] += time.Duration(n) * 10 * time.Millisecond
		}
	}
	for below := []int{pid}; len(below) > 0; below = below[1:] {
		total += used[below[0]]
		below = append(below, children[below[0]]...)
	}
	return total
}

// sink is a host that takes everything and keeps nothing.
type sink struct {
	ip       string
	port     int
	messages atomic.Int64
}

func startSink(t *testing.T) *sink {
	t.Helper()
	s := &sink{ip: loopback()}
	ln, err := net.Listen("tcp", s.ip+":0")
	if err != nil {
		t.Fatal(err)
	}
	s.port = ln.Addr().(*net.TCPAddr).Port
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go s.serve(conn)
		}
	}()
	t.Cleanup(func() { ln.Close() })
	return s
}

func (s *sink) serve(conn net.Conn) {
	defer conn.Close()
	r, w := bufio.NewReaderSize(conn, 64<<10), bufio.NewWriter(conn)
	fmt.Fprint(w, "220 sink.test ESMTP\r\n")
	inMessage := false
	for {
		if r.Buffered() == 0 {
			w.Flush()
		}
		conn.SetDeadline(time.Now().Add(10 * patience))
		line, err := r.ReadSlice('\n')
		switch {
		case err != nil:
			return
		case inMessage:
			if string(line) == ".\r\n" {
				inMessage = false
				s.messages.Add(1)
				fmt.Fprint(w, "250 2.0.0 taken\r\n")
			}
		case bytes.HasPrefix(line, []byte("EHLO")):
			fmt.Fprint(w, "250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 0\r\n")
		case bytes.HasPrefix(line, []byte("DATA")):
			inMessage = true
			fmt.Fprint(w, "354 go\r\n")
		case bytes.HasPrefix(line, []byte("QUIT")):
			fmt.Fprint(w, "221 bye\r\n")
			w.Flush()
			return
		default:
			fmt.Fprint(w, "250 2.0.0 ok\r\n")
		}
	}
}

// startRelayPostfix runs Postfix with its defaults, as a relay to the sink.
func startRelayPostfix(t *testing.T, ip string, to *sink) *mailPeer {
	t.Helper()
	p := newPostfixPeer(t, ip, func(main string) string {
		return strings.NewReplacer("transport_maps = inline:{{ a.test = smtp:[{peer}]:{port} }}", fmt.Sprintf("relayhost = [%s]:%d", to.ip, to.port),
			"security_level = encrypt", "security_level = none", "smtp_tls_loglevel = 1", "smtp_tls_loglevel = 0").Replace(main)
	})
	p.startPostfix(t, nil)
	return p
}

// master is the process that has started all others of Postfix.
func (p *mailPeer) master(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, "queue", "pid", "master.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}
