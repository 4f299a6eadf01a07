package dns

import (
	"errors"
	"fmt"
)

// The two answers that are final. RFC 2308 2.1, 2.2.
var (
	ErrNoSuchDomain = errors.New("no such domain")             // NXDOMAIN: the name does not exist
	ErrNoData       = errors.New("no record of the type")      // the name exists, records of this type do not
	ErrBadName      = errors.New("not a possible domain name") // nothing was asked: no zone can hold the name
)

// Error says which question had no usable answer. Whatever is not final is
// temporary: SERVFAIL, REFUSED, a time-out or a malformed answer says nothing
// about the domain, and must never become a bounce.
type Error struct {
	Name string // the name asked for, without the final dot
	Type string // "MX", "A", …
	Err  error  // one of the sentinels above, or the temporary cause
}

func (e *Error) Error() string { return fmt.Sprintf("dns %s %s: %v", e.Type, e.Name, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// Temporary reports that the same question may have an answer later.
func (e *Error) Temporary() bool { return !final(e.Err) }

// NotFound reports that the name or its records do not exist for certain.
func (e *Error) NotFound() bool { return final(e.Err) }

func final(err error) bool {
	return errors.Is(err, ErrNoSuchDomain) || errors.Is(err, ErrNoData) || errors.Is(err, ErrBadName)
}

// NotFound reports that err is a final answer: the domain does not exist, has
// no such record, or its name is impossible. False for nil and for trouble.
func NotFound(err error) bool { return err != nil && final(err) }
