package mx

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"buzon/internal/message"
	"buzon/internal/smtp"
	"buzon/mx/arc"
	"buzon/mx/dkim"
	"buzon/mx/dmarc"
	"buzon/mx/dns"
	"buzon/mx/spf"
)

// Enforcement says what is done with mail that a check finds bad.
type Enforcement string

// The enforcements.
const (
	Enforce  Enforcement = "enforce" // refuse it, or file it as junk, as the sender's domain asks
	JunkOnly Enforcement = "junk"    // never refuse, file it as junk
	NoAction Enforcement = "none"    // only say in the header what was found
)

// JudgeConfig is what a Judge is made of. Resolver and Hostname must be given.
type JudgeConfig struct {
	Hostname string // our name in the results (authserv-id)
	Resolver CheckResolver

	DMARC   Enforcement // of DMARC policies; Enforce when ""
	SPF     Enforcement // JunkOnly or NoAction: an SPF fail where DMARC says nothing; JunkOnly when ""
	Trusted []string    // domains whose ARC seals are believed

	// Observe is told of each message that a DMARC policy was applied to; nil
	// for nobody. It must not wait.
	Observe func(dmarc.Observation)

	Budget time.Duration // for all the questions about a message; 15 s when zero
	Now    func() time.Time
	Log    *slog.Logger
}

// CheckResolver is what of mx/dns the checks ask.
type CheckResolver interface {
	TXT(ctx context.Context, name string) ([]string, dns.Answer, error)
	MX(ctx context.Context, domain string) ([]dns.MX, dns.Answer, error)
	Addrs(ctx context.Context, host string) ([]netip.Addr, dns.Answer, error)
	PTR(ctx context.Context, addr netip.Addr) ([]string, dns.Answer, error)
}

// A Judge tells whom a message from a stranger may be believed to be from. It
// is safe for concurrent use.
type Judge struct {
	cfg    JudgeConfig
	health *health
}

// checkBudget bounds what the DNS may cost the sender's session: a sender waits
// ten minutes for the answer to its message (RFC 5321 4.5.3.2.6), and we have
// other things to do.
const checkBudget = 15 * time.Second

