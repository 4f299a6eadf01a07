package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	mdns "github.com/miekg/dns"
)

// scripted returns a client whose network is a function, for synctest.
func scripted(t *testing.T, cfg Config, answer func(ctx context.Context, q mdns.Question) *mdns.Msg) (*Client, *int) {
	t.Helper()
	cfg.Servers = []string{"192.0.2.53", "192.0.2.54"}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	asked := new(int)
	var mu sync.Mutex
	c.exchange = func(ctx context.Context, query *mdns.Msg, network, server string) (*mdns.Msg, error) {
		mu.Lock()
		*asked++
		mu.Unlock()
		reply := answer(ctx, query.Question[0])
		if reply == nil {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		reply.SetReply(query)
		return reply, nil
	}
	return c, asked
}

func records(t *testing.T, lines ...string) *mdns.Msg {
	t.Helper()
	m := new(mdns.Msg)
	for _, line := range lines {
		rr, err := mdns.NewRR(line)
		if err != nil {
			t.Fatal(err)
		}
		if rr.Header().Rrtype == mdns.TypeSOA {
			m.Ns = append(m.Ns, rr)
		} else {
			m.Answer = append(m.Answer, rr)
		}
	}
	return m
}

func TestCacheKeepsForTheTTL(t *testing.T) {
	for _, tt := range []struct {
		name  string
		reply []string
		keeps time.Duration
	}{
		{"shortest TTL of the chain", []string{"a.test. 300 CNAME b.test.", "b.test. 600 MX 1 c.test.", "b.test. 900 MX 2 d.test."}, 300 * time.Second},
		{"a day at most", []string{"a.test. 9999999 MX 1 c.test."}, maxTTL},
		{"first bit set: not at all", []string{"a.test. 2147483648 MX 1 c.test."}, 0},
		{"absence: minimum of the SOA", []string{"test. 600 SOA ns. h. 1 2 3 4 120"}, 120 * time.Second},
		{"absence: TTL of the SOA", []string{"test. 60 SOA ns. h. 1 2 3 4 120"}, 60 * time.Second},
		{"absence: a quarter of an hour at most", []string{"test. 86400 SOA ns. h. 1 2 3 4 86400"}, maxNegativeTTL},
		{"absence without a SOA: not at all", nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, asked := scripted(t, Config{}, func(context.Context, mdns.Question) *mdns.Msg { return records(t, tt.reply...) })
				_, a, _ := c.MX(t.Context(), "a.test")
				if a.TTL != tt.keeps {
					t.Errorf("TTL %v, want %v", a.TTL, tt.keeps)
				}
				if tt.keeps > 0 {
					time.Sleep(tt.keeps - time.Nanosecond)
					if c.MX(t.Context(), "a.test"); *asked != 1 {
						t.Errorf("asked %d times before the end of the TTL", *asked)
					}
					time.Sleep(time.Nanosecond)
				}
				if c.MX(t.Context(), "a.test"); *asked != 2 {
					t.Errorf("asked %d times after the TTL, want 2", *asked)
				}
			})
		})
	}
}

func TestTimeoutsAndFailureCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, asked := scripted(t, Config{}, func(context.Context, mdns.Question) *mdns.Msg { return nil })
		start := time.Now()
		_, _, err := c.MX(t.Context(), "a.test")
		if err == nil || NotFound(err) {
			t.Errorf("dead servers: %v, want a temporary error", err)
		}
		if d := time.Since(start); d != 12*time.Second || *asked != 4 {
			t.Errorf("gave up after %v and %d questions, want 12 s and 4", d, *asked)
		}
		if c.MX(t.Context(), "a.test"); *asked != 4 {
			t.Error("trouble was not remembered for a second")
		}
		time.Sleep(failureTTL)
		if c.MX(t.Context(), "a.test"); *asked != 8 {
			t.Error("trouble was remembered for more than a second")
		}
	})
}

func TestManyCallersAskOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, asked := scripted(t, Config{}, func(context.Context, mdns.Question) *mdns.Msg {
			time.Sleep(time.Second)
			return records(t, "a.test. 300 MX 1 c.test.")
		})
		impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		var callers sync.WaitGroup
		callers.Go(func() { // the first one leaves; the others get their answer
			if _, _, err := c.MX(impatient, "a.test"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("impatient caller: %v", err)
			}
		})
		synctest.Wait()
		for range 10 {
			callers.Go(func() {
				if _, _, err := c.MX(t.Context(), "a.test"); err != nil {
					t.Error(err)
				}
			})
		}
		callers.Wait()
		if *asked != 1 {
			t.Errorf("asked %d times, want once", *asked)
		}
	})
}

