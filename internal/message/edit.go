package message

import "io"

// HeaderEdit says what Edit changes.
type HeaderEdit struct {
	Prepend []byte   // whole fields with CRLF, put on top
	Remove  []string // names of fields to leave out, in any case
	Append  []byte   // whole fields with CRLF, put under the last field
}

// Edit returns the message r with its header changed and every other byte as it
// was. It streams: no field and no body is held in memory.
func Edit(r io.Reader, e HeaderEdit) io.Reader { panic("todo") }
