package imapd

import (
	"bytes"
	"io"
	"strconv"
	"time"

	"buzon/imapd/wire"
	"buzon/maildir"
)

// most is how many messages one APPEND may bring (RFC 3502).
const mostAppended = 1000

// append is APPEND (RFC 9051 6.3.12) with MULTIAPPEND (RFC 3502), LITERAL+ and literal8 (RFC 3516).
// Messages are staged as they arrive; all of them become visible at once, or none.
func (s *session) append(r *request) error {
	name := r.SP().Mailbox()
	if err := r.SP().Err(); err != nil {
		return err
	}
	box, _, have, err := s.openNamed(r, name)
	if err != nil {
		return tryCreate(err)
	}
	defer box.Close()
	var messages []maildir.Append
	stored := false
	defer func() {
		for _, m := range messages {
			if !stored {
				m.Staged.Discard()
			}
		}
	}()
	for {
		m, err := s.readAppend(r, box.User(), have.LockedFlags())
		if err != nil {
			return err
		}
		messages = append(messages, m)
		if !r.Is(' ') {
			break
		}
		if len(messages) == mostAppended {
			return no("LIMIT", "Too many messages at once")
		}
	}
	if err := r.End(); err != nil {
		return err
	}
	uids, err := box.Append(s.ctx, messages)
	if err != nil {
		return err
	}
	stored = true
	r.code = appendUID(box, uids)
	return nil
}

// appendUID is the response code APPENDUID (RFC 9051 7.1).
func appendUID(box *maildir.Mailbox, uids []maildir.UID) string {
	b := []byte("APPENDUID ")
	b = strconv.AppendUint(b, uint64(box.State().UIDValidity()), 10)
	return string(wire.AppendList(append(b, ' '), uids))
}

// readAppend reads one message for a user's tree, with its date and those flags that are not locked.
func (s *session) readAppend(r *request, into *maildir.User, locked maildir.LockedFlags) (maildir.Append, error) {
	var m maildir.Append
	if r.Peek() == '(' {
		names := r.Flags()
		r.SP()
		fs, err := parseFlags(names)
		if err != nil {
			return m, err
		}
		m.Flags, m.Keywords = locked.Cut(fs.flags, fs.keywords)
	}
	if r.Peek() == '"' {
		m.InternalDate = r.DateTime()
		r.SP()
	}
	var err error
	switch c := r.Peek(); {
	case c == 'U' || c == 'u': // RFC 6855 4: UTF8 (~{n} …)
		if r.Word() != "UTF8" {
			r.Fail("expected a literal")
		}
		r.SP().Expect('(')
		m.Staged, err = s.stage(r, into)
		if err == nil && !r.Is(')') {
			r.Fail("expected )")
			m.Staged.Discard()
			err = r.Err()
		}
	case c == 'C' || c == 'c':
		m.Staged, err = s.catenate(r, into)
	default:
		m.Staged, err = s.stage(r, into)
	}
	if m.InternalDate.After(time.Now().Add(2 * time.Hour)) {
		m.InternalDate = time.Now() // a date in the future is a wrong clock
	}
	return m, err
}

// stage reads a message into the store's staging area. What is refused is refused before the client
// sends it, if it waits for that.
func (s *session) stage(r *request, into *maildir.User) (*maildir.Staged, error) {
	l := r.Literal()
	if err := r.Err(); err != nil {
		return nil, err
	}
	if l.Size > s.srv.cfg.MessageSize {
		return nil, no("TOOBIG", "The message is too big") // RFC 7889 4
	}
	if l.Size == 0 {
		return nil, no("", "The message is empty") // RFC 3502 3: how a client gives up
	}
	if err := l.Accept(); err != nil {
		return nil, err
	}
	var content io.Reader = l
	if !l.Binary {
		content = noNUL{l}
	}
	return into.Stage(s.ctx, content)
}

// noNUL refuses NUL, which only a literal8 may hold (RFC 9051 4.3, RFC 3516 4.4).
type noNUL struct{ r io.Reader }

func (n noNUL) Read(p []byte) (int, error) {
	k, err := n.r.Read(p)
	if bytes.IndexByte(p[:k], 0) >= 0 {
		return 0, bad("NUL in the message, which takes a literal8")
	}
	return k, err
}
