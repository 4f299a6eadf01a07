package maildir

import (
	"context"
	"errors"
	"fmt"
)

// Quota is what a user has used, and may use; a limit of 0 is none.
type Quota struct{ Bytes, BytesLimit, Messages, MessagesLimit int64 }

// Over reports that more bytes and messages would exceed a limit.
func (q Quota) over(bytes, messages int64) bool {
	return q.BytesLimit > 0 && q.Bytes+bytes > q.BytesLimit || q.MessagesLimit > 0 && q.Messages+messages > q.MessagesLimit
}

// Quota adds up all mailboxes, up to date with what other programs removed.
func (u *User) Quota(ctx context.Context) (Quota, error) {
	q := u.limits()
	folders, err := u.folders()
	if err != nil {
		return q, fmt.Errorf("quota: %w", err)
	}
	names := []string{inbox}
	for _, f := range folders {
		names = append(names, f.name)
	}
	for _, name := range names {
		m, err := u.Open(ctx, name)
		if errors.Is(err, ErrNoAccess) {
			continue // nobody can use what is in there
		}
		if err != nil {
			return q, fmt.Errorf("quota: %w", err)
		}
		s := m.State()
		q.Bytes += s.Bytes()
		q.Messages += int64(s.Len())
		m.Close()
	}
	u.writeMaildirSize(q)
	return q, nil
}

// Limited reports that the user has a limit at all: without one there is no need
// to look at what is used.
func (u *User) Limited() bool {
	q := u.limits()
	return q.BytesLimit > 0 || q.MessagesLimit > 0
}

func (u *User) limits() (q Quota) {
	if limit := u.store.cfg.QuotaLimit; limit != nil {
		q.BytesLimit, q.MessagesLimit = limit(u.id)
	}
	return q
}

// checkQuota answers ErrQuota when a limit leaves no room for more.
func (u *User) checkQuota(ctx context.Context, bytes, messages int64) error {
	if !u.Limited() {
		return nil
	}
	q, err := u.Quota(ctx)
	if err == nil && q.over(bytes, messages) {
		err = ErrQuota
	}
	return err
}

// writeMaildirSize tells other programs of limits and use, in the Maildir++ file
// of that name. We never read it: it is only ever as right as its last writer.
func (u *User) writeMaildirSize(q Quota) {
	if q.BytesLimit == 0 && q.MessagesLimit == 0 {
		return
	}
	head := ""
	if q.BytesLimit > 0 {
		head = fmt.Sprintf("%dS", q.BytesLimit)
	}
	if q.MessagesLimit > 0 {
		if head != "" {
			head += ","
		}
		head += fmt.Sprintf("%dC", q.MessagesLimit)
	}
	text := fmt.Sprintf("%s\n%12d %12d\n", head, q.Bytes, q.Messages)
	u.subs.Lock()
	defer u.subs.Unlock()
	if text == u.maildirSize {
		return
	}
	// Not synced: who finds it missing counts for himself.
	name := u.store.namer.unique()
	f, err := u.root.Create("."+name, u.filePerm)
	if err != nil {
		return
	}
	_, err = f.Write([]byte(text))
	_ = f.Close()
	if err != nil || u.root.Replace("."+name, "maildirsize") != nil {
		_ = u.root.Remove("." + name)
		return
	}
	u.maildirSize = text
}
