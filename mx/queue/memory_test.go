package queue

import (
	"io"
	"strings"

	"buzon/internal/durable"
)

// memoryFile is a file to read.
func memoryFile(s string) durable.File {
	return &readFile{ReaderAt: strings.NewReader(s), size: int64(len(s))}
}

type readFile struct {
	durable.File // what it does not have: nil
	io.ReaderAt
	size int64
}

func (f *readFile) ReadAt(p []byte, off int64) (int, error) { return f.ReaderAt.ReadAt(p, off) }

func (f *readFile) Stat() (durable.Info, error) { return durable.Info{Size: f.size}, nil }
