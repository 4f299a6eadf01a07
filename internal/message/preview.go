package message

import "io"

// Preview returns at most max characters of the text that a person reads first in
// the message (RFC 8970): white space collapsed, HTML reduced to its text, quoted
// lines left out where there are others. p is r's tree.
func Preview(r io.ReaderAt, p *Part, max int) (string, error) { panic("todo") }