// NewJudge returns a Judge that has seen nothing.
func NewJudge(cfg JudgeConfig) *Judge {
	if cfg.DMARC == "" {
		cfg.DMARC = Enforce
	}
	if cfg.SPF == "" {
		cfg.SPF = JunkOnly
	}
	if cfg.Budget <= 0 {
		cfg.Budget = checkBudget
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Judge{cfg: cfg, health: &health{r: cfg.Resolver, log: cfg.Log}}
}

// Arrival is a message as it came.
type Arrival struct {
	ID      string // for the log
	IP      netip.Addr
	Helo    string
	From    smtp.Address // reverse-path
	To      smtp.Address // one of the recipients
	Content io.ReaderAt
	Size    int64
	Header  *message.Header // of Content; nil: it is read
}

// Action is what is to be done with a message.
type Action int

// The actions, from mild to hard.
const (
	Accept Action = iota
	Junk          // deliver it as junk
	Refuse        // with Verdict.Reply, for good or for now
)

// Verdict is the outcome for one message.
type Verdict struct {
	Action Action
	Reply  *smtp.Reply // of Refuse
	Reason string      // of Junk and Refuse, for the log
	// Fields are to be put on top of the message: Authentication-Results and
	// Received-SPF, with CRLF.
	Fields []byte
	// Results is the value of Authentication-Results, for a seal.
	Results string
	Chain   arc.Chain // to be sealed when the message is forwarded
	BodyAt  int64     // where the body begins, in octets
	// Authors are the domains that the message may be from; Proven reports
	// that it is from the only one of them.
	Authors []string
	Proven  bool
}

// findings is what the checks of one message have found.
type findings struct {
	Arrival
	header   *message.Header // never nil
	bodyAt   int64
	author   string   // the Author Domain, as dns.Name has it; "" when in doubt
	doubtful []string // then these are the domains that may be shown

	host       reverse
	helo, from spf.Check
	signatures []dkim.Signature
	chain      arc.Chain
	policy     *dmarc.Policy // nil where DMARC does not apply
	policyErr  error         // trouble hides it
	outcome    dmarc.Outcome
	sealer     string // the trusted host that vouches for a failure
}

// Judge checks a message. The error is one of reading it: whatever the DNS
// does, there is a verdict, within the budget.
func (j *Judge) Judge(ctx context.Context, a Arrival) (Verdict, error) {
	f := &findings{Arrival: a}
	var err error
	if f.header = a.Header; f.header == nil {
		r := bufio.NewReader(io.NewSectionReader(a.Content, 0, a.Size))
		if f.header, err = message.ReadHeader(r, message.HeaderLimits{}); err != nil {
			return Verdict{}, fmt.Errorf("read header: %w", err)
		}
	}
	f.bodyAt = int64(len(f.header.Raw()))
	domain, doubtful := message.AuthorDomain(f.header)
	if f.author, err = dns.Name(domain); err != nil {
		f.author = ""
		if domain != "" {
			doubtful = []string{domain}
		}
	}
	f.doubtful = doubtful

	ctx, cancel := context.WithTimeout(ctx, j.cfg.Budget)
	defer cancel()
	ctx, resolver, done := j.health.watch(ctx)
	defer done()
	if err := j.check(ctx, resolver, f); err != nil {
		return Verdict{}, err
	}
	return j.decide(f), nil
}

// check asks everything at once, and then what depends on it. What the resolver
// remembers is not worth a goroutine.
func (j *Judge) check(ctx context.Context, r CheckResolver, f *findings) error {
	var waiting sync.WaitGroup
	ask := func(question func(context.Context)) {
		known, missed := dns.FromMemory(ctx)
		if question(known); missed() {
			waiting.Go(func() { question(ctx) })
		}
	}
	ask(func(ctx context.Context) { f.host = reverseName(ctx, r, f.IP) })
	ask(func(ctx context.Context) { f.helo = spf.Helo(ctx, r, f.IP, f.Helo) })
	ask(func(ctx context.Context) { f.from = spf.MailFrom(ctx, r, f.IP, f.Helo, f.From) })
	ask(func(ctx context.Context) {
		if f.author != "" {
			f.policy, f.policyErr = dmarc.Discover(ctx, r, f.author)
		} else {
			f.policy, f.policyErr = strictest(ctx, r, f.doubtful)
		}
	})
	bodyErr := j.checkBody(ctx, r, f)
	waiting.Wait()
	if bodyErr != nil {
		return bodyErr
	}
	if f.policy == nil || f.author == "" {
		return nil
	}
	f.outcome = f.policy.Evaluate(ctx, r, f.spfIdentifier(), f.dkimIdentifiers())
	if f.outcome.Result == dmarc.ResultFail && f.chain.Result == arc.Pass && len(f.chain.Sealers) > 0 &&
		slices.ContainsFunc(j.cfg.Trusted, func(d string) bool { return strings.EqualFold(d, f.chain.Sealers[0]) }) {
		f.sealer = f.chain.Sealers[0]
	}
	return nil
}

// checkBody makes the checks that read the message: signatures, and the chain
// where there is one.
func (j *Judge) checkBody(ctx context.Context, r CheckResolver, f *findings) (err error) {
	body := func() io.Reader { return io.NewSectionReader(f.Content, f.bodyAt, f.Size-f.bodyAt) }
	if f.signatures, err = dkim.Verify(ctx, r, f.header, body(), j.cfg.Now()); err != nil {
		return err
	}
	f.chain, err = arc.Validate(ctx, r, f.header, body())
	return err
}

// strictest returns the hardest policy among domains that a reader could be
// shown as the author's.
func strictest(ctx context.Context, r CheckResolver, domains []string) (*dmarc.Policy, error) {
	var found *dmarc.Policy
	var trouble error
	for _, d := range domains {
		name, err := dns.Name(d)
		if err != nil {
			continue
		}
		p, err := dmarc.Discover(ctx, r, name)
		switch {
		case err != nil:
			trouble = err
		case p != nil && (found == nil || found.Requested == dmarc.None):
			found = p
		}
	}
	if found != nil {
		return found, nil
	}
	return nil, trouble
}

// spfIdentifier is what SPF has authenticated for DMARC: the domain of the
// reverse-path and never another one that HELO named. Of the null reverse-path
// it is the HELO name (RFC 7208 2.4).
func (f *findings) spfIdentifier() dmarc.Identifier {
	return dmarc.Identifier{Domain: f.from.Domain, Passed: f.from.Result == spf.Pass, Temp: f.from.Result == spf.TempError}
}

func (f *findings) dkimIdentifiers() []dmarc.Identifier {
	var ids []dmarc.Identifier
	for _, s := range f.signatures {
		ids = append(ids, dmarc.Identifier{Domain: s.Domain, Passed: s.Result == dkim.Pass, Temp: s.Result == dkim.TempError})
	}
	return ids
}
