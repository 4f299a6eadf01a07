package maildir

import "context"

type index struct{}

type intentKind byte

const (
	intentAppend intentKind = iota
	intentCopy
	intentMove
)

func (x *index) record(d *draft) {}

func (m *Mailbox) openIndex()                                     {}
func (m *Mailbox) closeIndex()                                    {}
func (m *Mailbox) recover(ctx context.Context) error              { return nil }
func (m *Mailbox) dirty(flags bool)                               {}
func (m *Mailbox) Commit(ctx context.Context, s *State) error     { return nil }
func (m *Mailbox) VanishedSince(modseq ModSeq) ([]UIDRange, bool) { return nil, false }
func (in *incoming) intend() (func(*draft), error)                { return func(*draft) {}, nil }
func (in *incoming) intendMove(mv *mover) (func(*draft), error)   { return func(*draft) {}, nil }
func (m *Mailbox) intendExpunge(s *State, rows []int) (func(*draft), error) {
	return func(*draft) {}, nil
}
