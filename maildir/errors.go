package maildir

import "errors"

// The answers that a caller branches on. They come wrapped in their context.
var (
	ErrNotFound     = errors.New("no such mailbox")
	ErrExists       = errors.New("mailbox already exists")
	ErrBadName      = errors.New("mailbox name cannot be used")
	ErrInbox        = errors.New("not allowed for INBOX")
	ErrNoSelect     = errors.New("not a mailbox, only a name above others")
	ErrExpunged     = errors.New("message has been expunged")
	ErrLongInfo     = errors.New("file name has no room for other flags")
	ErrUnreadable   = errors.New("message cannot be read") // its file is of another owner, or the disk is bad
	ErrQuota        = errors.New("quota exceeded")
	ErrFull         = errors.New("file system is full")
	ErrLimit        = errors.New("limit reached")
	ErrReadOnly     = errors.New("file system is read-only")
	ErrForeignOwner = errors.New("directory belongs to another user")
	ErrNoAccess     = errors.New("directory may not be entered, read or written to") // as its mode or owner says
	ErrClosed       = errors.New("store is closed")
)
