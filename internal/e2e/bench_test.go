package e2e_test

import (
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"
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
