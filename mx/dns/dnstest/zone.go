// Package dnstest is a name server for tests: it answers from a zone written
// as text, and fails as it is told to. It plays the resolver that mx/dns asks,
// so it is authoritative for the whole world and follows aliases itself.
//
// A zone text is a master file (RFC 1035 5.1) of which the origin is the root
// and the default TTL 60 s, with script lines that begin with an exclamation
// mark:
//
//	a.test.       MX  10 mx.a.test.
//	mx.a.test.    A   192.0.2.1
//	*.wild.test.  TXT "for every name below"
//	! servfail b.test. MX 2     the next two such questions
//	! timeout  c.test.          every question about the name, whatever the type
package dnstest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// Fault is what a question meets instead of its answer.
type Fault string

const (
	ServFail  Fault = "servfail"  // SERVFAIL
	Refused   Fault = "refused"   // REFUSED
	Timeout   Fault = "timeout"   // no answer
	Truncate  Fault = "truncate"  // TC over UDP, the answer over TCP
	Cut       Fault = "cut"       // TC over UDP, no answer over TCP
	NoEDNS    Fault = "noedns"    // FORMERR to a question with EDNS
	Mismatch  Fault = "mismatch"  // an answer to another question
	Malformed Fault = "malformed" // bytes that are no message
)

var faults = []Fault{ServFail, Refused, Timeout, Truncate, Cut, NoEDNS, Mismatch, Malformed}

// Zone is all the records of a test's world. It is safe for concurrent use and
// may change while it is served.
type Zone struct {
	mu        sync.Mutex // guards what follows
	records   map[string]map[uint16][]dns.RR
	scripts   []script
	authentic bool
	asked     map[string]int
}

// script is one fault that waits for its questions.
type script struct {
	name  string
	qtype uint16 // dns.TypeANY for every type
	fault Fault
	left  int // questions it still hits; -1 for all
}

// Parse reads a zone text as the package comment describes it.
func Parse(text string) (*Zone, error) {
	z := &Zone{records: make(map[string]map[uint16][]dns.RR), asked: make(map[string]int)}
	return z, z.Add(text)
}

// MustParse is Parse for a text that stands in the test.
func MustParse(text string) *Zone {
	z, err := Parse(text)
	if err != nil {
		panic(err)
	}
	return z
}

// Add reads more of the same text into the zone: all of it, or nothing.
func (z *Zone) Add(text string) error {
	var master strings.Builder
	var scripts []script
	for line := range strings.Lines(text) {
		directive, ok := strings.CutPrefix(strings.TrimSpace(line), "!")
		if !ok {
			master.WriteString(line)
			continue
		}
		s, err := parseScript(directive)
		if err != nil {
			return err
		}
		scripts = append(scripts, s)
		master.WriteString("\n") // so that line numbers in errors stay right
	}
	parser := dns.NewZoneParser(strings.NewReader(master.String()), ".", "zone")
	parser.SetDefaultTTL(60)
	var records []dns.RR
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		records = append(records, rr)
	}
	if err := parser.Err(); err != nil {
		return err
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, rr := range records {
		name := dns.CanonicalName(rr.Header().Name)
		if z.records[name] == nil {
			z.records[name] = make(map[uint16][]dns.RR)
		}
		z.records[name][rr.Header().Rrtype] = append(z.records[name][rr.Header().Rrtype], rr)
	}
	z.scripts = append(z.scripts, scripts...)
	return nil
}

func parseScript(line string) (script, error) {
	fields := strings.Fields(line)
	if len(fields) < 2 || len(fields) > 4 || !slices.Contains(faults, Fault(fields[0])) {
		return script{}, fmt.Errorf("script line %q is not: fault name [type [count]]", line)
	}
	s := script{fault: Fault(fields[0]), name: dns.CanonicalName(fields[1]), qtype: dns.TypeANY, left: -1}
	if len(fields) > 2 {
		qtype, ok := dns.StringToType[strings.ToUpper(fields[2])]
		if !ok {
			return script{}, fmt.Errorf("script line %q: no record type %s", line, fields[2])
		}
		s.qtype = qtype
	}
	if len(fields) > 3 {
		n, err := strconv.Atoi(fields[3])
		if err != nil || n < 1 {
			return script{}, fmt.Errorf("script line %q: %s is no count", line, fields[3])
		}
		s.left = n
	}
	return s, nil
}

// Remove takes every record and every script of a name away.
func (z *Zone) Remove(name string) {
	name = dns.CanonicalName(name)
	z.mu.Lock()
	defer z.mu.Unlock()
	delete(z.records, name)
	z.scripts = slices.DeleteFunc(z.scripts, func(s script) bool { return s.name == name })
}

// Authenticate sets the AD bit of the answers from now on.
func (z *Zone) Authenticate(ad bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.authentic = ad
}

// Asked returns how many questions of a type ("MX") about a name have come.
func (z *Zone) Asked(name, qtype string) int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked[qtype+" "+dns.CanonicalName(name)]
}

// count notes a question and returns the fault that it shall meet, or "".
func (z *Zone) count(q dns.Question) Fault {
	z.mu.Lock()
	defer z.mu.Unlock()
	name := dns.CanonicalName(q.Name)
	z.asked[dns.TypeToString[q.Qtype]+" "+name]++
	for i := range z.scripts {
		s := &z.scripts[i]
		if s.name != name || s.left == 0 || s.qtype != dns.TypeANY && s.qtype != q.Qtype {
			continue
		}
		if s.left > 0 {
			s.left--
		}
		return s.fault
	}
	return ""
}

// answer is what the zone says to a question, aliases followed.
func (z *Zone) answer(query *dns.Msg) *dns.Msg {
	z.mu.Lock()
	defer z.mu.Unlock()
	reply := new(dns.Msg).SetReply(query)
	reply.RecursionAvailable = true
	reply.AuthenticatedData = z.authentic
	q := query.Question[0]
	name := dns.CanonicalName(q.Name)
	for range 32 { // a loop of aliases ends here, as no resolver follows it for ever
		types, exists := z.find(name)
		reply.Answer = append(reply.Answer, types[q.Qtype]...)
		if len(types[q.Qtype]) > 0 {
			return reply
		}
		if alias := types[dns.TypeCNAME]; len(alias) > 0 {
			reply.Answer = append(reply.Answer, alias[0])
			name = dns.CanonicalName(alias[0].(*dns.CNAME).Target)
			continue
		}
		if !exists {
			reply.Rcode = dns.RcodeNameError
		}
		break
	}
	reply.Ns = append(reply.Ns, &dns.SOA{
		Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 60},
		Ns:  "ns.", Mbox: "hostmaster.", Serial: 1, Refresh: 60, Retry: 60, Expire: 60, Minttl: 60,
	})
	return reply
}

// find returns the records of a name: its own, or those of the wildcard above
// it. A name that only has names below it exists too (RFC 8020).
func (z *Zone) find(name string) (types map[uint16][]dns.RR, exists bool) {
	if types, ok := z.records[name]; ok {
		return types, true
	}
	for other := range z.records {
		if dns.IsSubDomain(name, other) {
			return nil, true
		}
	}
	_, parent, _ := strings.Cut(name, ".")
	for ; parent != ""; _, parent, _ = strings.Cut(parent, ".") {
		wild, ok := z.records["*."+parent]
		if !ok {
			continue
		}
		types = make(map[uint16][]dns.RR)
		for qtype, records := range wild {
			for _, rr := range records {
				own := dns.Copy(rr)
				own.Header().Name = name
				types[qtype] = append(types[qtype], own)
			}
		}
		return types, true
	}
	return nil, false
}
