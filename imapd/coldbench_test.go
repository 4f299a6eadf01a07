package imapd

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// benchmarkCold runs one command over 10 000 messages of 20 KiB on average, of which the
// server knows their UIDs only. Their files are as other programs leave them.
func benchmarkCold(b *testing.B, command string) {
	mail := b.TempDir()
	fillFiles(b, filepath.Join(mail, "buzon.test", "ana", "Maildir", "cur"), 10_000)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		s := openBenchSession(b, mail)
		s.run(b, "a SELECT INBOX\r\n")
		b.StartTimer()
		s.run(b, command)
		b.StopTimer()
		s.close()
		b.StartTimer()
	}
}

// fillFiles writes messages with bare line feeds: plain ones, alternatives and attachments.
func fillFiles(b *testing.B, cur string, n int) {
	for _, d := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(filepath.Dir(cur), d), 0o700); err != nil {
			b.Fatal(err)
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		var m bytes.Buffer
		for hop := range 5 {
			fmt.Fprintf(&m, "Received: from relay%d.far.test (relay%[1]d.far.test [192.0.2.1])\n\tby mx.buzon.test with ESMTPS id %x;\n\tThu, 1 Jan 2026 00:00:00 +0000\n", hop, rnd.Uint64())
		}
		fmt.Fprintf(&m, "From: Person %d <p%[1]d@far.test>\nTo: ana@buzon.test\nSubject: invoice %d\nDate: Thu, 1 Jan 2026 00:00:00 +0000\nMessage-ID: <%[1]d@far.test>\nMIME-Version: 1.0\n", i, i/4)
		text := bytes.Repeat([]byte("of our house and every letter is delivered with care tomorrow\n"), 8+int(130*rnd.ExpFloat64()))
		const plain = "Content-Type: text/plain; charset=utf-8\n\n"
		switch kind := rnd.IntN(100); {
		case kind < 55:
			m.WriteString(plain)
			m.Write(text)
		case kind < 80:
			fmt.Fprintf(&m, "Content-Type: multipart/alternative; boundary=alt\n\n--alt\n%s%s\n--alt\nContent-Type: text/html\n\n%s\n--alt--\n", plain, text, text)
		default:
			attachment := bytes.Repeat([]byte("QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0\n"), 520)
			fmt.Fprintf(&m, "Content-Type: multipart/mixed; boundary=mix\n\n--mix\n%s%s\n--mix\nContent-Type: application/pdf; name=a.pdf\nContent-Transfer-Encoding: base64\n\n%s\n--mix--\n", plain, text, attachment)
		}
		name := fmt.Sprintf("%d.M%dP7.host:2,S", 1_700_000_000+i, i)
		if err := os.WriteFile(filepath.Join(cur, name), m.Bytes(), 0o600); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFetchOverviewCold10k(b *testing.B) {
	benchmarkCold(b, "a FETCH 1:* (UID RFC822.SIZE INTERNALDATE ENVELOPE BODYSTRUCTURE)\r\n")
}

func BenchmarkFetchWhole10k(b *testing.B) { benchmarkCold(b, "a FETCH 1:* (UID BODY.PEEK[])\r\n") }

func BenchmarkFetchPreviewCold10k(b *testing.B) {
	benchmarkCold(b, "a FETCH 1:* (UID PREVIEW)\r\n")
}
