package message

// Authors returns every address that a mail reader could show as the author of a
// message: those of From and Sender (RFC 5322 3.6.2) and of their Resent
// forms. It is for submission, where the sender must own them all, so it is strict where
// the rest of the package is tolerant: anything that two readers could understand
// differently is an *AuthorError.
func Authors(h *Header) ([]Address, error) { panic("todo") }

// AuthorError says why the author of a message cannot be told beyond doubt. Its text
// may be shown to the client.
type AuthorError struct{ Reason string }

func (e *AuthorError) Error() string { return e.Reason }
