package durable

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A directory is read whole, whatever its names are and wherever the kernel ends a
// record.
func TestScanLargeDirectory(t *testing.T) {
	path := t.TempDir()
	want := map[string]bool{}
	for i := range 4000 { // more than scanBuffer holds
		name := fmt.Sprintf("%d.%s", i, strings.Repeat("x", i%100))
		if err := os.WriteFile(filepath.Join(path, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		want[name] = true
	}
	dir, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	err = dir.Scan(func(e Entry) error {
		if !want[string(e.Name)] || e.Ino == 0 || !e.Type.IsRegular() {
			t.Errorf("entry %q, inode %d, type %v", e.Name, e.Ino, e.Type)
		}
		delete(want, string(e.Name))
		return nil
	})
	if err != nil || len(want) > 0 {
		t.Errorf("%d names were not read, %v", len(want), err)
	}
}

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
