package message

import "io"

// DecodeHeader turns the encoded words (RFC 2047) of an unfolded header value into
// UTF-8. Broken ones, and those of an unknown charset, stay as they are; raw 8-bit
// bytes that are not UTF-8 are read as Windows-1252. It never fails.
func DecodeHeader(s string) string { panic("todo") }

// DecodeText returns the body r of a part in UTF-8, as SEARCH needs it: the
// transfer encoding undone (tolerantly: what cannot be decoded is skipped) and the
// charset converted. Unknown encodings and charsets pass through. The result is
// valid UTF-8.
func DecodeText(r io.Reader, encoding, charset string) io.Reader { panic("todo") }

// DecodeTransfer undoes only the transfer encoding. exact is false for an encoding
// that is not known (RFC 3516: UNKNOWN-CTE); then r itself is returned. The reader
// fails with ErrBadEncoding at damage that a strict decoder must not skip.
func DecodeTransfer(r io.Reader, encoding string) (decoded io.Reader, known bool) { panic("todo") }
