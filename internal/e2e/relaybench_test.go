package e2e_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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
		ours: contestant{name: "buzon", pids: []int{ours.cmd.Process.Pid}, dial: func() (*smtp.Client, error) {
			client, err := smtp.DialStartTLS(ours.Addr("submission"), trust)
			if err == nil {
				err = client.Auth(sasl.NewPlainClient("", "ana@a.test", password))
			}
			return client, err
		}},
		theirs: contestant{name: "postfix", pids: []int{postfix.master(t)}, dial: func() (*smtp.Client, error) {
			return smtp.DialStartTLS(ip+":25", &tls.Config{InsecureSkipVerify: true})
		}},
		send: func(client *smtp.Client, _ *contestant) error {
			return client.SendMail("ana@a.test", []string{"eva@far.test"}, strings.NewReader(benchText))
		},
		arrived: func(*contestant) int64 { return sink.messages.Load() },
	}.run(t)
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
