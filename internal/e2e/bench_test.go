package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// BenchmarkDeliver is one message of 20 kB from MAIL to the 250 that makes it
// ours, on one connection.
func BenchmarkDeliver(b *testing.B) {
	h := start(b, hostConfig{Domains: []string{"a.test"}, Accounts: []string{"ana@a.test"}})
	client, err := smtp.Dial(h.Addr("smtp"))
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	text := "Subject: bench\r\n\r\n" + strings.Repeat(strings.Repeat("x", 78)+"\r\n", 250)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if err := client.SendMail("eva@far.test", []string{"ana@a.test"}, strings.NewReader(text)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIdle is the time from the 250 for a message to its EXISTS at a
// client that waits in IDLE.
func BenchmarkIdle(b *testing.B) {
	h := start(b, hostConfig{Domains: []string{"a.test"}, Accounts: []string{"ana@a.test"}})
	announced := make(chan struct{}, 1)
	reader, err := imapclient.DialTLS(h.Addr("imaps"), &imapclient.Options{
		TLSConfig: h.tls(b),
		UnilateralDataHandler: &imapclient.UnilateralDataHandler{Mailbox: func(data *imapclient.UnilateralDataMailbox) {
			if data.NumMessages != nil {
				announced <- struct{}{}
			}
		}},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer reader.Close()
	if err := reader.Login("ana@a.test", password).Wait(); err != nil {
		b.Fatal(err)
	}
	if _, err := reader.Select("INBOX", nil).Wait(); err != nil {
		b.Fatal(err)
	}
	idle, err := reader.Idle()
	if err != nil {
		b.Fatal(err)
	}
	defer idle.Close()
	var waited time.Duration
	for b.Loop() {
		h.deliver(b, "ana@a.test", "bench")
		delivered := time.Now()
		select {
		case <-announced:
			waited += time.Since(delivered)
		case <-time.After(patience):
			b.Fatal("no EXISTS")
		}
	}
	b.ReportMetric(float64(waited.Microseconds())/float64(b.N), "µs/announced")
}

// BenchmarkRelay is one message of 4 kB from the user of one host to the disk
// of another: submission, queue, MX, TLS, delivery. Eight are under way at once.
func BenchmarkRelay(b *testing.B) {
	w := newWorld(b)
	from := w.host(b, hostConfig{Domains: []string{"a.test"}, Accounts: []string{"ana@a.test"}})
	to := w.host(b, hostConfig{Domains: []string{"b.test"}, Accounts: []string{"luis@b.test"}})
	from.start(b)
	to.start(b)
	client, err := smtp.DialStartTLS(from.Addr("submission"), from.tls(b))
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	if err := client.Auth(sasl.NewPlainClient("", "ana@a.test", password)); err != nil {
		b.Fatal(err)
	}
	text := "From: <ana@a.test>\r\nSubject: bench\r\n\r\n" + strings.Repeat(strings.Repeat("x", 78)+"\r\n", 50)
	sent := 0
	for b.Loop() {
		if err := client.SendMail("ana@a.test", []string{"luis@b.test"}, strings.NewReader(text)); err != nil {
			b.Fatal(err)
		}
		sent++
		eventually(b, patience, func() error {
			if waiting := sent - len(to.files(b, "luis@b.test")); waiting > 8 {
				return fmt.Errorf("%d messages are on their way", waiting)
			}
			return nil
		})
	}
}
