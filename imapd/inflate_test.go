package imapd

import (
	"bytes"
	stdflate "compress/flate"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// What zlib flushed partially comes out whole, at once: 2 000 commands as mbsync
// sends them, in chunks of which each says its compressed and its plain length.
func TestInflatePartialFlush(t *testing.T) {
	data, err := os.ReadFile("testdata/partial-flush.bin")
	if err != nil {
		t.Fatal(err)
	}
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	r := newInflater(server)
	for i := 0; len(data) > 0; i++ {
		size, plain := binary.BigEndian.Uint32(data), binary.BigEndian.Uint32(data[4:])
		chunk := data[8 : 8+size]
		data = data[8+size:]
		go func() { _, _ = client.Write(chunk) }()
		server.SetReadDeadline(time.Now().Add(2 * time.Minute))
		text := make([]byte, plain)
		if n, err := io.ReadFull(r, text); err != nil {
			t.Fatalf("chunk %d: %d bytes of %d: %v", i, n, plain, err)
		}
		if !strings.HasSuffix(string(text), "(BODY.PEEK[])\r\n") {
			t.Fatalf("chunk %d ends in %q", i, text[max(0, len(text)-20):])
		}
	}
}

// sleepy is woken before every byte.
type sleepy struct {
	io.Reader
	woken bool
}

func (s *sleepy) Read(p []byte) (int, error) {
	if s.woken = !s.woken; s.woken {
		return 0, errWoken
	}
	return s.Reader.Read(p)
}

// awake reads on after each time.
type awake struct{ io.Reader }

func (a awake) Read(p []byte) (int, error) {
	for {
		if n, err := a.Reader.Read(p); n > 0 || !errors.Is(err, errWoken) {
			return n, err
		}
	}
}

// Whatever comes in, however often we are woken, we read what the standard library reads.
func FuzzInflate(f *testing.F) {
	for _, level := range []int{0, 1, 6, 9, stdflate.HuffmanOnly} {
		for _, text := range []string{"", "a", strings.Repeat("a FETCH 1:* (FLAGS UID)\r\n", 3000), "\x00\xff\x01binary"} {
			var b bytes.Buffer
			w, _ := stdflate.NewWriter(&b, level)
			_, _ = io.WriteString(w, text)
			_ = w.Flush()
			_, _ = io.WriteString(w, text)
			_ = w.Close()
			f.Add(b.Bytes())
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		const limit = 1 << 20
		want, wantErr := io.ReadAll(io.LimitReader(stdflate.NewReader(bytes.NewReader(data)), limit))
		got, err := io.ReadAll(io.LimitReader(awake{newInflater(&sleepy{Reader: iotest.OneByteReader(bytes.NewReader(data))})}, limit))
		if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, %v; want %d bytes, %v", len(got), err, len(want), wantErr)
		}
		if !bytes.HasPrefix(got, want) && !bytes.HasPrefix(want, got) {
			t.Error("before the error it reads something else")
		}
	})
}
