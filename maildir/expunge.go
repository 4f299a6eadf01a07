package maildir

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"buzon/internal/durable"
)

// Expunge removes exactly these messages, whatever their flags, and returns the
// UIDs of those that it removed, ascending. It is durable when it returns.
func (m *Mailbox) Expunge(ctx context.Context, uids []UID) ([]UID, error) {
	if err := m.lock.lock(ctx); err != nil {
		return nil, err
	}
	defer m.lock.unlock()
	if err := m.checkFolder(); err != nil {
		return nil, m.fail("expunge", err)
	}
	s := m.State()
	rows, _ := s.sortedRows(uids)
	if len(rows) == 0 {
		return nil, nil
	}
	files, err := m.remover()
	if err != nil {
		return nil, m.fail("expunge", err)
	}
	defer files.close()
	var gone []UID
	var inNew, inCur bool
	for _, i := range rows {
		uid := s.uids[i]
		e := m.onFileLocked(ctx, s, i, func(dir durable.Dir, name string) error {
			inNew, inCur = inNew || dir == m.dir.new, inCur || dir == m.dir.cur
			m.keep(s, i, dir, name)
			return files.remove(dir, name)
		})
		if errors.Is(e, errUnsteady) {
			err = e // of this message alone
			continue
		}
		if e != nil && !errors.Is(e, ErrExpunged) {
			err = e
			break
		}
		gone = append(gone, uid)
	}
	if e := errors.Join(files.sync(), m.syncDirs(inNew, inCur)); err == nil {
		err = e
	}
	m.publishGone(gone)
	m.keepUntil(m.State())
	if err != nil {
		return gone, m.fail("expunge", err)
	}
	return gone, nil
}

// publishGone takes messages out of the state.
func (m *Mailbox) publishGone(uids []UID) {
	d := m.draft()
	modseq := m.nextModSeq()
	rows, _ := d.sortedRows(uids)
	d.remove(rows, modseq)
	m.publish(d)
}

func isExist(err error) bool { return errors.Is(err, fs.ErrExist) }

func equalFold(a, b string) bool { return strings.EqualFold(a, b) }
