package smtpd

import (
	"bytes"
	"errors"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"

	"buzon/internal/limit"
)

// segments is a connection on which the octets come in pieces.
type segments struct {
	net.Conn // for what is not used
	data     []byte
	sizes    []byte
	n        int
}

func (s *segments) Read(p []byte) (int, error) {
	if len(s.data) == 0 {
		return 0, io.EOF
	}
	size := 1
	if len(s.sizes) > 0 {
		size += int(s.sizes[s.n%len(s.sizes)])
		s.n++
	}
	n := copy(p, s.data[:min(size, len(s.data))])
	s.data = s.data[n:]
	return n, nil
}

// oracle reads a message the slow way: to the first CRLF.CRLF, where the
// message begins after a CRLF, without the dots that were stuffed.
func oracle(stream string) (text string, stray bool, rest string, ok bool) {
	const end = "\r\n.\r\n"
	body, rest, ok := strings.Cut("\r\n"+stream, end)
	body = strings.ReplaceAll(body+"\r\n", "\r\n.", "\r\n")
	bare := strings.ReplaceAll(body, "\r\n", "")
	return body[2:], strings.ContainsAny(bare, "\r\n"), rest, ok
}

// However the octets are cut into segments, the reader and the oracle agree
// on the text, on whether it is refused, and on where commands begin again.
func FuzzData(f *testing.F) {
	for _, s := range []string{".\r\n", "a\r\n.\r\nQUIT\r\n", "..\r\n.\r\n", "\r\n\r\n.\r\n", "a\n.\n\r\n.\r\n", "\r\r\n.\r\n", ".\r\r\n.\r\n", ".x\r\n...\r\n.\r\n"} {
		f.Add([]byte(s), []byte{0})
		f.Add([]byte(s), []byte{1, 200, 0})
	}
	f.Fuzz(func(t *testing.T, stream, sizes []byte) {
		c := &client{ctx: t.Context(), nc: &segments{Conn: &net.TCPConn{}, data: bytes.Clone(stream), sizes: sizes}}
		defer c.in.release()
		d := &dataReader{g: &gate{c: c}, limit: 1 << 40, lineStart: true}
		var got bytes.Buffer
		_, err := (&body{source: d}).WriteTo(&got)
		text, stray, rest, ok := oracle(string(stream))
		switch {
		case !ok:
			if !errors.Is(err, errOver) && err != error(replyStray) {
				t.Fatalf("no end in %q: %v", stream, err)
			}
			if !errors.Is(d.err, errOver) {
				t.Fatalf("an end was seen in %q", stream)
			}
			return
		case stray != (err == error(replyStray)):
			t.Fatalf("%q: stray %v, error %v", stream, stray, err)
		case !stray && (err != nil || got.String() != text):
			t.Fatalf("%q: %v, %q, want %q", stream, err, got.String(), text)
		}
		left, _ := io.ReadAll(c.nc)
		if behind := string(c.in.unread()) + string(left); behind != rest {
			t.Fatalf("%q: %q follows, want %q", stream, behind, rest)
		}
	})
}

// The chunk reader refuses exactly what holds a bare CR or LF, and takes not
// one octet more than its chunk.
func FuzzChunks(f *testing.F) {
	f.Add([]byte("a\r\nb"), []byte{0}, uint16(2))
	f.Add([]byte("a\r\r\n"), []byte{1}, uint16(0))
	f.Fuzz(func(t *testing.T, data, sizes []byte, behind uint16) {
		size := max(0, len(data)-int(behind))
		c := &client{ctx: t.Context(), nc: &segments{Conn: &net.TCPConn{}, data: bytes.Clone(data), sizes: sizes}}
		defer c.in.release()
		r := &chunkReader{g: &gate{c: c}, limit: 1 << 40, left: int64(size), last: true}
		got, err := io.ReadAll(&body{source: r})
		stray := bytes.ContainsAny(bytes.ReplaceAll(data[:size], []byte("\r\n"), nil), "\r\n")
		if stray != (err == error(replyStray)) || err == nil && !bytes.Equal(got, data[:size]) {
			t.Fatalf("%q: %v, %q", data[:size], err, got)
		}
		left, _ := io.ReadAll(c.nc)
		if rest := append(bytes.Clone(c.in.unread()), left...); !bytes.Equal(rest, data[size:]) {
			t.Fatalf("%q follows, want %q", rest, data[size:])
		}
	})
}

// Whatever a client says in whatever state, every reply is well-formed, the
// connection ends, and what is stored was acknowledged, neither more nor less.
func FuzzConversation(f *testing.F) {
	states := []func(p *peer){
		func(*peer) {},
		func(p *peer) { p.hello() },
		func(p *peer) { p.hello().say("MAIL FROM:<x@remote.test>", "250 ") },
		func(p *peer) {
			p.hello().say("MAIL FROM:<x@remote.test>", "250 ")
			p.say("RCPT TO:<ana@buzon.test>", "250 ")
		},
		func(p *peer) { p.hello().transaction("x@remote.test", "ana@buzon.test") },
	}
	for i, s := range []string{
		"EHLO x\r\n", "MAIL FROM:<a@b> SIZE=1 BODY=8BITMIME\r\nRCPT TO:<ana@buzon.test>\r\n", "RCPT TO:<both@buzon.test>\r\nBDAT 3 LAST\r\n\r\nx",
		"BDAT 2\r\n\r\nBDAT 2 LAST\r\n\r\nRSET\r\n", "a\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<ana@buzon.test>\r\nDATA\r\n", "STARTTLS\r\n", "QUIT\r\n",
		"AUTH PLAIN =\r\n", "BDAT 0\r\nDATA\r\nRSET\r\nBDAT 5\r\nab", "\n.\n\r\n.\r\n",
	} {
		f.Add(byte(i), []byte(s))
	}
	line := regexp.MustCompile(`^[2-5][0-9][0-9][ -][^\x00-\x1f\x7f]*\r\n$`)
	f.Fuzz(func(t *testing.T, state byte, input []byte) {
		h := newHouse(t)
		delivered := 0
		synctest.Test(t, func(t *testing.T) {
			h.t = t
			cfg := h.cfg
			cfg.Conns = limit.NewConns(limit.ConnsConfig{})
			l := newPipeListener()
			defer h.close()
			defer h.stop()
			h.run(NewIncoming(cfg), l)
			p := l.dial(t)
			states[int(state)%len(states)](p)
			go p.nc.Write(input)
			for {
				reply, err := p.r.ReadString('\n')
				if err != nil && reply == "" {
					break
				}
				if !line.MatchString(reply) {
					t.Errorf("reply %q", reply)
				}
				if strings.HasPrefix(reply, "250 2.0.0 delivered") {
					delivered++
				}
			}
			p.nc.Close()
		})
		stored := len(h.inbox("ana")) + len(h.inbox("luis"))
		if delivered > stored || stored > 2*delivered { // both@ has two copies
			t.Errorf("%q in state %d: %d messages acknowledged, %d stored", input, state, delivered, stored)
		}
	})
}
