package queue

import (
	"errors"
	"io/fs"
	"sync/atomic"
	"time"

	"buzon/internal/durable"
)

var errDead = errors.New("the process is dead")

// mortal counts the steps that change a disk and, after the last one that it is
// allowed, lets nothing through any more: as if the process had been killed
// there. The step that would be one too many is done by half where it can be.
type mortal struct {
	steps atomic.Int64
	last  int64 // 0: lives for ever
}

func (m *mortal) dead() bool { return m.last > 0 && m.steps.Load() > m.last }

// step reports whether the next step may be done.
func (m *mortal) step() error {
	if n := m.steps.Add(1); m.last > 0 && n > m.last {
		return errDead
	}
	return nil
}

// dir wraps d.
func (m *mortal) dir(d durable.Dir) durable.Dir { return &mortalDir{d, m} }

type mortalDir struct {
	durable.Dir
	m *mortal
}

func (d *mortalDir) Open(name string) (durable.File, error) {
	if d.m.dead() {
		return nil, errDead
	}
	return d.Dir.Open(name)
}

func (d *mortalDir) Create(name string, perm fs.FileMode) (durable.File, error) {
	if err := d.m.step(); err != nil {
		return nil, err
	}
	f, err := d.Dir.Create(name, perm)
	if err != nil {
		return nil, err
	}
	return &mortalFile{f, d.m}, nil
}

func (d *mortalDir) OpenDir(name string) (durable.Dir, error) {
	sub, err := d.Dir.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return d.m.dir(sub), nil
}

func (d *mortalDir) Mkdir(name string, perm fs.FileMode) error {
	if err := d.m.step(); err != nil {
		return err
	}
	return d.Dir.Mkdir(name, perm)
}

func (d *mortalDir) Rename(name string, to durable.Dir, newName string) error {
	if err := d.m.step(); err != nil {
		return err
	}
	return d.Dir.Rename(name, to.(*mortalDir).Dir, newName)
}

func (d *mortalDir) Replace(name, newName string) error {
	if err := d.m.step(); err != nil {
		return err
	}
	return d.Dir.Replace(name, newName)
}

func (d *mortalDir) Remove(name string) error {
	if err := d.m.step(); err != nil {
		return err
	}
	return d.Dir.Remove(name)
}

func (d *mortalDir) Scan(fn func(durable.Entry) error) error {
	if d.m.dead() {
		return errDead
	}
	return d.Dir.Scan(fn)
}

func (d *mortalDir) Sync() error {
	if err := d.m.step(); err != nil {
		return err
	}
	return d.Dir.Sync()
}

type mortalFile struct {
	durable.File
	m *mortal
}

func (f *mortalFile) Write(p []byte) (int, error) {
	err := f.m.step()
	if f.m.dead() && f.m.steps.Load() == f.m.last+1 {
		n, _ := f.File.Write(p[:len(p)/2])
		return n, err
	}
	if err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

func (f *mortalFile) Sync() error {
	if err := f.m.step(); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *mortalFile) SetTime(time.Time) error { panic("not used") }
