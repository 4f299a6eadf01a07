package mx

import (
	"fmt"
	"strings"

	"buzon/internal/smtp"
	"buzon/mx/dkim"
	"buzon/mx/dmarc"
	"buzon/mx/spf"
)

// decide turns findings into a verdict, and tells who collects reports.
func (j *Judge) decide(f *findings) Verdict {
	v := Verdict{Chain: f.chain, BodyAt: f.bodyAt, Authors: f.doubtful, Proven: f.proven()}
	if f.author != "" {
		v.Authors = []string{f.author}
	}
	v.Action, v.Reply, v.Reason = j.action(f)
	v.Results = j.results(f, v.Action)
	v.Fields = fmt.Appendf(nil, "Authentication-Results: %s\r\n%s", v.Results, j.receivedSPF(f))
	if j.cfg.Observe != nil && f.policy != nil && f.author != "" && (v.Reply == nil || v.Reply.Permanent()) && !f.isReport() {
		j.cfg.Observe(f.observation(v.Action, j.cfg.DMARC))
	}
	if v.Action != Accept {
		j.cfg.Log.Info("judged", "id", f.ID, "ip", f.IP.String(), "from", f.From.String(), "author", f.author, "action", v.Action.String(), "err", v.Reason)
	}
	return v
}

func (a Action) String() string { return [...]string{"accept", "junk", "refuse"}[a] }

// action follows the policy of the author's domain where there is one, and
// else that of the reverse-path's.
func (j *Judge) action(f *findings) (Action, *smtp.Reply, string) {
	switch {
	case f.author == "" && f.policy != nil:
		reason := fmt.Sprintf("the author is in doubt, and %s has a DMARC policy", f.policy.Author)
		if j.cfg.DMARC == Enforce {
			return Refuse, smtp.NewReply(550, [3]int{5, 7, 1}, "The message must have one From field with addresses of one domain"), reason
		}
		return j.atMost(Junk, nil, reason)
	case f.policy != nil && f.sealer == "" && !f.policy.Record.Testing && f.outcome.Result != dmarc.ResultPass:
		return j.enforce(f)
	case f.policy != nil:
		return Accept, nil, ""
	case f.from.Result == spf.Fail && !f.signed() && j.cfg.SPF != NoAction:
		return Junk, nil, "SPF of " + f.from.Domain
	}
	return Accept, nil, ""
}

// enforce applies a DMARC policy to a message that has not passed.
func (j *Judge) enforce(f *findings) (Action, *smtp.Reply, string) {
	p := f.policy
	reason := fmt.Sprintf("DMARC policy of %s: %s", p.Domain, p.Requested)
	switch {
	case p.Requested == dmarc.None:
		return Accept, nil, ""
	case f.outcome.Result == dmarc.ResultTempError && p.Requested == dmarc.Reject && j.cfg.DMARC == Enforce:
		// It may be good, and it may be made so that nobody can tell.
		return Refuse, smtp.NewReply(451, [3]int{4, 7, 0}, "The DNS does not tell now whether "+p.Author+" has sent this, please try again later"),
			reason + ", and the DNS does not answer"
	case p.Requested == dmarc.Reject:
		return j.atMost(Refuse, smtp.NewReply(550, [3]int{5, 7, 1},
			"The message is refused as "+p.Domain+" asks: nothing proves that it is from "+p.Author+" (DMARC)"), reason)
	default:
		return j.atMost(Junk, nil, reason)
	}
}

// atMost softens an action to what is configured.
func (j *Judge) atMost(a Action, reply *smtp.Reply, reason string) (Action, *smtp.Reply, string) {
	switch {
	case j.cfg.DMARC == NoAction:
		return Accept, nil, ""
	case j.cfg.DMARC == JunkOnly && a == Refuse:
		return Junk, nil, reason
	}
	return a, reply, reason
}

// signed reports whether any signature passed.
func (f *findings) signed() bool {
	for _, s := range f.signatures {
		if s.Result == dkim.Pass {
			return true
		}
	}
	return false
}

// proven reports whether the author's domain, exactly, has signed the message
// or allowed its host to send it, or DMARC has passed.
func (f *findings) proven() bool {
	if f.author == "" {
		return false
	}
	if f.policy != nil && f.outcome.Result == dmarc.ResultPass || f.from.Result == spf.Pass && strings.EqualFold(f.from.Domain, f.author) {
		return true
	}
	for _, s := range f.signatures {
		if s.Result == dkim.Pass && s.Domain == f.author {
			return true
		}
	}
	return false
}

// isReport reports whether a message is one of the daily reports on mail (RFC
// 9990 3.5.2, RFC 8460 5.3) and its author's. Nobody is told of these, or two
// hosts would report each other's reports for ever.
func (f *findings) isReport() bool {
	const title = "Report Domain:"
	subject := strings.TrimSpace(f.header.Get("Subject"))
	return f.outcome.Result == dmarc.ResultPass && len(subject) > len(title) && strings.EqualFold(subject[:len(title)], title)
}

// observation is what a report tells the domain of a message.
func (f *findings) observation(a Action, enforcement Enforcement) dmarc.Observation {
	o := dmarc.Observation{
		Policy: *f.policy, IP: f.IP, Disposition: disposition(a),
		DKIM: f.outcome.DKIM, SPF: f.outcome.SPF,
		EnvelopeFrom: f.from.Domain, EnvelopeTo: f.To.Domain,
		SPFDomain: f.from.Domain, SPFResult: string(f.from.Result),
	}
	if f.From.IsNull() {
		o.EnvelopeFrom = ""
	}
	for _, s := range f.signatures {
		if s.Domain != "" && s.Selector != "" {
			o.Signatures = append(o.Signatures, dmarc.SignatureResult{Domain: s.Domain, Selector: s.Selector, Result: string(s.Result)})
		}
	}
	passed := f.outcome.Result == dmarc.ResultPass
	switch {
	case f.sealer != "":
		o.Override, o.Comment = "trusted_forwarder", "arc=pass as="+f.sealer
	case passed || f.policy.Requested == o.Disposition:
	case f.policy.Record.Testing:
		o.Override, o.Comment = "policy_test_mode", ""
	case enforcement != Enforce:
		o.Override, o.Comment = "local_policy", "policies are not enforced in full here"
	default:
		o.Override, o.Comment = "other", "the DNS did not answer"
	}
	return o
}

func disposition(a Action) dmarc.Disposition {
	return [...]dmarc.Disposition{dmarc.None, dmarc.Quarantine, dmarc.Reject}[a]
}
