package wire

import (
	"errors"
	"fmt"
)

// A SyntaxError says where a command leaves the grammar. Its text holds nothing that the client
// sent.
type SyntaxError struct{ Msg string }

func (e *SyntaxError) Error() string { return e.Msg }

// A TooBigError says that a limit on bytes or items was passed. The decoder is still in step with
// the client, unless the error is joined with ErrDesync.
type TooBigError struct {
	What  string // "literal", "command line", …
	Limit int64
}

func (e *TooBigError) Error() string {
	return fmt.Sprintf("%s is over the limit of %d", e.What, e.Limit)
}

// A StreamError says that the connection itself failed: nothing more can be read.
type StreamError struct{ Err error }

func (e *StreamError) Error() string { return e.Err.Error() }
func (e *StreamError) Unwrap() error { return e.Err }

// ErrDesync: what follows in the stream may be data or commands, nobody can tell. The connection
// must be closed.
var ErrDesync = errors.New("out of step with the client")
