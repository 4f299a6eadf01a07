package queue

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"

	"buzon/internal/durable"
)

// spool is the directory on disk. An entry is known by its id. Until its first
// attempt has ended it is a record in journal/; afterwards, and where it is too large
// for that, it is files with the id as their name in up to three directories:
//
//	message/ID  the envelope, the message and a closing line; never changed
//	state/ID    how far it has come; replaced as a whole
//	active/ID   empty: an attempt is under way
//
// tmp/ has files that are being written, corrupt/ what was put aside.
// An entry exists if and only if its message file or its record does.
type spool struct {
	root, tmp, message, state, active, corrupt, records folder

	log     *slog.Logger
	journal *journal
	synced  groupSync // of message/
	later   laterSync // of the same
}

// folder is a directory that knows its name in the spool.
type folder struct {
	durable.Dir
	name string
}

// filePerm: mail is for the server's user alone.
const (
	filePerm fs.FileMode = 0o600
	dirPerm  fs.FileMode = 0o700
)

// openSpool opens the directories under root and makes those that are missing.
func openSpool(root durable.Dir, segment int64, log *slog.Logger) (s *spool, err error) {
	s = &spool{root: folder{Dir: root}, log: log}
	s.tmp.name, s.message.name, s.state.name, s.active.name, s.corrupt.name = "tmp", "message", "state", "active", "corrupt"
	s.records.name = "journal"
	for _, f := range s.folders() {
		if err := root.Mkdir(f.name, dirPerm); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		if f.Dir, err = root.OpenDir(f.name); err != nil {
			return nil, err
		}
	}
	s.journal = newJournal(s.records, s.tmp, segment, log)
	s.synced.sync = s.message.Sync
	s.later.sync = func() {
		if err := s.synced.Sync(); err != nil {
			log.Error("after a power cut finished messages may be sent again", "err", err)
		}
	}
	return s, root.Sync()
}

// folders are the directories of a spool.
func (s *spool) folders() []*folder {
	return []*folder{&s.tmp, &s.message, &s.state, &s.active, &s.corrupt, &s.records}
}

