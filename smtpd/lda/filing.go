package lda

import (
	"context"
	"errors"
	"strings"

	"buzon/internal/sieve"
	"buzon/maildir"
)

// filed is a copy in one mailbox.
type filed struct {
	sieve.Filing
	staged *maildir.Staged
}

// put delivers one copy: to the mailbox that the filter names, else to INBOX,
// or to the mailbox for junk. A detail after the user's name changes nothing:
// sorting is the user's rules' business, not the sender's.
func (d *Delivery) put(ctx context.Context, c *copyOf, f *filed) (into string, err error) {
	mailbox := f.Mailbox
	if mailbox == "" && c.junk {
		mailbox = junkMailbox(ctx, c.user)
	} else if mailbox == "" {
		mailbox = "INBOX"
	}
	if f.Create {
		if err := c.user.Create(ctx, mailbox, ""); err == nil {
			err = c.user.Subscribe(ctx, mailbox)
			if err != nil {
				d.local.cfg.Log.Warn("cannot subscribe", "user", c.user.ID(), "mailbox", mailbox, "err", err)
			}
		} else if !errors.Is(err, maildir.ErrExists) {
			d.local.cfg.Log.Warn("filter cannot make a mailbox", "user", c.user.ID(), "mailbox", mailbox, "err", err)
		}
	}
	d.filed(ctx, c, f, mailbox)
	flags, keywords := sortFlags(f.Flags)
	if len(keywords) > 0 {
		err := c.append(ctx, mailbox, f, flags, keywords)
		if err == nil {
			f.staged = nil
			return mailbox, nil
		}
		d.local.cfg.Log.Warn("filter cannot set keywords", "user", c.user.ID(), "mailbox", mailbox, "err", err)
	}
	into, err = c.user.Deliver(ctx, f.staged, mailbox, flags)
	if err == nil {
		f.staged = nil
	}
	return into, err
}

// sortFlags tells the flags that have a letter of their own from keywords.
func sortFlags(names []string) (flags maildir.Flags, keywords []string) {
	known := map[string]maildir.Flags{
		`\seen`: maildir.FlagSeen, `\answered`: maildir.FlagAnswered, `\flagged`: maildir.FlagFlagged,
		`\deleted`: maildir.FlagDeleted, `\draft`: maildir.FlagDraft, strings.ToLower(maildir.Forwarded): maildir.FlagForwarded,
	}
	for _, name := range names {
		if f, ok := known[strings.ToLower(name)]; ok {
			flags |= f
		} else {
			keywords = append(keywords, name)
		}
	}
	return flags, keywords
}

// append files with keywords, which need letters of the mailbox.
func (c *copyOf) append(ctx context.Context, mailbox string, f *filed, flags maildir.Flags, keywords []string) error {
	m, err := c.user.Open(ctx, mailbox)
	if err != nil {
		return err
	}
	defer m.Close()
	_, err = m.Append(ctx, []maildir.Append{{Staged: f.staged, Flags: flags, Keywords: keywords}})
	return err
}

// junkMailbox is where a user keeps junk (RFC 6154 \Junk). The store delivers
// to INBOX where there is no such mailbox.
func junkMailbox(ctx context.Context, u *maildir.User) string {
	list, err := u.Mailboxes(ctx)
	if err != nil {
		return "INBOX"
	}
	for _, m := range list {
		if m.SpecialUse == `\Junk` {
			return m.Name
		}
	}
	return "Junk"
}
