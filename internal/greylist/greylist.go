// Package greylist remembers who has sent what to whom, and asks whoever is new
// to come again: mail hosts do, and most programs that send spam do not. It
// knows no protocol.
//
// What it knows lies in memory and in a file of one line for each change, which
// may be deleted: then everybody is new once.
package greylist

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

// Config is what a List is made of. Zero values mean the defaults.
type Config struct {
	Path        string        // of the file; "" keeps nothing
	Delay       time.Duration // how long the new ones wait; 5 min
	RetryWithin time.Duration // how long they may take to come again; 2 days
	Remember    time.Duration // how long they are known after their last message; 35 days, a month's newsletter
	Log         *slog.Logger
}

const (
	defaultDelay       = 5 * time.Minute
	defaultRetryWithin = 48 * time.Hour
	defaultRemember    = 35 * 24 * time.Hour

	// maxEntries bounds what is remembered; an entry takes some 60 octets.
	maxEntries = 500_000
	// trusted is how many of a client's greetings must have passed before it is
	// not asked to wait any more (postgrey's --auto-whitelist-clients).
	trusted = 5
	// refresh is how often it is written down that somebody came again.
	refresh = 24 * time.Hour
)

// Attempt is a sender who wants to write to somebody.
type Attempt struct {
	Network netip.Addr // the client; its /24 or /64 counts
	From    string     // domain of the reverse-path, "" for the null one
	Proven  bool       // the domain names the client as its own, and counts instead of the network
	To      string
}

// List is the memory. It is safe for concurrent use.
type List struct {
	cfg Config

	mu      sync.Mutex // guards what follows
	entries map[uint64]entry
	file    journal
}

// entry is a way from a client to a recipient, or a client itself. Times are
// Unix seconds.
type entry struct {
	first, last int64
	passes      int64 // of a way: 1 once it came again; of a client: how many ways did
}

// New returns a List with what its file holds. A file that cannot be read is
// an error; one with nonsense in it is not.
func New(cfg Config) (*List, error) {
	if cfg.Delay <= 0 {
		cfg.Delay = defaultDelay
	}
	if cfg.RetryWithin <= 0 {
		cfg.RetryWithin = defaultRetryWithin
	}
	if cfg.Remember <= 0 {
		cfg.Remember = defaultRemember
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	l := &List{cfg: cfg, entries: map[uint64]entry{}}
	l.file.path = cfg.Path
	if err := l.load(); err != nil {
		return nil, fmt.Errorf("greylist: %w", err)
	}
	return l, nil
}

// client is the key of who sends.
func (a Attempt) client() uint64 {
	if a.Proven {
		return hash("domain", a.From)
	}
	bits := 64
	ip := a.Network.Unmap().WithZone("")
	if ip.Is4() {
		bits = 24
	}
	p, _ := ip.Prefix(bits) // fails for the zero Addr only
	return hash("network", p.String())
}

// way is the key of who sends to whom.
func (a Attempt) way() uint64 {
	var client [8]byte
	binary.BigEndian.PutUint64(client[:], a.client())
	return hash(string(client[:]), a.From, a.To)
}

func hash(parts ...string) uint64 {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s,", len(p), p)
	}
	return binary.BigEndian.Uint64(h.Sum(nil))
}

// Knows reports whether the sender need not wait. It changes nothing.
func (l *List) Knows(a Attempt) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now().Unix()
	return l.trusts(a.client(), now) || l.alive(l.entries[a.way()], now) && l.entries[a.way()].passes > 0
}

func (l *List) trusts(client uint64, now int64) bool {
	e := l.entries[client]
	return e.passes >= trusted && l.alive(e, now)
}

// alive reports whether an entry still counts.
func (l *List) alive(e entry, now int64) bool {
	if e.passes == 0 {
		return now-e.first <= seconds(l.cfg.RetryWithin)
	}
	return now-e.last <= seconds(l.cfg.Remember)
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// Wait notes the attempt and returns how long the sender must still wait; 0 is
// welcome.
func (l *List) Wait(a Attempt) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now().Unix()
	client, way := a.client(), a.way()
	if l.trusts(client, now) {
		l.touch(client, now)
		return 0
	}
	e, known := l.entries[way]
	switch {
	case !known || !l.alive(e, now):
		l.set(way, entry{first: now, last: now})
		return l.cfg.Delay
	case e.passes > 0:
		l.touch(way, now)
		return 0
	case now-e.first < seconds(l.cfg.Delay):
		return l.cfg.Delay - time.Duration(now-e.first)*time.Second
	}
	l.set(way, entry{e.first, now, 1})
	c, known := l.entries[client]
	if !known || !l.alive(c, now) {
		c = entry{first: now}
	}
	l.set(client, entry{c.first, now, c.passes + 1})
	return 0
}

// touch keeps somebody who came again from being forgotten.
func (l *List) touch(key uint64, now int64) {
	if e := l.entries[key]; now-e.last > seconds(refresh) {
		e.last = now
		l.set(key, e)
	}
}

// set changes an entry, here and in the file.
func (l *List) set(key uint64, e entry) {
	if _, known := l.entries[key]; !known && len(l.entries) >= maxEntries {
		l.makeRoom(e.last)
	}
	l.entries[key] = e
	l.file.note(key, e)
}

// makeRoom forgets what does not count any more, and then whoever still waits:
// a flood of senders that never come again must not push out those who did.
func (l *List) makeRoom(now int64) {
	for k, e := range l.entries {
		if !l.alive(e, now) {
			delete(l.entries, k)
		}
	}
	for _, waiting := range []bool{true, false} {
		for k, e := range l.entries {
			if len(l.entries) < maxEntries*9/10 {
				return
			}
			if !waiting || e.passes == 0 {
				delete(l.entries, k)
			}
		}
	}
}

// Run writes what has changed until ctx ends, every ten seconds.
func (l *List) Run(ctx context.Context) error {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := l.Flush(); err != nil {
				l.cfg.Log.Warn("greylist is not written", "path", l.cfg.Path, "err", err)
			}
		}
	}
}