func (s *spool) close() error {
	s.later.close()
	errs := []error{s.journal.close(), s.root.Close()}
	for _, f := range s.folders() {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// accept takes an entry over: into the journal, or where it is too long for that, or
// is to lie for a while, into a file. When it returns nil, the entry is durable.
func (s *spool) accept(ctx context.Context, id string, h head, msg io.Reader) (size int64, err error) {
	if h.Envelope.Held || !h.Envelope.NotBefore.IsZero() {
		return s.create(ctx, id, h, msg)
	}
	var text bytes.Buffer
	limit := s.journal.limit()
	text.Grow(int(min(limit, h.Envelope.Size+1<<10)))
	start := h.format()
	text.Write(start)
	if size, err = io.Copy(&text, io.LimitReader(msg, limit)); err != nil {
		return 0, err
	}
	fmt.Fprintf(&text, endFormat, size)
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	switch err := s.journal.add(id, text.Bytes()); {
	case errors.Is(err, errTooLong):
		return s.create(ctx, id, h, io.MultiReader(bytes.NewReader(text.Bytes()[len(start):][:size]), msg))
	default:
		return size, err
	}
}

// moveOut gives an entry of the journal a file of its own. It does nothing to others.
func (s *spool) moveOut(id string) error {
	r := s.journal.find(id)
	if r == nil {
		return nil
	}
	if r.letter == recordActive {
		if err := s.markFile(id); err != nil {
			return err
		}
	}
	if !s.exists(id) { // else it was moved, and what follows has failed
		text, err := r.text()
		if err != nil {
			return err
		}
		if err := durable.CreateFile(s.tmp, id, text, filePerm); err != nil {
			return err
		}
		if err := s.publish(id); err != nil {
			return err
		}
	}
	// Only now: where the record is not found, the file is.
	if err := s.journal.finish(id); err != nil {
		return err
	}
	return s.journal.syncOf(r.seg)
}

// create writes a message file: fsync → rename into message/ → fsync of
// message/. After an error nothing of it is left, or the next start removes it.
func (s *spool) create(ctx context.Context, id string, h head, msg io.Reader) (size int64, err error) {
	f, err := s.tmp.Create(id, filePerm)
	if err != nil {
		return 0, err
	}
	size, err = writeMessage(f, h, msg)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = s.tmp.Remove(id)
		return 0, err
	}
	return size, s.publish(id)
}

// publish makes a file of tmp/, whose contents are durable, one of message/.
func (s *spool) publish(id string) error {
	if err := s.tmp.Rename(id, s.message.Dir, id); err != nil {
		_ = s.tmp.Remove(id)
		return err
	}
	if err := s.synced.Sync(); err != nil {
		_ = s.message.Remove(id)
		return err
	}
	return nil
}

// A message file ends with a line that tells how long the message is: a file
// that lost its end or something from its middle shows it.
const (
	endFormat = "\nbuzon-end %020d\n"
	endLength = int64(len("\nbuzon-end 12345678901234567890\n"))
)

func writeMessage(f io.Writer, h head, msg io.Reader) (size int64, err error) {
	w := bufio.NewWriterSize(f, 64<<10)
	if _, err := w.Write(h.format()); err != nil {
		return 0, err
	}
	if size, err = io.Copy(w, msg); err != nil {
		return 0, err
	}
	if _, err := fmt.Fprintf(w, endFormat, size); err != nil {
		return 0, err
	}
	return size, w.Flush()
}

// letter is an open message.
type letter struct {
	head
	file io.Closer         // nil: it is in memory
	Body *io.SectionReader // the message as it was submitted
}

func (l *letter) Close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

// open opens an entry's message and checks that it is whole.
func (s *spool) open(id string) (*letter, error) {
	if r := s.journal.find(id); r != nil {
		text, err := r.text()
		if err != nil {
			return nil, err
		}
		return readLetter(bytes.NewReader(text), int64(len(text)))
	}
	f, err := s.message.Open(id)
	if err != nil {
		return nil, err
	}
	l, err := readLetterFile(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return l, nil
}

func readLetterFile(f durable.File) (*letter, error) {
	in, err := f.Stat()
	if err != nil {
		return nil, err
	}
	l, err := readLetter(f, in.Size)
	if err == nil {
		l.file = f
	}
	return l, err
}

// readLetter reads what writeMessage wrote.
func readLetter(f io.ReaderAt, length int64) (*letter, error) {
	text, err := readHeadText(f, length)
	if err != nil {
		return nil, err
	}
	h, err := parseHead(text)
	if err != nil {
		return nil, err
	}
	size := length - int64(len(text)) - endLength
	if size < 0 {
		return nil, damaged("cut off")
	}
	var end [endLength]byte
	if _, err := f.ReadAt(end[:], length-endLength); err != nil {
		return nil, err
	}
	if string(end[:]) != fmt.Sprintf(endFormat, size) {
		return nil, damaged("cut off, or something is missing")
	}
	return &letter{head: h, Body: io.NewSectionReader(f, int64(len(text)), size)}, nil
}

// readHeadText reads up to the first empty line and that line too.
func readHeadText(f io.ReaderAt, size int64) (string, error) {
	for n := int64(1 << 10); ; n *= 4 { // one read for nearly every message
		buf := make([]byte, min(n, size))
		if _, err := f.ReadAt(buf, 0); err != nil && err != io.EOF {
			return "", err
		}
		if head, _, ok := bytes.Cut(buf, []byte("\n\n")); ok {
			return string(buf[:len(head)+2]), nil
		}
		if n >= min(size, maxHead) {
			return "", damaged("no end of the envelope")
		}
	}
}

// exists reports whether an entry, or a notice, with this id has a file.
func (s *spool) exists(id string) bool {
	_, err := s.message.Stat(id)
	return err == nil
}

// readState returns the state of an entry with the given head.
func (s *spool) readState(id string, h head) (*state, error) {
	f, err := s.state.Open(id)
	if errors.Is(err, fs.ErrNotExist) {
		return newState(h), nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := scanState(f)
	if err != nil {
		return nil, err
	}
	if !st.matches(h) {
		return nil, damaged("recipients are not those of the envelope")
	}
	st.Queued, st.saved = h.Queued, true
	return st, nil
}

func scanState(f io.Reader) (*state, error) {
	text, err := io.ReadAll(io.LimitReader(f, maxHead+1))
	if err != nil {
		return nil, err
	}
	return parseState(string(text))
}

// writeState replaces the state of an entry, durably.
func (s *spool) writeState(id string, st *state) error {
	if err := s.moveOut(id); err != nil {
		return err
	}
	st.saved = true
	return durable.WriteFileIn(s.state, id, st.format(), filePerm)
}

// remove takes an entry out of the spool. The message goes first, for good: a
// state without a message is litter, a message without its state would be sent
// again. The state's own removal need not be durable. Where there is none, so
// that nothing comes after the message, its removal becomes durable a moment
// later, together with others.
func (s *spool) remove(id string, hasState bool) error {
	if r := s.journal.find(id); r != nil {
		if err := s.journal.finish(id); err != nil {
			return err
		}
		if hasState { // somebody is told that it is gone
			return s.journal.syncOf(r.seg)
		}
		s.journal.later.ask()
		return nil
	}
	if err := s.message.Remove(id); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !hasState {
		s.later.ask()
		return nil
	}
	if err := s.synced.Sync(); err != nil {
		s.log.Error("after a power cut a finished message may be sent again", "id", id, "err", err)
		return nil
	}
	if err := s.state.Remove(id); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// mark notes that an attempt begins. It is not fsynced: it is for the case that
// the process dies, and a mark lost with the power costs one early attempt.
func (s *spool) mark(id string) error {
	if active, err := s.journal.mark(id); active || err != nil {
		return err
	}
	return s.markFile(id)
}

func (s *spool) markFile(id string) error {
	f, err := s.active.Create(id, filePerm)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

func (s *spool) unmark(id string) {
	if err := s.active.Remove(id); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("attempt mark stays", "id", id, "err", err)
	}
}

// putAside moves what should not be in dir into corrupt/ and reports it. It
// opens nothing, so a FIFO or a device cannot hold it up.
func (s *spool) putAside(dir folder, name string, why error) {
	base := strings.TrimPrefix(dir.name+"."+name, ".")
	to := base
	for n := 2; ; n++ {
		err := dir.Rename(name, s.corrupt.Dir, to)
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err == nil {
			err = errors.Join(s.corrupt.Sync(), dir.Sync())
		}
		if !errors.Is(err, fs.ErrExist) || n > 1000 {
			s.log.Error("damaged entry put aside", "id", name, "file", "corrupt/"+to, "err", errors.Join(why, err))
			return
		}
		to = fmt.Sprintf("%s.%d", base, n)
	}
}

// keepAside puts a part of the journal aside. It must be blanked then, or it is found
// again.
func (s *spool) keepAside(name string, text []byte, why error) error {
	if err := durable.CreateFile(s.tmp, name, text, filePerm); err != nil {
		return err
	}
	s.putAside(folder{s.tmp.Dir, s.records.name}, name, why)
	return nil
}

// putEntryAside puts everything aside that belongs to the entry.
func (s *spool) putEntryAside(id string, why error) {
	if r := s.journal.find(id); r != nil {
		text, err := r.raw()
		if err == nil {
			err = s.keepAside(id, text, why)
		}
		if err == nil {
			err = errors.Join(s.journal.erase(id), s.journal.syncOf(r.seg))
		}
		if err != nil {
			s.log.Error("damaged entry stays in the journal", "id", id, "err", errors.Join(why, err))
		}
		return
	}
	s.putAside(s.message, id, why)
	s.putAside(s.state, id, why)
	s.unmark(id)
}

// names returns the names in dir that keep accepts; the rest is put aside.
// Hidden temporary files of an interrupted replacement are removed.
func (s *spool) names(dir folder, keep func(name string) bool) ([]string, error) {
	var good, foreign, litter []string
	err := dir.Scan(func(e durable.Entry) error {
		name := string(e.Name)
		regular := e.Type == 0
		if e.Type == fs.ModeIrregular { // the file system does not say
			in, err := dir.Stat(name)
			regular = err == nil && in.Mode.IsRegular()
		}
		switch {
		case regular && strings.HasPrefix(name, "."):
			litter = append(litter, name)
		case regular && keep(name):
			good = append(good, name)
		default:
			foreign = append(foreign, name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, name := range litter {
		if err := dir.Remove(name); err != nil {
			return nil, err
		}
	}
	for _, name := range foreign {
		s.putAside(dir, name, damaged("not a file of the queue's"))
	}
	return good, nil
}
