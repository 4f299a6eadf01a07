package milter

import (
	"bufio"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"buzon/internal/message"
	"buzon/internal/smtp"
)

// packet is one as it goes over the wire.
func packet(code byte, data ...string) string {
	text := strings.Join(data, "")
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(text)+1))) + string(code) + text
}

func number(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }

// optneg is what a filter says to our offer.
func optneg(version, actions, steps uint32) string {
	return packet(cmdNegotiate, number(version), number(actions), number(steps))
}

var wantsAll = optneg(6, allActions, 0)

// fake is a filter that answers by a script: what it sends for each command.
// "" is to go on; "hang" is to say nothing, "close" to end the connection.
type fake struct {
	script map[byte]string

	mu    sync.Mutex
	heard []string // command and data, one a line; macros with their command
}

// generous is for a machine that is busy; who tests time-outs sets his own.
const generous = time.Minute

// start runs the fake on a socket until the test ends.
func (f *fake) start(t testing.TB) *Filter {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() { f.serve(conn) })
		}
	})
	t.Cleanup(func() { ln.Close(); running.Wait() })
	return New(Config{Name: "fake", Network: "unix", Address: path, Timeout: generous})
}

func (f *fake) serve(conn net.Conn) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * generous))
	r := bufio.NewReader(conn)
	for {
		var head [5]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		data := make([]byte, binary.BigEndian.Uint32(head[:])-1)
		if _, err := io.ReadFull(r, data); err != nil {
			return
		}
		f.note(head[4], data)
		f.mu.Lock()
		answer, scripted := f.script[head[4]]
		f.mu.Unlock()
		switch {
		case head[4] == cmdQuit || answer == "close":
			return
		case answer == "hang" || head[4] == cmdMacros || head[4] == cmdAbort || answer == "silent":
			continue
		case !scripted && head[4] == cmdNegotiate:
			answer = wantsAll
		case !scripted:
			answer = packet(replyContinue)
		}
		if _, err := io.WriteString(conn, answer); err != nil {
			return
		}
	}
}

func (f *fake) note(code byte, data []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heard = append(f.heard, string(code)+" "+strings.ReplaceAll(string(data), "\x00", "|"))
}

// transcript is what the filter has heard, without the offer.
func (f *fake) transcript() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var lines []string
	for _, line := range f.heard {
		if line[0] != cmdNegotiate {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

var (
	testHost   = Host{Name: "mx.buzon.test", Daemon: "smtp", Version: "Buzon"}
	testClient = Client{
		IP: netip.MustParseAddr("192.0.2.7"), Port: 4711, Local: netip.MustParseAddrPort("192.0.2.1:25"), Name: "mx.far.test", PTR: "mx.far.test",
		Helo: "far.test", TLSVersion: "TLSv1.3", Cipher: "TLS_AES_128_GCM_SHA256", CipherBits: 128,
	}
	eva = smtp.Address{Local: "eva", Domain: "far.test"}
	ana = smtp.Address{Local: "ana", Domain: "buzon.test"}
)

func begin(t testing.TB, filters ...*Filter) *Conversation {
	t.Helper()
	v := NewChain(testHost, filters...).Begin(t.Context(), slog.New(slog.DiscardHandler), testClient)
	t.Cleanup(v.Close)
	return v
}

// memory is a Body.
type memory struct{ text []byte }

func (m *memory) Write(p []byte) (int, error) { m.text = append(m.text, p...); return len(p), nil }
func (m *memory) Size() int64                 { return int64(len(m.text)) }
func (m *memory) Close() error                { return nil }
func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	return strings.NewReader(string(m.text)).ReadAt(p, off)
}

func messageOf(text string) *Message {
	h := message.ParseHeader([]byte(text))
	body := text[len(h.Raw()):]
	return &Message{
		Header: NewHeader(h), Body: strings.NewReader(body), BodySize: int64(len(body)),
		Size: int64(len(text)), MaxSize: 1 << 20, NewBody: func() Body { return &memory{} },
	}
}

// text is the message with a line where ours go.
func (m *Message) text() string {
	body, _ := io.ReadAll(io.NewSectionReader(m.Body, 0, m.BodySize))
	return string(m.Header.Top()) + "--\r\n" + string(m.Header.Raw()) + string(body)
}
