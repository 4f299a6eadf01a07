package imapd

import (
	"bytes"
	"errors"
	"io"

	"buzon/imapd/wire"
	"buzon/maildir"
)

// catenate reads CATENATE (URL "…" TEXT {n} …), RFC 4469: a message put together from parts of
// others and new text. The store reads the parts one after the other while they are decoded, so
// that no message is held in memory.
func (s *session) catenate(r *request, into *maildir.User) (*maildir.Staged, error) {
	if r.Word() != "CATENATE" {
		r.Fail("expected CATENATE or a literal")
	}
	r.SP().Expect('(')
	if err := r.Err(); err != nil {
		return nil, err
	}
	c := &catenation{s: s, r: r, left: s.srv.cfg.MessageSize}
	staged, err := into.Stage(s.ctx, c)
	c.closePart()
	if c.err != nil { // what the store makes of it is less to the point
		if err == nil {
			staged.Discard()
		}
		return nil, c.err
	}
	return staged, err
}

// A catenation is read like the message that it describes.
type catenation struct {
	s       *session
	r       *request
	part    io.Reader
	close   func()
	started bool
	left    int64 // of the size that a message may have
	err     error
	done    bool
}

func (c *catenation) Read(p []byte) (int, error) {
	for c.err == nil {
		if c.part == nil {
			if c.done {
				return 0, io.EOF
			}
			c.next()
			continue
		}
		n, err := c.part.Read(p)
		if c.left -= int64(n); c.left < 0 {
			c.err = no("TOOBIG", "The message is too big")
			break
		}
		if err == io.EOF {
			c.closePart()
			err = nil
		}
		if err != nil {
			c.err = err
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, c.err
}

func (c *catenation) closePart() {
	if c.close != nil {
		c.close()
	}
	c.part, c.close = nil, nil
}

// next begins the next part, or finds the end.
func (c *catenation) next() {
	r := c.r
	if c.started {
		if r.Is(')') {
			c.done = true
			return
		}
		r.SP()
	}
	c.started = true
	if !r.Item() {
		c.err = r.Err()
		return
	}
	switch r.Word() {
	case "TEXT":
		r.SP()
		l := r.Literal()
		if c.err = r.Err(); c.err != nil {
			return
		}
		if l.Size > c.left {
			c.err = no("TOOBIG", "The message is too big")
			return
		}
		if c.err = l.Accept(); c.err != nil {
			return
		}
		c.part = io.Reader(l)
		if !l.Binary {
			c.part = noNUL{l}
		}
	case "URL":
		text := r.SP().AString()
		if c.err = r.Err(); c.err == nil {
			c.openURL(text)
		}
	default:
		r.Fail("expected TEXT or URL")
		c.err = r.Err()
	}
}

// openURL begins a part that is there already.
func (c *catenation) openURL(text string) {
	u, err := parseMessageURL(text)
	v := c.s.self()
	if isAuthorizedURL(text) { // RFC 4467 1: of anybody's message
		u, v, err = c.s.verifyURL(text)
	}
	if err == nil {
		c.part, _, c.close, err = c.s.openURL(v, u)
	}
	switch {
	case err == nil:
	case errors.Is(err, errURL), isGone(err), errors.Is(err, maildir.ErrNotFound), errors.Is(err, maildir.ErrBadName), errors.Is(err, errNoPermission):
		// RFC 4469 4
		c.err = no("BADURL "+string(wire.AppendString(nil, printable(text), false)), "The URL leads to no part of a message")
	default:
		c.err = err
	}
}

// printable keeps a text fit for a response code.
func printable(s string) string {
	return string(bytes.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f {
			return '?'
		}
		return r
	}, []byte(s[:min(len(s), 900)])))
}

// openURL opens what the URL leads to for an account; the caller calls the function that comes with
// it.
func (s *session) openURL(v viewer, u messageURL) (io.Reader, piece, func(), error) {
	sec, err := u.parseSection()
	if err != nil {
		return nil, piece{}, nil, err
	}
	box, _, _, err := s.openMailboxAs(v, u.mailbox, mayRead)
	if err != nil {
		return nil, piece{}, nil, err
	}
	if u.uidValidity != 0 && u.uidValidity != box.State().UIDValidity() {
		box.Close()
		return nil, piece{}, nil, errURL
	}
	c := &content{s: s, box: box}
	release := func() {
		c.close()
		box.Close()
	}
	c.at(maildir.UID(u.uid))
	p, err := c.resolve(&sec)
	if err == nil && p.none {
		err = errURL
	}
	var r io.Reader
	if err == nil {
		r, err = c.pieceReader(&sec, p)
	}
	if err != nil {
		release()
		return nil, piece{}, nil, err
	}
	return r, p, release, nil
}
