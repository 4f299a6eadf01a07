package crashfs

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"buzon/internal/durable"
)

// What survives a power cut, as it was seen on ext4, xfs and btrfs.
func TestPowerCut(t *testing.T) {
	write := func(t *testing.T, d durable.Dir, name string, sync bool) {
		t.Helper()
		f, err := d.Create(name, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Write([]byte("text"))
		if sync && err == nil {
			err = f.Sync()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name string
		do   func(tmp, cur durable.Dir)
		want []string
		size int64 // of the first
	}{
		{"write, rename", func(tmp, cur durable.Dir) {
			write(t, tmp, "m", false)
			check(tmp.Rename("m", cur, "m"))
		}, nil, 0},
		{"write, rename, fsync of the directory", func(tmp, cur durable.Dir) {
			write(t, tmp, "m", false)
			check(tmp.Rename("m", cur, "m"))
			check(cur.Sync())
		}, []string{"/cur/m"}, 0},
		{"write, fsync, rename, fsync of the directory", func(tmp, cur durable.Dir) {
			write(t, tmp, "m", true)
			check(tmp.Rename("m", cur, "m"))
			check(cur.Sync())
		}, []string{"/cur/m"}, 4},
		{"rename, fsync of the target alone", func(tmp, cur durable.Dir) {
			write(t, tmp, "m", true)
			check(tmp.Sync())
			check(tmp.Rename("m", cur, "m"))
			check(cur.Sync())
		}, []string{"/cur/m", "/tmp/m"}, 4},
		{"rename, fsync of the source alone", func(tmp, cur durable.Dir) {
			write(t, tmp, "m", true)
			check(tmp.Sync())
			check(tmp.Rename("m", cur, "m"))
			check(tmp.Sync())
		}, nil, 0},
		{"unlink without fsync", func(tmp, cur durable.Dir) {
			write(t, cur, "m", true)
			check(cur.Sync())
			check(cur.Remove("m"))
		}, []string{"/cur/m"}, 4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := New(time.Unix(1, 0))
			root := f.Root()
			check(root.Mkdir("tmp", 0o700))
			check(root.Mkdir("cur", 0o700))
			check(root.Sync())
			tmp, _ := root.OpenDir("tmp")
			cur, _ := root.OpenDir("cur")
			tt.do(tmp, cur)
			f = f.Restart(Nothing, rand.New(rand.NewPCG(1, 1)))
			if got := f.Tree(); !slices.Equal(got, tt.want) {
				t.Fatalf("after the cut %q, want %q", got, tt.want)
			}
			if len(tt.want) > 0 {
				cur, _ := f.Root().OpenDir("cur")
				if in, err := cur.Stat("m"); err != nil || in.Size != tt.size {
					t.Errorf("size %d, %v; want %d", in.Size, err, tt.size)
				}
			}
		})
	}
}
