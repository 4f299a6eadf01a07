package mx

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestReadReply(t *testing.T) {
	for _, tt := range []struct {
		in   string
		code int
		enh  [3]int
		text string
	}{
		{"250 ok\r\n", 250, [3]int{}, "ok"},
		{"250\r\n", 250, [3]int{}, ""},
		{"250 \r\n", 250, [3]int{}, ""},
		{"250 2.1.5 ok\n", 250, [3]int{2, 1, 5}, "ok"},
		{"250-a\r\n250 b\r\n", 250, [3]int{}, "a\nb"},
		{"550-5.1.1 a\r\n550 5.1.1 b\r\n", 550, [3]int{5, 1, 1}, "a\nb"},
		{"250-yes\r\n550 no\r\n", 550, [3]int{}, "yes\nno"},
		{"550 2.1.1 other class\r\n", 550, [3]int{}, "2.1.1 other class"},
		{"550 5.1 short\r\n", 550, [3]int{}, "5.1 short"},
		{"550 5.1.1234 long\r\n", 550, [3]int{}, "5.1.1234 long"},
		{"550 5.1.+1 sign\r\n", 550, [3]int{}, "5.1.+1 sign"},
		{"550 5.7.26\r\n", 550, [3]int{5, 7, 26}, ""},
	} {
		raw, err := readReply(bufio.NewReader(strings.NewReader(tt.in)))
		if err != nil {
			t.Errorf("%q: %v", tt.in, err)
			continue
		}
		if r := raw.reply(); r.Code != tt.code || r.Enhanced != tt.enh || r.Text != tt.text {
			t.Errorf("%q: %d %v %q", tt.in, r.Code, r.Enhanced, r.Text)
		}
	}
	for _, bad := range []string{"", "2", "25\r\n", "2500 x\r\n", "250x\r\n", "150 x\r\n", "600 x\r\n", " 250 x\r\n", "-50 x\r\n", "250-a\r\n", "250 a",
		"250 " + strings.Repeat("x", maxReplyLine) + "\r\n", strings.Repeat("250-x\r\n", maxReplyLines) + "250 x\r\n",
		strings.Repeat("250-"+strings.Repeat("x", 1000)+"\r\n", 70) + "250 x\r\n"} {
		if raw, err := readReply(bufio.NewReader(strings.NewReader(bad))); err == nil {
			t.Errorf("%.40q is a reply: %v", bad, raw)
		}
	}
}

// FuzzReply: what is read is within the limits, safe to keep, and nothing
// beyond the reply is taken from the stream.
func FuzzReply(f *testing.F) {
	for _, seed := range []string{"250 ok\r\n", "550-5.1.1 a\r\n550 5.1.1 \x00b\xff\r\n", "220-\n220\n", "25"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		const rest = "354 next\r\n"
		r := bufio.NewReader(io.MultiReader(bytes.NewReader(data), strings.NewReader(rest)))
		raw, err := readReply(r)
		if err != nil {
			t.Skip()
		}
		reply := raw.reply()
		if reply.Code < 200 || reply.Code > 599 || len(raw.lines) > maxReplyLines || len(raw.lines) == 0 || !utf8.ValidString(reply.Text) ||
			strings.ContainsAny(reply.Text, "\r\x00\x1b") || reply.Enhanced != [3]int{} && reply.Enhanced[0] != reply.Code/100 {
			t.Errorf("%q: %+v", data, reply)
		}
		left, _ := io.ReadAll(r)
		if n := bytes.Count(append(bytes.Clone(data), rest...), []byte("\n")) - bytes.Count(left, []byte("\n")); n != len(raw.lines) {
			t.Errorf("%q: %d lines read, %d kept", data, n, len(raw.lines))
		}
	})
}

