package imapd

import (
	"fmt"
	"io"

	"github.com/klauspost/compress/flate"
)

// compress is COMPRESS DEFLATE (RFC 4978). What comes in is bounded after it is inflated: the
// decoder's limits count what it reads, and it reads no more than one buffer ahead.
func (s *session) compress(r *request) error {
	mechanism := r.SP().Word()
	if err := r.End(); err != nil {
		return err
	}
	if mechanism != "DEFLATE" {
		return bad("No such compression")
	}
	if s.stream.deflate != nil {
		return no("COMPRESSIONACTIVE", "Compression is active already")
	}
	if s.dec.Buffered() > 0 {
		return bad("Commands behind COMPRESS") // what they were compressed with is anybody's guess
	}
	s.tagged(r.tag, "OK", "", "Compression is on")
	if err := s.enc.Flush(); err != nil {
		return fmt.Errorf("%w: %w", errBye, err)
	}
	s.stream.startDeflate()
	s.dec.Reset(s.stream)
	return errAnswered
}

// A deflation is the compressed form of a stream.
type deflation struct {
	in  io.Reader
	out io.Writer
}

// startDeflate compresses what is written and inflates what is read from now on.
func (s *stream) startDeflate() {
	s.deflate = &deflation{
		in: newInflater(rawStream{s}),
		// Each buffer is compressed by itself and whole. That takes a little less off than a window
		// over all of them would, and an idle connection then holds no window.
		out: flate.NewStatelessWriter(rawStream{s}),
	}
}

// A rawStream is a stream without its compression.
type rawStream struct{ s *stream }

func (r rawStream) Read(p []byte) (int, error)  { return r.s.readRaw(p) }
func (r rawStream) Write(p []byte) (int, error) { return r.s.writeRaw(p) }
