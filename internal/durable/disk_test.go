package durable

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What is made in a directory gets its group.
func TestGroupOfTheDirectory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a directory to any group")
	}
	const group = 12345
	path := t.TempDir()
	if err := os.Chown(path, -1, group); err != nil {
		t.Fatal(err)
	}
	dir, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	f, err := dir.Create("file", 0o640)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := dir.Mkdir("directory", 0o750); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"file", "directory"} {
		fi, err := os.Stat(filepath.Join(path, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := fi.Sys().(*syscall.Stat_t).Gid; got != group {
			t.Errorf("%s has the group %d, want %d", name, got, group)
		}
	}
}
