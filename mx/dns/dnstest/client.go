package dnstest

import (
	"testing"
	"time"

	"buzon/mx/dns"
)

// NewClient returns a resolver that asks a server of this zone text and nothing
// else. Its time-out is generous: a test machine may be busy.
func NewClient(t testing.TB, text string) *dns.Client {
	t.Helper()
	zone, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	c, err := dns.New(dns.Config{Servers: []string{Start(t, zone).Addr()}, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
