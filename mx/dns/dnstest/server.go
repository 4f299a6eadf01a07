package dnstest

import (
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// Server answers for a Zone over UDP and TCP on one port.
type Server struct {
	zone     *Zone
	addr     string
	udp, tcp *dns.Server
	running  sync.WaitGroup
}

// Listen opens both sockets on address: "127.0.0.1:0" for a free port of this
// machine. Nothing is answered before Serve.
func Listen(address string, zone *Zone) (*Server, error) {
	s := &Server{zone: zone}
	for range 10 { // the port that is free for UDP may be taken for TCP
		pc, err := net.ListenPacket("udp", address)
		if err != nil {
			return nil, err
		}
		ln, err := net.Listen("tcp", pc.LocalAddr().String())
		if err != nil {
			pc.Close()
			continue
		}
		s.addr = pc.LocalAddr().String()
		s.udp = &dns.Server{PacketConn: pc, Net: "udp", Handler: s}
		s.tcp = &dns.Server{Listener: ln, Net: "tcp", Handler: s}
		return s, nil
	}
	return nil, fmt.Errorf("no port on %s that is free for UDP and TCP", address)
}

// Addr is where the server listens, as mx/dns wants it among its Servers.
func (s *Server) Addr() string { return s.addr }

// Serve answers until Close; the error is the first of the two sockets'.
func (s *Server) Serve() error { return <-s.begin() }

// begin answers from now on, until Close.
func (s *Server) begin() (ended <-chan error) {
	errs := make(chan error, 2)
	for _, one := range []*dns.Server{s.udp, s.tcp} {
		s.running.Go(func() { errs <- one.ActivateAndServe() })
	}
	return errs
}

// Close ends Serve and waits for it.
func (s *Server) Close() error {
	s.udp.PacketConn.Close()
	s.tcp.Listener.Close()
	s.running.Wait()
	return nil
}

// Start listens on a free loopback port and serves until the test is over.
func Start(t testing.TB, zone *Zone) *Server {
	t.Helper()
	s, err := Listen("127.0.0.1:0", zone)
	if err != nil {
		t.Fatal(err)
	}
	s.begin()
	t.Cleanup(func() { s.Close() })
	return s
}

// ServeDNS answers one question; it is dns.Handler's method.
func (s *Server) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	if len(query.Question) != 1 {
		w.WriteMsg(new(dns.Msg).SetRcode(query, dns.RcodeFormatError))
		return
	}
	udp := w.LocalAddr().Network() == "udp"
	reply := s.zone.answer(query)
	switch fault := s.zone.count(query.Question[0]); {
	case fault == Timeout, fault == Cut && !udp:
		return
	case fault == ServFail:
		reply = new(dns.Msg).SetRcode(query, dns.RcodeServerFailure)
	case fault == Refused:
		reply = new(dns.Msg).SetRcode(query, dns.RcodeRefused)
	case fault == NoEDNS && query.IsEdns0() != nil:
		reply = new(dns.Msg).SetRcode(query, dns.RcodeFormatError)
	case fault == Mismatch:
		reply.Question[0].Name = "another." + reply.Question[0].Name
	case fault == Malformed:
		w.Write([]byte("not a message"))
		return
	case udp && (fault == Truncate || fault == Cut):
		reply.Answer, reply.Truncated = nil, true
	}
	if udp {
		size := dns.MinMsgSize
		if opt := query.IsEdns0(); opt != nil {
			size = int(opt.UDPSize())
		}
		reply.Truncate(size)
	}
	w.WriteMsg(reply)
}
