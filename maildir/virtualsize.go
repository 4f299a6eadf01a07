package maildir

// VirtualSize is the size of all messages with CRLF line ends: the sum of Size, but nothing is read
// for it. Where another program has stored a message without saying its size it counts with twice its
// bytes, since no line feed can become more than two: RFC 8438 2 wants no less than the sum.
func (s *State) VirtualSize() (total int64) {
	for i := range s.uids {
		sl := s.slot(i)
		b, r := s.blocks[sl.block()], sl.row()
		if n := b.loadSize(r); n >= 0 {
			total += n
		} else {
			total += 2 * max(0, b.stored[r])
		}
	}
	return total
}
