package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	mdns "github.com/miekg/dns"
)

const (
	// udpSize is what we offer to take in one datagram: it fits every path
	// without fragments (DNS flag day 2020). Longer answers come over TCP.
	udpSize = 1232
	rounds  = 2 // times that every server is asked
	budget  = 5 // server time-outs that one question may take in all
)

// exchanger sends a query to one server over "udp" or "tcp" and returns its
// reply, which need not belong to the query.
type exchanger func(ctx context.Context, query *mdns.Msg, network, server string) (*mdns.Msg, error)

func exchangeNetwork(ctx context.Context, query *mdns.Msg, network, server string) (*mdns.Msg, error) {
	deadline, _ := ctx.Deadline()
	client := mdns.Client{Net: network, UDPSize: udpSize, Timeout: time.Until(deadline)}
	reply, _, err := client.ExchangeContext(ctx, query, server)
	return reply, err
}

// resolve asks the servers in turn, beginning with the one that answered last,
// until one of them answers, and caches the outcome. It is one flight for many
// callers and so has no context of theirs.
func (c *Client) resolve(q question) (out *outcome) {
	defer func() {
		if p := recover(); p != nil { // a flight's goroutine has no other net below it
			c.log.Error("lookup panicked", "err", p, "name", q.String())
			out = failure(errors.New("lookup panicked"), c.now())
		}
		c.cache.put(q, out)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), budget*c.timeout)
	defer cancel()

	list := c.servers.list()
	first := int(c.first.Load())
	var trouble error
	for i := range rounds * len(list) {
		n := (first + i) % len(list)
		out, err := c.ask(ctx, q, list[n])
		if err == nil {
			c.first.Store(uint32(n))
			return out
		}
		trouble = fmt.Errorf("server %s: %w", list[n].address, err)
		if ctx.Err() != nil {
			break
		}
	}
	return failure(trouble, c.now())
}

// ask makes one try with one server: over UDP, over TCP when the answer is
// truncated, without EDNS when the server does not know it. The error is for
// what another server may do better.
func (c *Client) ask(ctx context.Context, q question, s server) (*outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	query := newQuery(q)
	network := "udp"
	for range 3 { // the most that one server can be asked: plain UDP, TCP, and no EDNS once
		reply, err := c.exchange(ctx, query, network, s.address)
		if err != nil {
			return nil, err
		}
		if err := belongs(query, reply); err != nil {
			return nil, err
		}
		switch {
		case reply.Truncated && network == "udp": // RFC 7766 5
			network = "tcp"
			query.Id = mdns.Id()
		case reply.Rcode == mdns.RcodeFormatError && query.IsEdns0() != nil: // RFC 6891 7
			query.Extra = nil
			query.Id = mdns.Id()
		case reply.Truncated:
			return nil, errors.New("answer truncated over TCP")
		case reply.Rcode == mdns.RcodeSuccess, reply.Rcode == mdns.RcodeNameError:
			return read(q, reply, s.trusted, c.now()), nil
		default: // SERVFAIL, REFUSED, NOTIMP, …: this server's trouble
			return nil, fmt.Errorf("answered %s", rcode(reply.Rcode))
		}
	}
	return nil, errors.New("no agreement on the form of the question")
}

func newQuery(q question) *mdns.Msg {
	query := new(mdns.Msg)
	query.SetQuestion(mdns.Fqdn(q.name), q.qtype)
	query.AuthenticatedData = true // RFC 6840 5.7: we want to see AD, the signatures we do not need
	query.SetEdns0(udpSize, false)
	return query
}

// belongs checks that a reply answers the query and not one that an attacker
// hopes for. RFC 5452 9.1.
func belongs(query, reply *mdns.Msg) error {
	if !reply.Response || reply.Id != query.Id || reply.Opcode != mdns.OpcodeQuery {
		return errors.New("reply to another question")
	}
	if len(reply.Question) == 0 && reply.Rcode == mdns.RcodeFormatError {
		return nil // servers that could not parse the query cannot repeat it
	}
	want := query.Question[0]
	if len(reply.Question) != 1 || reply.Question[0].Qtype != want.Qtype || reply.Question[0].Qclass != want.Qclass ||
		mdns.CanonicalName(reply.Question[0].Name) != want.Name {
		return errors.New("reply to another question")
	}
	return nil
}

func rcode(n int) string {
	if s, ok := mdns.RcodeToString[n]; ok {
		return s
	}
	return fmt.Sprint("rcode ", n)
}

// loopback reports an address that needs no network. Docker's own forwarder
// lives on one, yet its answers have come over the host's network.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && ip.IsLoopback() && host != "127.0.0.11"
}
