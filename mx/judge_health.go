package mx

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"buzon/mx/dns"
)

const (
	// patience is how long a message waits for the DNS before it is asked
	// whether there is a resolver at all.
	patience   = 1500 * time.Millisecond
	probeTime  = 2 * time.Second // for its answer
	probeEvery = 5 * time.Second // while there is none
)

// health knows whether there is a resolver that answers. Where there is none,
// messages do not wait for it: every check is a temperror at once, and mail is
// accepted as fast as ever. A sender's own dead name servers do not count: the
// question that decides is one that every resolver can answer by itself.
type health struct {
	r   CheckResolver
	log *slog.Logger

	mu      sync.Mutex // guards what follows
	down    bool
	probing bool
	probes  int
	last    time.Time // end of the last probe
}

var errResolverDown = errors.New("no resolver answers")

// watch returns the context and the resolver for the checks of one message.
// done must be called at their end.
func (h *health) watch(ctx context.Context) (context.Context, CheckResolver, func()) {
	h.mu.Lock()
	down := h.down
	probe := down && !h.probing && time.Since(h.last) > probeEvery
	if probe {
		h.probing = true
	}
	h.mu.Unlock()
	if probe {
		go h.probe(context.WithoutCancel(ctx), func() {})
	}
	if down {
		return ctx, noResolver{}, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(patience, func() {
		h.mu.Lock()
		probe := !h.probing
		h.probing = true
		h.mu.Unlock()
		if probe {
			h.probe(context.WithoutCancel(ctx), func() { cancel(errResolverDown) })
		}
	})
	return ctx, h.r, func() { timer.Stop(); cancel(nil) }
}

// probe asks for a name of the domain that does not exist (RFC 6761 6.4), a new
// one each time, so that no cache answers. It calls ifDown when nobody does.
func (h *health) probe(ctx context.Context, ifDown func()) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	h.mu.Lock()
	h.probes++
	name := fmt.Sprintf("probe-%d.invalid", h.probes)
	h.mu.Unlock()
	_, _, err := h.r.TXT(ctx, name)
	down := silent(err)
	h.mu.Lock()
	changed := h.down != down
	h.down, h.probing, h.last = down, false, time.Now()
	h.mu.Unlock()
	switch {
	case changed && down:
		h.log.Error("no resolver answers: mail is accepted without checks", "err", err)
	case changed:
		h.log.Info("the resolver answers again")
	}
	if down {
		ifDown()
	}
}

// silent reports that an error is no answer of a resolver, not even a bad one.
func silent(err error) bool {
	if err == nil || dns.NotFound(err) {
		return false
	}
	_, network := errors.AsType[*net.OpError](err)
	return network || errors.Is(err, context.DeadlineExceeded)
}

// noResolver has trouble with every question.
type noResolver struct{}

func (noResolver) TXT(context.Context, string) ([]string, dns.Answer, error) {
	return nil, dns.Answer{}, errResolverDown
}

func (noResolver) MX(context.Context, string) ([]dns.MX, dns.Answer, error) {
	return nil, dns.Answer{}, errResolverDown
}

func (noResolver) Addrs(context.Context, string) ([]netip.Addr, dns.Answer, error) {
	return nil, dns.Answer{}, errResolverDown
}

func (noResolver) PTR(context.Context, netip.Addr) ([]string, dns.Answer, error) {
	return nil, dns.Answer{}, errResolverDown
}
