package durable

import "testing"

func TestSpaceRoom(t *testing.T) {
	const mb, gb = 1 << 20, 1 << 30
	for _, tt := range []struct {
		total, free, inodes, size int64
		want                      bool
	}{
		{10 * gb, 500 * mb, 1e6, 0, true},
		{10 * gb, 99 * mb, 1e6, 0, false},
		{10 * gb, 240 * mb, 1e6, 100 * mb, false}, // half as much again as its size
		{10 * gb, 260 * mb, 1e6, 100 * mb, true},
		{50 * gb, 499 * mb, 1e6, 0, false},    // one per cent
		{1000 * gb, 1023 * mb, 1e6, 0, false}, // at most 1 GiB
		{1000 * gb, 1025 * mb, 1e6, 0, true},
		{20 * mb, 3 * mb, -1, 0, true}, // a tenth of a small disk
		{20 * mb, 1 * mb, -1, 0, false},
		{10 * gb, 500 * mb, 999, 0, false},
		{10 * gb, 500 * mb, -1, 0, true}, // btrfs counts no inodes
	} {
		s := Space{Total: tt.total, Free: tt.free, Inodes: tt.inodes}
		if got := s.Room(tt.size); got != tt.want {
			t.Errorf("%+v: Room(%d) = %v", s, tt.size, got)
		}
	}
}

func TestSpaceAt(t *testing.T) {
	s, err := SpaceAt(t.TempDir())
	if err != nil || s.Total <= 0 || s.Free <= 0 || s.Free > s.Total {
		t.Errorf("SpaceAt: %+v, %v", s, err)
	}
	if _, err := SpaceAt("/no/such/place"); err == nil {
		t.Error("SpaceAt a place that is not there: no error")
	}
}
