package durable

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// mapped makes a file of some pages and maps it.
func mapped(t *testing.T, m *Mapper) (path string, data []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "file")
	text := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	if err := os.WriteFile(path, append(text, "odd"...), 0o600); err != nil {
		t.Fatal(err)
	}
	dir, err := OpenDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	f, err := dir.Open("file")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, release, err := m.Map(f, len(text)+3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return path, data
}

// What is mapped stays what it was when others truncate the file or write to it,
// and so does what was written to the memory.
func TestMapperSurvivesTruncation(t *testing.T) {
	m := NewMapper()
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() { m.Run(ctx) })
	change := map[string]func(path string) error{
		"truncate": func(path string) error { return os.Truncate(path, 10) },
		"write":    func(path string) error { return os.WriteFile(path, []byte("other"), 0o600) },
		"remove":   os.Remove,
		"replace": func(path string) error {
			if err := os.WriteFile(path+".new", nil, 0o600); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		},
	}
	for name, do := range change {
		t.Run(name, func(t *testing.T) {
			path, data := mapped(t, m)
			data[5] = 'X'
			if err := do(path); err != nil {
				t.Fatal(err)
			}
			want := bytes.Repeat([]byte("0123456789abcdef"), 4096)
			want[5] = 'X'
			same := false
			if !Faultless(func() { same = bytes.Equal(data, append(want, "odd"...)) }) || !same {
				t.Error("the memory is not what it was")
			}
		})
	}
}

// A file that cannot be leased, as somebody has it open for writing, is read.
func TestMapperWithoutLease(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	w, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.WriteString("some text"); err != nil {
		t.Fatal(err)
	}
	dir, err := OpenDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	f, err := dir.Open("file")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m := NewMapper()
	data, release, err := m.Map(f, 9)
	if err != nil || string(data) != "some text" {
		t.Fatalf("%q, %v", data, err)
	}
	if err := w.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if string(data) != "some text" || len(m.leases) != 0 {
		t.Errorf("%q, %d leases", data, len(m.leases))
	}
	release()
	if _, _, err := m.Map(f, 9); err == nil {
		t.Error("a file that is too short was mapped")
	}
}

func TestFaultless(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 3*os.Getpagesize()), 0o600); err != nil {
		t.Fatal(err)
	}
	dir, err := OpenDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	f, err := dir.Open("file")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, unmap, err := f.Map(3 * os.Getpagesize())
	if err != nil {
		t.Fatal(err)
	}
	defer unmap()
	sum := 0
	read := func() {
		for _, b := range data {
			sum += int(b)
		}
	}
	if !Faultless(read) {
		t.Error("a whole file faults")
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if Faultless(read) {
		t.Error("a truncated file does not fault")
	}
	defer func() {
		if recover() == nil {
			t.Error("a panic of another kind was lost")
		}
	}()
	Faultless(func() { panic("bug") })
}
