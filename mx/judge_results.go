package mx

import (
	"fmt"
	"net/netip"
	"strings"

	"buzon/internal/smtp"
	"buzon/mx/arc"
	"buzon/mx/dmarc"
	"buzon/mx/spf"
)

// results is the value of our Authentication-Results field (RFC 8601 2.2), one
// method on each line. What strangers have said stands in it only as names
// that dns.Name has accepted.
func (j *Judge) results(f *findings, action Action) string {
	var b strings.Builder
	b.WriteString(j.cfg.Hostname)
	add := func(format string, args ...any) { fmt.Fprintf(&b, ";\r\n\t"+format, args...) }

	add("iprev=%s%s policy.iprev=%s", f.host.result, comment(f.host.name), addressValue(f.IP))
	if f.helo.Domain != "" && f.helo != f.from {
		add("spf=%s%s smtp.helo=%s", f.helo.Result, comment(f.helo.Reason), f.helo.Domain)
	}
	switch {
	case f.from.Domain == "":
		add("spf=%s%s", f.from.Result, comment(f.from.Reason))
	case f.From.IsNull():
		add("spf=%s%s smtp.helo=%s", f.from.Result, comment(f.from.Reason), f.from.Domain)
	default:
		add("spf=%s%s smtp.mailfrom=%s", f.from.Result, comment(f.from.Reason), f.from.Domain)
	}
	if len(f.signatures) == 0 {
		add("dkim=none")
	}
	for _, s := range f.signatures {
		why := s.Reason
		if s.Testing && why != "" {
			why += ", the key is being tested"
		}
		if why == "" && s.KeyBits > 0 {
			why = fmt.Sprintf("%d-bit key", s.KeyBits)
		}
		add("dkim=%s%s", s.Result, comment(why))
		for _, p := range []struct{ name, value string }{{"header.d", s.Domain}, {"header.s", s.Selector}, {"header.a", s.Algorithm}, {"header.b", quoteB(s.Short)}} {
			if p.value != "" {
				fmt.Fprintf(&b, " %s=%s", p.name, p.value)
			}
		}
	}
	j.addDMARC(add, f, action)
	if f.chain.Result != arc.None {
		why := f.chain.Reason
		if len(f.chain.Sealers) > 0 {
			why = fmt.Sprintf("%d sets, the last one sealed by %s", f.chain.Length, f.chain.Sealers[0])
		}
		add("arc=%s%s", arcResult(f.chain.Result), comment(why))
	}
	return b.String()
}

func (j *Judge) addDMARC(add func(string, ...any), f *findings, action Action) {
	switch {
	case f.author == "" && len(f.doubtful) == 0 && f.policyErr == nil:
		add("dmarc=none (there is no author's domain)")
	case f.author == "":
		add("dmarc=permerror (the author is in doubt)")
	case f.policyErr != nil:
		add("dmarc=temperror (the policy cannot be looked up) header.from=%s", f.author)
	case f.policy == nil:
		add("dmarc=none header.from=%s", f.author)
	default:
		p := f.policy
		why := fmt.Sprintf("p=%s", p.Requested)
		if p.Walked {
			why += " of " + p.Domain
		}
		if f.outcome.Result != dmarc.ResultPass {
			why += fmt.Sprintf(" dis=%s", disposition(action))
			if f.sealer != "" {
				why += " arc"
			}
		}
		add("dmarc=%s (%s) header.from=%s", f.outcome.Result, why, f.author)
	}
}

// arcResult: RFC 8601 has no temperror for a chain, and nobody may rely on it.
func arcResult(r arc.Result) arc.Result {
	if r == arc.TempError {
		return arc.Fail
	}
	return r
}

// comment is " (text)", with nothing in the text that could end it.
func comment(text string) string {
	if text == "" {
		return ""
	}
	clean := strings.Map(func(r rune) rune {
		switch {
		case r < ' ' || r > '~' || r == '(' || r == ')' || r == '\\' || r == ';':
			return '?'
		}
		return r
	}, text)
	return " (" + clean[:min(len(clean), 200)] + ")"
}

// quoteB writes b= as a quoted string where it is no token.
func quoteB(b string) string {
	if strings.ContainsAny(b, "/=") {
		return `"` + b + `"`
	}
	return b
}

func addressValue(ip netip.Addr) string {
	if ip.Is6() {
		return `"` + ip.String() + `"`
	}
	return ip.String()
}

// policySaid is what a policy says about an address, in words.
var policySaid = map[spf.Result]string{
	spf.Pass:      "%s designates %s as permitted sender",
	spf.Fail:      "%s does not designate %s as permitted sender",
	spf.SoftFail:  "%s discourages use of %s as permitted sender",
	spf.Neutral:   "%s is neutral about %s",
	spf.None:      "%s has no policy about %s",
	spf.TempError: "the policy of %s about %s cannot be looked up now",
	spf.PermError: "the policy of %s about %s cannot be understood",
}

// receivedSPF is the field of RFC 7208 9.1 about the reverse-path.
func (j *Judge) receivedSPF(f *findings) string {
	c := f.from
	domain := c.Domain
	if domain == "" {
		domain = "the sender"
	}
	identity := "mailfrom"
	if f.From.IsNull() {
		identity = "helo"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Received-SPF: %s (%s: "+policySaid[c.Result]+")\r\n\tclient-ip=%s;", c.Result, j.cfg.Hostname, domain, f.IP, f.IP)
	if !f.From.NeedsUTF8() {
		fmt.Fprintf(&b, " envelope-from=%s;", quoted(f.From.String()))
	}
	if helo, err := smtp.ParseDomain(f.Helo); err == nil && !strings.HasPrefix(helo, "[") {
		fmt.Fprintf(&b, " helo=%s;", helo)
	}
	fmt.Fprintf(&b, " receiver=%s; identity=%s\r\n", j.cfg.Hostname, identity)
	return b.String()
}

var escape = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

func quoted(s string) string { return `"` + escape.Replace(s) + `"` }