// FuzzExtensions: the case of keywords does not matter, nor do unknown ones.
func FuzzExtensions(f *testing.F) {
	f.Add("mx.test\nPIPELINING\nSIZE 100\nAUTH PLAIN\nauth=LOGIN\n8BitMime\nx")
	f.Add("SIZE 9999999999999999999999")
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Split(text, "\n")
		domain, ext := parseExtensions(lines)
		upper := strings.Split(strings.ToUpper(text), "\n")
		_, again := parseExtensions(append(upper, "X-UNKNOWN PIPELINING STARTTLS"))
		if fmt.Sprintf("%v", ext) != fmt.Sprintf("%v", again) || strings.Contains(domain, " ") || ext.maxSize < 0 {
			t.Errorf("%q: %v %v", text, ext, again)
		}
	})
}

// blockReader gives the bytes in reads of its own choice.
type blockReader struct {
	data string
	n    int
}

func (b blockReader) ReadAt(p []byte, at int64) (int, error) {
	return strings.NewReader(b.data).ReadAt(p[:min(len(p), b.n)], at)
}

// FuzzContent: a message with CRLF line ends arrives as it was, whatever the
// blocks, and one with others does not go out at all.
func FuzzContent(f *testing.F) {
	for _, seed := range []string{"", ".", "..\r\n.\r\n.", "A: b\r\n\r\n\xe9", "a\nb", "a\rb", "a\r", "\n", "\r\n\r", "\u00e9: x\r\n\r\nx"} {
		f.Add(seed, 1)
		f.Add(seed, 3)
	}
	f.Fuzz(func(t *testing.T, message string, n int) {
		if n < 1 {
			t.Skip()
		}
		c := content{msg: blockReader{message, n}, size: int64(len(message))}
		err := c.inspect()
		rest := strings.ReplaceAll(message, "\r\n", "")
		if bare := strings.ContainsAny(rest, "\r\n"); bare || err != nil {
			if !errors.Is(err, errBareLineEnd) || !bare {
				t.Errorf("%q: inspect = %v", message, err)
			}
		}
		var wire bytes.Buffer
		out := dotWriter{w: bufio.NewWriterSize(&wire, 16)}
		werr := c.blocks(out.write)
		if werr == nil {
			werr = out.end()
		}
		if (werr == nil) != (err == nil) {
			t.Fatalf("%q: inspect %v, write %v", message, err, werr)
		}
		if err != nil {
			return
		}
		full := message
		if full != "" && !strings.HasSuffix(full, "\r\n") {
			full += "\r\n"
		}
		if c.octets != int64(len(full)) {
			t.Errorf("%q: %d octets, want %d", message, c.octets, len(full))
		}
		header, _, _ := strings.Cut("\r\n"+message, "\r\n\r\n")
		if c.eightBit != highBit([]byte(message)) || c.utf8 != highBit([]byte(header)) {
			t.Errorf("%q: eightBit %v, utf8 %v", message, c.eightBit, c.utf8)
		}
		// Another's reader of dots: it ends at the first line that is a dot.
		tp := textproto.NewReader(bufio.NewReader(&wire))
		got, rerr := io.ReadAll(tp.DotReader())
		if rerr != nil || string(got) != strings.ReplaceAll(full, "\r\n", "\n") || tp.R.Buffered() > 0 || wire.Len() > 0 {
			t.Errorf("%q: arrived as %q, %v", message, got, rerr)
		}
	})
}

func TestCommandsAreOneLine(t *testing.T) {
	s := &session{w: bufio.NewWriter(io.Discard)}
	for _, line := range []string{"a\r\nb", "a\n", "\r", "a\x00"} {
		if s.put(line) == nil {
			t.Errorf("%q was sent", line)
		}
	}
}

func BenchmarkContent(b *testing.B) {
	message := "A: b\r\n\r\n" + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 13000)
	c := content{msg: strings.NewReader(message), size: int64(len(message))}
	b.SetBytes(c.size)
	for b.Loop() {
		if err := c.inspect(); err != nil {
			b.Fatal(err)
		}
		out := dotWriter{w: bufio.NewWriterSize(io.Discard, blockSize)}
		if err := c.blocks(out.write); err != nil {
			b.Fatal(err)
		}
		if err := out.end(); err != nil {
			b.Fatal(err)
		}
	}
}
