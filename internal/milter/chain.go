package milter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"buzon/internal/smtp"
)

// Chain is the filters of a port, in the order in which they are asked.
type Chain struct {
	host    Host
	filters []*Filter
}

// NewChain returns a Chain of filters, each of which sees a message as those
// before it have left it.
func NewChain(host Host, filters ...*Filter) *Chain {
	return &Chain{host, filters}
}

// Replies where a filter cannot be asked.
var (
	replyNoFilter     = smtp.NewReply(451, [3]int{4, 7, 1}, "A filter is not available, please try again later")
	replyNoFilterEver = smtp.NewReply(550, [3]int{5, 7, 1}, "A filter is not available, and mail is not accepted without it")
)

// Conversation is what the filters hear of one client and its messages. It
// belongs to the goroutine that serves the client.
//
// The error of its methods is the answer for the client: a bare smtp.Reply is
// a filter's decision, one with a cause comes of a filter that failed.
type Conversation struct {
	ctx    context.Context
	chain  *Chain
	client Client
	log    *slog.Logger

	talks     []*talk
	id        string // of the message under way
	discarded string // the filter that wants it forgotten, or ""
}

// talk is one filter's part in a Conversation.
type talk struct {
	*Filter
	session *session    // nil: not connected
	absent  bool        // it is not asked about this client any more
	refusal *smtp.Reply // why nothing is taken from the client
	within  bool        // it has seen MAIL and not the end of the message
}

// Begin returns a Conversation about a client. No filter is connected before
// the first message: most of who connects never sends one. An end of ctx ends
// the conversation, in the middle of a word.
func (c *Chain) Begin(ctx context.Context, log *slog.Logger, client Client) *Conversation {
	v := &Conversation{ctx: ctx, chain: c, client: client, log: log}
	for _, f := range c.filters {
		v.talks = append(v.talks, &talk{Filter: f})
	}
	return v
}

// Client is whom the conversation is about.
func (v *Conversation) Client() Client { return v.client }

// Close ends the conversation.
func (v *Conversation) Close() {
	for _, t := range v.talks {
		t.hangUp()
	}
}

// Mail begins a message.
func (v *Conversation) Mail(e Envelope) error {
	v.Abort()
	v.id, v.discarded = e.ID, ""
	return v.each("MAIL", func(t *talk) (opinion, *smtp.Reply, error) {
		if t.session == nil {
			if o, r, err := v.introduce(t); err != nil || o != goOn {
				return o, r, err
			}
		}
		t.within = true
		return t.session.mail(v.client, e)
	})
}

// introduce connects to a filter and tells it of the client.
func (v *Conversation) introduce(t *talk) (o opinion, r *smtp.Reply, err error) {
	if t.refusal != nil {
		return refuse, t.refusal, nil
	}
	if t.session, err = t.open(v.ctx); err != nil {
		return 0, nil, err
	}
	o, r, err = t.session.connect(v.chain.host, v.client)
	if err == nil && o == goOn {
		o, r, err = t.session.helo(v.client)
	}
	switch {
	case err != nil:
	case o == refuse:
		t.refusal = r
		t.hangUp()
	case o == accept:
		t.absent = true
		t.hangUp()
	case o != goOn:
		err = nonsense("a client cannot be discarded")
	}
	return o, r, err
}

// Rcpt tells of a recipient. A refusal is of the recipient alone.
func (v *Conversation) Rcpt(to smtp.Address) error {
	return v.each("RCPT", func(t *talk) (opinion, *smtp.Reply, error) {
		if !t.within {
			return goOn, nil, nil
		}
		o, r, err := t.session.rcpt(v.id, to)
		return o, r, err
	})
}

// each asks the filters in turn. A refusal or a failure that matters ends it.
func (v *Conversation) each(command string, ask func(*talk) (opinion, *smtp.Reply, error)) error {
	for _, t := range v.talks {
		if t.absent || v.discarded != "" {
			continue
		}
		o, r, err := ask(t)
		if err != nil {
			if err := v.failed(t, command, err); err != nil {
				return err
			}
			continue
		}
		switch o {
		case refuse:
			v.log.Info("filtered", "id", v.id, "by", t.cfg.Name, "verdict", "refuse", "command", command, "code", r.Code, "err", r)
			if command == "MAIL" {
				v.Abort()
			}
			return r
		case discard:
			v.discarded = t.cfg.Name
			v.Abort()
		case accept:
			t.abort()
		case skip:
			if err := v.failed(t, command, nonsense("nothing to skip")); err != nil {
				return err
			}
		}
	}
	return nil
}

// failed does what the policy for a failing filter is.
func (v *Conversation) failed(t *talk, command string, err error) error {
	t.within = false
	t.hangUp()
	if own, ok := errors.AsType[*ownTrouble](err); ok {
		return own.error
	}
	if v.ctx.Err() != nil {
		return fmt.Errorf("%w: %w", replyNoFilter, err)
	}
	err = fmt.Errorf("filter %s: %s: %w", t.cfg.Name, command, err)
	switch t.cfg.OnFailure {
	case AcceptOnFailure:
		v.log.Warn("filter failed, mail goes on without it", "id", v.id, "by", t.cfg.Name, "err", err)
		t.absent = true
		return nil
	case RejectOnFailure:
		return fmt.Errorf("%w: %w", replyNoFilterEver, err)
	}
	return fmt.Errorf("%w: %w", replyNoFilter, err)
}

// Abort tells the filters that the message under way is none.
func (v *Conversation) Abort() {
	for _, t := range v.talks {
		t.abort()
	}
}

// abort ends the message for a filter, which keeps the connection.
func (t *talk) abort() {
	if !t.within {
		return
	}
	t.within = false
	err := t.session.write(cmdAbort)
	if err == nil {
		err = t.session.flush()
	}
	if err != nil {
		t.hangUp() // the next message begins anew
	}
}

func (t *talk) hangUp() {
	if t.session != nil {
		t.session.quit()
		t.session, t.within = nil, false
	}
}
