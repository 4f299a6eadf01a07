package message

import "io"

// Fold maps s to the form in which i;unicode-casemap compares (RFC 5051):
// title-cased and decomposed.
func Fold(s string) string { panic("todo") }

// Contains reports whether the UTF-8 text r holds needle under i;unicode-casemap.
// It reads no further than the first match.
func Contains(r io.Reader, needle string) (bool, error) { panic("todo") }