func TestCacheIsBounded(t *testing.T) {
	c, asked := scripted(t, Config{CacheEntries: 10}, func(_ context.Context, q mdns.Question) *mdns.Msg {
		return records(t, q.Name+" 300 MX 1 c.test.")
	})
	for i := range 100 {
		c.MX(t.Context(), fmt.Sprintf("h%d.test", i))
		c.MX(t.Context(), "h0.test") // stays, being used
	}
	if *asked != 100 || c.cache.recent.Len() != 10 || len(c.cache.entries) != 10 {
		t.Errorf("asked %d, %d entries, %d in the list; want 100, 10, 10", *asked, len(c.cache.entries), c.cache.recent.Len())
	}

	big := &outcome{records: records(t, "a.test. 1 TXT "+fmt.Sprintf("%0200d", 0)).Answer, expires: time.Now().Add(time.Hour)}
	for range 10 {
		big.records = append(big.records, big.records...)
	}
	c.cache.max = 1 << 20
	for i := range 200 {
		c.cache.put(question{fmt.Sprint(i), 1}, big)
	}
	if c.cache.bytes > maxCacheBytes || c.cache.bytes < maxCacheBytes/2 {
		t.Errorf("%d bytes in the cache", c.cache.bytes)
	}
}

func TestRemoteADIsNotBelieved(t *testing.T) {
	for _, trusted := range []bool{false, true} {
		c, _ := scripted(t, Config{Trusted: trusted}, func(context.Context, mdns.Question) *mdns.Msg {
			return records(t, "a.test. 300 MX 1 c.test.")
		})
		inner := c.exchange
		c.exchange = func(ctx context.Context, query *mdns.Msg, network, server string) (*mdns.Msg, error) {
			reply, err := inner(ctx, query, network, server)
			reply.AuthenticatedData = true
			return reply, err
		}
		if _, a, err := c.MX(t.Context(), "a.test"); err != nil || a.Authentic != trusted {
			t.Errorf("trusted %v: authentic %v, %v", trusted, a.Authentic, err)
		}
	}
	if loopback("127.0.0.11:53") || !loopback("127.0.0.53:53") || !loopback("[::1]:53") {
		t.Error("which resolvers are on this machine")
	}
}

// TestRecordsWithoutData: the library unpacks them, and they are no answer.
func TestRecordsWithoutData(t *testing.T) {
	c, _ := scripted(t, Config{}, func(_ context.Context, q mdns.Question) *mdns.Msg {
		rr := mdns.TypeToRR[q.Qtype]()
		*rr.Header() = mdns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: mdns.ClassINET, Ttl: 60}
		return &mdns.Msg{Answer: []mdns.RR{rr}}
	})
	_, _, mxErr := c.MX(t.Context(), "a.test")
	_, _, addrErr := c.Addrs(t.Context(), "a.test")
	_, _, cnameErr := c.CNAME(t.Context(), "a.test")
	for _, err := range []error{mxErr, addrErr, cnameErr} {
		if err == nil || NotFound(err) {
			t.Errorf("got %v, want a temporary error", err)
		}
	}
	c.TXT(t.Context(), "a.test")
	c.TLSA(t.Context(), "a.test", 25)
	c.PTR(t.Context(), netip.MustParseAddr("192.0.2.1"))
}

func TestResolvConfIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	now := time.Unix(1_700_000_000, 0)
	s, err := newServers(Config{ResolvConf: path}, func() time.Time { return now }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.list(); got[0].address != "127.0.0.1:53" || !got[0].trusted {
		t.Errorf("without a file: %v", got)
	}
	for i, want := range []string{"192.0.2.1:53", "192.0.2.2:53"} {
		text := fmt.Sprintf("nameserver 192.0.2.%d\n", i+1)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		changed := time.Unix(int64(1_700_000_000+i), 0)
		if err := os.Chtimes(path, changed, changed); err != nil {
			t.Fatal(err)
		}
		now = now.Add(statEvery)
		if got := s.list(); got[0].address != want || got[0].trusted {
			t.Errorf("after change %d: %v, want %s", i, got, want)
		}
	}
}

// FuzzRead: whatever a server answers, the outcome holds only records of the
// type, of a sane owner, for a bounded time.
func FuzzRead(f *testing.F) {
	seed := records(&testing.T{}, "a.test. 300 CNAME b.test.", "b.test. 300 MX 1 c.test.")
	seed.SetQuestion("a.test.", mdns.TypeMX)
	packed, err := seed.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packed, uint16(mdns.TypeMX))
	f.Add([]byte{0, 0, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 15, 0, 1}, uint16(mdns.TypeMX)) // a name that points at itself
	f.Fuzz(func(t *testing.T, data []byte, qtype uint16) {
		m := new(mdns.Msg)
		if m.Unpack(data) != nil {
			t.Skip()
		}
		now := time.Unix(0, 0)
		out := read(question{"a.test", qtype}, m, true, now)
		if len(out.records) > maxRecords || len(out.records) > 0 == (out.err != nil) {
			t.Errorf("%d records with %v", len(out.records), out.err)
		}
		if ttl := out.expires.Sub(now); ttl < 0 || ttl > maxTTL {
			t.Errorf("TTL %v", ttl)
		}
		for _, rr := range out.records {
			if rr.Header().Rrtype != qtype {
				t.Errorf("record %v for type %d", rr, qtype)
			}
		}
	})
}
