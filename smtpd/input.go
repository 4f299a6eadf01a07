package smtpd

import (
	"bytes"
	"sync"
	"time"
)

const (
	commandBuffer = 4 << 10  // for an idle connection
	messageBuffer = 64 << 10 // for a message under way
)

// messageBuffers are shared by the connections that are sending a message.
var messageBuffers = sync.Pool{New: func() any { return new([messageBuffer]byte) }}

// input is what a client sent and nobody took yet, and the pace at which he
// must send more.
type input struct {
	pace pace
	buf  []byte
	r, w int // buf[r:w] is unread

	big   *[messageBuffer]byte // buf, while it is one of messageBuffers, and
	small []byte               // what buf was before
}

func (in *input) unread() []byte { return in.buf[in.r:in.w] }
func (in *input) buffered() int  { return in.w - in.r }
func (in *input) take(n int)     { in.r += n }
func (in *input) added(n int)    { in.w += n }
func (in *input) full() bool     { return in.r == 0 && in.w == len(in.buf) }

// space returns room to read into, moving what is unread to the front.
func (in *input) space() []byte {
	if in.buf == nil {
		in.grow(commandBuffer)
	}
	if in.r > 0 {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
	return in.buf[in.w:]
}

// grow makes the buffer at least n octets large.
func (in *input) grow(n int) {
	if n <= len(in.buf) {
		return
	}
	var buf []byte
	if n > commandBuffer && n <= messageBuffer {
		in.big, in.small = messageBuffers.Get().(*[messageBuffer]byte), in.buf
		buf = in.big[:]
	} else {
		buf = make([]byte, n)
	}
	in.w = copy(buf, in.unread())
	in.buf, in.r = buf, 0
}

// shrink gives the large buffer back when what is unread fits a small one.
func (in *input) shrink() {
	if in.big == nil || in.buffered() > commandBuffer {
		return
	}
	small := in.small
	if len(small) != commandBuffer {
		small = make([]byte, commandBuffer)
	}
	in.w = copy(small, in.unread())
	messageBuffers.Put(in.big)
	in.buf, in.r, in.big, in.small = small, 0, nil, nil
}

// release gives every buffer back, at the end.
func (in *input) release() {
	if in.big != nil {
		messageBuffers.Put(in.big)
	}
	*in = input{}
}

// foreign reports whether the input begins with another protocol: TLS, SSH,
// the PROXY protocol, HTTP. Answering it could be read as an answer in that
// protocol by a program that was tricked into speaking to us (ALPACA).
func (in *input) foreign() bool {
	b := in.unread()
	if len(b) >= 2 && b[0] == 0x16 && b[1] == 0x03 { // a TLS handshake record
		return true
	}
	for _, prefix := range [...]string{
		"SSH-", "PROXY ", "\r\n\r\n\x00\r\nQUIT\n",
		"GET ", "POST ", "PUT ", "HEAD ", "CONNECT ", "OPTIONS ", "DELETE ", "TRACE ", "PATCH ", "PRI * ",
	} {
		if bytes.HasPrefix(b, []byte(prefix)) {
			return true
		}
	}
	return false
}

// pace is how long a client may take for a command, a chunk or a message:
// patience to begin with, more for what he sends, never beyond end.
type pace struct {
	start    time.Time
	patience time.Duration
	got      int64 // octets so far
	end      time.Time
}

// newPace starts now, for something that may take most at the longest.
func newPace(most time.Duration) pace {
	now := time.Now()
	return pace{start: now, patience: commandTime, end: now.Add(most)}
}

func (p *pace) deadline() time.Time {
	d := p.start.Add(p.patience + time.Duration(p.got)*(time.Second/minimumSpeed))
	if d.After(p.end) {
		return p.end
	}
	return d
}
