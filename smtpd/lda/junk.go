package lda

import (
	"context"
	"fmt"
	"io"

	"buzon/internal/account"
	"buzon/internal/sieve"
)

// A Classifier knows what each account calls junk. It must be safe for concurrent
// use.
type Classifier interface {
	// Classify says what the account's own mail makes of a message.
	Classify(id account.ID, content io.ReaderAt, size int64) (Opinion, error)
	// Filed is called before a message is delivered into the account's mailbox
	// for junk: that it lies there is nothing the user has done.
	Filed(id account.ID, content io.ReaderAt, size int64) error
}

// Opinion is what a Classifier says.
type Opinion struct {
	Known   bool // false: it says nothing
	Percent int  // how much like junk, from 0 to 100
	Junk    bool // enough for the mailbox for junk
}

// classify asks the account's own classifier, unless somebody better informed has
// spoken, and notes on top of the copy what it says. It can only fail to know.
func (d *Delivery) classify(c *copyOf) {
	m, l := d.message, d.local
	c.spam, c.junk = m.Spam, m.Junk
	if l.cfg.Classifier == nil || !m.Stranger || m.Spam.Tested {
		return
	}
	id := c.to.Target.Account
	o, err := l.cfg.Classifier.Classify(id, c.content, c.content.size())
	if err != nil {
		l.cfg.Log.Warn("message is not classified", "id", m.ID, "user", string(id), "err", err)
		return
	}
	if !o.Known {
		return
	}
	c.spam = sieve.Spam{Tested: true, Percent: o.Percent}
	c.junk = c.junk || o.Junk
	c.score = fmt.Sprint(o.Percent)
	c.content.top = append(envelopeFields(m.From, c.to), fmt.Sprintf("X-Junk-Score: %d\r\n", o.Percent)...)
	c.content.top = append(c.content.top, m.Trace...)
}

// filed tells the classifier of a copy that goes to the mailbox for junk.
func (d *Delivery) filed(ctx context.Context, c *copyOf, f *filed, mailbox string) {
	l := d.local
	if l.cfg.Classifier == nil || mailbox == "INBOX" || mailbox != junkMailbox(ctx, c.user) {
		return
	}
	content, err := c.content.withHeader(f.Header)
	if err == nil {
		err = l.cfg.Classifier.Filed(c.to.Target.Account, content, content.size())
	}
	if err != nil {
		l.cfg.Log.Warn("junk that was filed may count as a lesson", "id", d.message.ID, "user", c.user.ID(), "err", err)
	}
}
