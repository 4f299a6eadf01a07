package imapd

import (
	"context"
	"errors"
	"fmt"

	"buzon/imapd/wire"
	"buzon/maildir"
)

// A noError is a command's failure as the client is told it: NO with a response code of RFC 5530 or
// of the extension at hand.
type noError struct {
	code string // without brackets; may be empty
	text string
}

func (e *noError) Error() string { return e.text }

func no(code, text string) error { return &noError{code, text} }

// A badError says that the client broke the rules: BAD.
type badError struct {
	code string
	text string
}

func (e *badError) Error() string { return e.text }

func bad(text string) error { return &badError{text: text} }

// errBye ends the session after a BYE that was already written.
var errBye = errors.New("session ended by the server")

// errAnswered: the command has written its own tagged response.
var errAnswered = errors.New("answered")

// fatal says whether err means the end of the connection rather than an answer.
func fatal(err error) bool {
	var stream *wire.StreamError
	return errors.Is(err, errBye) || errors.Is(err, wire.ErrDesync) || errors.As(err, &stream)
}

// answerTo turns any error into the answer that the client gets. Errors that are nobody's decision
// come back with known false: they must be logged, and the client learns nothing of them.
func answerTo(err error) (status, code, text string, known bool) {
	var (
		n      *noError
		b      *badError
		syntax *wire.SyntaxError
		big    *wire.TooBigError
	)
	switch {
	case errors.As(err, &n):
		return "NO", n.code, n.text, true
	case errors.As(err, &b):
		return "BAD", b.code, b.text, true
	case errors.As(err, &syntax):
		return "BAD", "", "Syntax error: " + syntax.Msg, true
	case errors.As(err, &big):
		return "BAD", "TOOBIG", "The " + big.Error(), true
	case errors.Is(err, context.Canceled):
		return "NO", "UNAVAILABLE", "The server is stopping", true
	}
	for _, a := range storeAnswers {
		if errors.Is(err, a.err) {
			return "NO", a.code, a.text, a.known
		}
	}
	return "NO", "SERVERBUG", "Internal error, the server's log has more", false
}

// expungedText has the words by which imaptest knows that FETCH and STORE were only late.
const expungedText = "Some of the messages have been deleted and no longer exist"

// storeAnswers says what the store's errors mean to a client (RFC 5530).
var storeAnswers = []struct {
	err        error
	code, text string
	known      bool
}{
	{maildir.ErrNotFound, "NONEXISTENT", "No such mailbox", true},
	{maildir.ErrExists, "ALREADYEXISTS", "The mailbox exists already", true},
	{maildir.ErrBadName, "CANNOT", "The mailbox name cannot be used", true},
	{maildir.ErrInbox, "CANNOT", "Not possible with INBOX", true},
	{maildir.ErrExpunged, "EXPUNGEISSUED", expungedText, true},
	{maildir.ErrLongInfo, "LIMIT", "Some of the messages cannot have other flags: the names of their files would be too long", true},
	{maildir.ErrUnreadable, "CONTACTADMIN", "Some of the messages cannot be read, the server's log has more", false},
	{maildir.ErrQuota, "OVERQUOTA", "Quota exceeded", true},
	{maildir.ErrLimit, "LIMIT", "A limit is reached", true},
	{maildir.ErrFull, "UNAVAILABLE", "No space left on the server", false},
	{maildir.ErrReadOnly, "UNAVAILABLE", "The server's file system is read-only", false},
	{maildir.ErrForeignOwner, "CONTACTADMIN", "The directory of this mail belongs to another user than the server's: its administrator has to change the owner", false},
	{maildir.ErrNoAccess, "CONTACTADMIN", "The server may not enter, read or write the directory of this mailbox: its administrator has to look at owner and mode", false},
	{maildir.ErrClosed, "UNAVAILABLE", "The server is stopping", true},
}

// tryCreate marks a missing destination mailbox (RFC 9051 6.3.12, 6.4.7).
func tryCreate(err error) error {
	if errors.Is(err, maildir.ErrNotFound) {
		return fmt.Errorf("%w: %w", no("TRYCREATE", "No such mailbox"), err)
	}
	return err
}
