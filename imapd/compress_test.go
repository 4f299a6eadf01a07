package imapd_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	kflate "github.com/klauspost/compress/flate"

	"buzon/imapd"
)

// deflated is the client's side of COMPRESS, over the standard library's writer and klauspost's
// reader.
type deflated struct {
	net.Conn
	w *flate.Writer
}

func (d deflated) Write(p []byte) (int, error) {
	if _, err := d.w.Write(p); err != nil {
		return 0, err
	}
	return len(p), d.w.Flush()
}

// COMPRESS DEFLATE (RFC 4978 3): everything after the OK is compressed, both ways; a second time is
// refused.
func TestCompress(t *testing.T) {
	h := newHost(t, nil)
	nc := h.dial(t)
	r := bufio.NewReader(nc)
	fmt.Fprintf(nc, "a LOGIN %s %q\r\n", ana, password)
	readUntil(t, r, "a OK")
	fmt.Fprint(nc, "b COMPRESS DEFLATE\r\n")
	readUntil(t, r, "b OK")
	w, err := flate.NewWriter(nc, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	d := deflated{nc, w}
	r = bufio.NewReader(kflate.NewReaderOpts(r, kflate.WithPartialBlock()))
	body := strings.Repeat("0123456789\r\n", 20_000)
	fmt.Fprintf(d, "c APPEND INBOX {%d+}\r\n%s\r\nd SELECT INBOX\r\n", len(body), body)
	readUntil(t, r, "c OK")
	readUntil(t, r, "d OK")
	fmt.Fprint(d, "e FETCH 1 BODY.PEEK[]\r\n")
	readUntil(t, r, "* 1 FETCH")
	got := make([]byte, len(body))
	if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, []byte(body)) {
		t.Errorf("the body comes back changed, %v", err)
	}
	readUntil(t, r, "e OK")
	fmt.Fprint(d, "f COMPRESS DEFLATE\r\n")
	readUntil(t, r, "f NO [COMPRESSIONACTIVE]")
}

// A little that inflates to very much is held to the limits of what it inflates to.
func TestCompressBomb(t *testing.T) {
	h := newHost(t, nil)
	nc := h.dial(t)
	r := bufio.NewReader(nc)
	fmt.Fprintf(nc, "a LOGIN %s %q\r\n", ana, password)
	readUntil(t, r, "a OK")
	fmt.Fprint(nc, "b COMPRESS DEFLATE\r\n")
	readUntil(t, r, "b OK")
	w, err := flate.NewWriter(nc, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		zeros := make([]byte, 1<<20)
		for range 1000 { // until the server has enough
			if _, err := w.Write(zeros); err != nil {
				return
			}
		}
	}()
	r = bufio.NewReader(kflate.NewReaderOpts(r, kflate.WithPartialBlock()))
	readUntil(t, r, "* BYE")
}

// A session that is compressed rests like others, and goes on where the stream was.
func TestCompressRests(t *testing.T) {
	t.Parallel()
	h := newHost(t, func(cfg *imapd.Config) { cfg.KeepAlive = 1500 * time.Millisecond }) // sessions rest after a second
	nc := h.dial(t)
	r := bufio.NewReader(nc)
	fmt.Fprintf(nc, "a LOGIN %s %q\r\nb COMPRESS DEFLATE\r\n", ana, password)
	readUntil(t, r, "a OK")
	readUntil(t, r, "b OK")
	var zipped bytes.Buffer
	w, err := flate.NewWriter(&zipped, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	say := func(text string) {
		_, _ = io.WriteString(w, text)
		_ = w.Flush()
	}
	r = bufio.NewReader(kflate.NewReaderOpts(r, kflate.WithPartialBlock()))
	say("c SELECT INBOX\r\nd IDLE\r\n")
	_, _ = zipped.WriteTo(nc)
	readUntil(t, r, "+ idling")
	readUntil(t, r, "* OK Still here")
	say("DONE\r\ne NOOP\r\n")
	_, _ = nc.Write(zipped.Next(1))
	readUntil(t, r, "* OK Still here")
	_, _ = zipped.WriteTo(nc)
	readUntil(t, r, "d OK")
	readUntil(t, r, "e OK")
}
