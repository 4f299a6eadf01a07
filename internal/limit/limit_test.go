package limit_test

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"buzon/internal/limit"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestConns(t *testing.T) {
	c := limit.NewConns(limit.ConnsConfig{Total: 5, PerAddress: 2, PerMinute: -1})
	take := func(s string, want bool) func() {
		t.Helper()
		release, ok := c.Acquire(addr(s))
		if ok != want {
			t.Fatalf("Acquire(%s) = %v", s, ok)
		}
		return release
	}
	first := take("2001:db8::1", true)
	take("2001:db8::2", true)
	take("2001:db8::3", false) // the same /64
	if c.Busy() {
		t.Error("busy with 2 of 5")
	}
	first()
	first() // a second call does nothing
	take("2001:db8::3", true)
	take("::ffff:192.0.2.1", true)
	take("192.0.2.1", true)
	take("192.0.2.1", false) // the same address, mapped
	if !c.Busy() {
		t.Error("not busy with 4 of 5")
	}
	take("127.0.0.1", true)
	take("127.0.0.1", false) // everything is taken
}

func TestLoopbackIsNotCounted(t *testing.T) {
	for _, count := range []bool{false, true} {
		c := limit.NewConns(limit.ConnsConfig{PerAddress: 1, PerMinute: 1, CountLoopback: count})
		c.Acquire(addr("::1"))
		if _, ok := c.Acquire(addr("::1")); ok == count {
			t.Errorf("CountLoopback %v: second connection %v", count, ok)
		}
	}
}

func TestConnsPerMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := limit.NewConns(limit.ConnsConfig{PerMinute: 3})
		open := func() bool {
			release, ok := c.Acquire(addr("192.0.2.1"))
			if ok {
				release()
			}
			return ok
		}
		for i := range 3 {
			if !open() {
				t.Fatalf("connection %d refused", i)
			}
		}
		if open() {
			t.Error("fourth connection within a minute accepted")
		}
		time.Sleep(20 * time.Second)
		if !open() || open() {
			t.Error("want one more connection for each 20 s")
		}
	})
}

func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := limit.NewRate(100, time.Hour, nil)
		if ok, _ := r.Take("ana", 101); ok {
			t.Error("101 of 100 were given")
		}
		if ok, _ := r.Take("ana", 100); !ok {
			t.Error("100 of 100 were not given")
		}
		if ok, wait := r.Take("ana", 10); ok || wait != 6*time.Minute {
			t.Errorf("10 more: %v, %v", ok, wait)
		}
		if ok, _ := r.Take("luis", 1); !ok {
			t.Error("another key is limited too")
		}
		time.Sleep(6 * time.Minute)
		if ok, _ := r.Take("ana", 10); !ok {
			t.Error("after the wait it is not given")
		}
	})
}

func TestTablesAreBounded(t *testing.T) {
	r := limit.NewRate(1, time.Hour, nil)
	for i := range 1 << 17 {
		if ok, _ := r.Take(fmt.Sprint(i), 1); !ok {
			t.Fatalf("key %d refused", i)
		}
	}
	if n := limit.RateKeys(r); n > 1<<16 {
		t.Errorf("%d keys are kept", n)
	}
}

func TestGuardDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := limit.NewGuard(limit.GuardConfig{})
		a := addr("192.0.2.1")
		for i, want := range []time.Duration{0, 2, 4, 8, 15, 15} {
			if wait, refuse := g.Check(a); wait != want*time.Second || refuse {
				t.Errorf("after %d failures: %v, %v", i, wait, refuse)
			}
			g.Failed(a, fmt.Sprint(i))
		}
		if wait, refuse := g.Check(addr("192.0.2.2")); wait != 0 || refuse {
			t.Errorf("a neighbour waits %v, %v", wait, refuse)
		}
		g.Succeeded(a)
		if wait, _ := g.Check(a); wait != 0 {
			t.Errorf("after success: %v", wait)
		}
	})
}

func TestGuardRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := limit.NewGuard(limit.GuardConfig{})
		a := addr("2001:db8:1:1::1")
		refused := func(a netip.Addr) bool { _, refuse := g.Check(a); return refuse }
		fail := func(a netip.Addr, n int) {
			for range n {
				g.Failed(a, fmt.Sprint(time.Now().UnixNano()))
				time.Sleep(time.Nanosecond)
			}
		}
		fail(a, 9)
		if refused(a) {
			t.Fatal("refused after 9")
		}
		fail(a, 1)
		if !refused(a) || !refused(addr("2001:db8:1:1::2")) {
			t.Fatal("not refused after 10 in a minute")
		}
		if refused(addr("2001:db8:1:2::1")) {
			t.Fatal("the /48 is refused after 10")
		}
		time.Sleep(time.Minute)
		if refused(a) {
			t.Fatal("still refused after a minute")
		}
		for range 4 {
			fail(a, 10)
			time.Sleep(time.Minute)
		}
		if !refused(a) {
			t.Fatal("not refused after 50 in a day")
		}
		time.Sleep(24 * time.Hour)
		if refused(a) {
			t.Fatal("still refused after a day")
		}
		for i := range 3 {
			fail(addr(fmt.Sprintf("2001:db8:1:%d::1", i+10)), 10)
		}
		if !refused(addr("2001:db8:1:ffff::1")) {
			t.Fatal("a /48 may guess more than three times as often")
		}
	})
}

func TestGuardSameCredential(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := limit.NewGuard(limit.GuardConfig{})
		a := addr("192.0.2.1")
		for range 1000 {
			g.Failed(a, "ana\x00old password")
			time.Sleep(time.Minute)
		}
		if wait, refuse := g.Check(a); wait != 2*time.Second || refuse {
			t.Errorf("a stale password leads to %v, %v", wait, refuse)
		}
	})
}

func TestKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k limit.Known
		a := addr("192.0.2.1")
		if k.Has(a) {
			t.Error("known from the start")
		}
		k.Remember(a)
		time.Sleep(23 * time.Hour)
		if !k.Has(a) {
			t.Error("forgotten within a day")
		}
		time.Sleep(2 * time.Hour)
		if k.Has(a) {
			t.Error("known after a day")
		}
	})
}
