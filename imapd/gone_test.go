package imapd

import (
	"net"
	"testing"
	"time"
)

// A stream notices that its client has closed, and does not take one that is silent or has more to say for gone.
func TestStreamGone(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	s := &stream{Conn: nc, base: nc}
	if s.gone() {
		t.Error("a silent client is taken for gone")
	}
	client.Write([]byte("a"))
	nc.SetReadDeadline(time.Now().Add(2 * time.Minute))
	if n, err := nc.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Fatal(err)
	}
	client.Close()
	for end := time.Now().Add(10 * time.Second); !s.gone(); {
		if time.Now().After(end) {
			t.Fatal("a closed client is not noticed")
		}
	}
}
