package dns

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"time"

	mdns "github.com/miekg/dns"
)

const (
	maxServers = 8               // that are asked; resolv.conf(5) itself stops at three
	statEvery  = 5 * time.Second // how often resolv.conf is looked at, as the Go library does
)

// server is one recursive resolver.
type server struct {
	address string // with port
	trusted bool   // its AD bit is believed
}

// servers knows whom to ask: a fixed list, or what resolv.conf says today. A
// mail host may be up before its network is.
type servers struct {
	path string // "" for a fixed list
	now  func() time.Time
	log  *slog.Logger

	mu      sync.Mutex // guards what follows
	current []server
	looked  time.Time // when the file was last looked at
	changed time.Time // its modification time then
}

func newServers(cfg Config, now func() time.Time, log *slog.Logger) (*servers, error) {
	s := &servers{now: now, log: log}
	if len(cfg.Servers) == 0 {
		if s.path = cfg.ResolvConf; s.path == "" {
			s.path = "/etc/resolv.conf"
		}
		return s, nil
	}
	if len(cfg.Servers) > maxServers {
		return nil, fmt.Errorf("%d DNS servers, at most %d", len(cfg.Servers), maxServers)
	}
	for _, text := range cfg.Servers {
		address, err := serverAddress(text)
		if err != nil {
			return nil, err
		}
		s.current = append(s.current, server{address, cfg.Trusted || loopback(address)})
	}
	return s, nil
}

// serverAddress reads "192.0.2.53", "192.0.2.53:53", "2001:db8::53" or
// "[2001:db8::53]:53" and returns it with a port.
func serverAddress(text string) (string, error) {
	if ap, err := netip.ParseAddrPort(text); err == nil && ap.Port() != 0 {
		return ap.String(), nil
	}
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPortFrom(addr, 53).String(), nil
	}
	return "", fmt.Errorf("DNS server %q is not an IP address with or without a port", text)
}

// list returns the servers of now, never none.
func (s *servers) list() []server {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if s.path == "" || !s.looked.IsZero() && now.Sub(s.looked) < statEvery {
		return s.current
	}
	s.looked = now
	var changed time.Time
	if info, err := os.Stat(s.path); err == nil {
		changed = info.ModTime()
	}
	if len(s.current) == 0 || !changed.Equal(s.changed) {
		s.changed = changed
		s.current = s.read()
	}
	return s.current
}

// read takes the servers out of resolv.conf. Without any, the resolver is on
// this machine: resolv.conf(5).
func (s *servers) read() []server {
	var list []server
	conf, err := mdns.ClientConfigFromFile(s.path)
	if err != nil {
		s.log.Warn("resolv.conf unreadable, asking 127.0.0.1", "err", err)
	} else {
		for _, text := range conf.Servers {
			if address, err := serverAddress(text); err == nil && len(list) < maxServers {
				list = append(list, server{address, loopback(address)})
			}
		}
	}
	if len(list) == 0 {
		list = []server{{"127.0.0.1:53", true}, {"[::1]:53", true}}
	}
	return list
}
