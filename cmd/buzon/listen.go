package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"
)

// service is one of the roles that buzon has on the network.
type service struct {
	name      string // as [listen] has it
	addresses []string
}

// services are the roles in the order in which a message meets them.
func (c *config) services() []service {
	return []service{
		{"smtp", c.Listen.SMTP},
		{"lmtp", c.Listen.LMTP},
		{"submission", c.Listen.Submission},
		{"submissions", c.Listen.Submissions},
		{"imap", c.Listen.IMAP},
		{"imaps", c.Listen.IMAPS},
		{"https", c.Listen.HTTPS},
		{"managesieve", c.Listen.ManageSieve},
	}
}

// listener is an open port of a service.
type listener struct {
	net.Listener
	service string
}

// listen opens every port. On an error none stays open, and the error says
// what to do about it.
func listen(cfg *config) (open []listener, err error) {
	for _, s := range cfg.services() {
		for _, address := range s.addresses {
			ln, err := listenAt(cfg, s.name, address)
			if err != nil {
				closeAll(open)
				return nil, fmt.Errorf("listen for %s at %s: %w", s.name, address, advise(err))
			}
			open = append(open, listener{ln, s.name})
		}
	}
	return open, nil
}

func closeAll(open []listener) {
	for _, ln := range open {
		ln.Close()
	}
}

// advise adds what to do to the errors of listening that everybody meets.
func advise(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w; `ss -ltnp` shows which program has the port: stop it, or choose another port", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; ports below 1024 need root, or CAP_NET_BIND_SERVICE as deploy/buzon.service gives it", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w; this machine does not have the address", err)
	}
	return err
}
