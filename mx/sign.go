package mx

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"

	"buzon/internal/message"
	"buzon/internal/smtp"
	"buzon/mx/dkim"
)

// SignerConfig is what a Signer is made of. All of it must be given but Log.
type SignerConfig struct {
	Next SendOnce
	Keys KeySource
	// SigningDomain tells which of our domains answers for mail whose author
	// is at domain: that domain itself where it is ours, else the one that is
	// nearest to us. sign is false for one whose mail is to go unsigned.
	SigningDomain func(domain string) (name string, sign bool)
	IsLocal       func(domain string) bool
	Log           *slog.Logger
}

// SendOnce makes one attempt, as queue.Sender has it.
type SendOnce interface {
	Send(ctx context.Context, env smtp.Envelope, msg io.ReaderAt, size int64) []smtp.Result
}

// KeySource has the keys that sign for a domain. The error says why none can.
type KeySource interface {
	Active(domain string) ([]dkim.Key, error)
}

// A Signer signs every message that leaves, whatever put it into the queue,
// with the keys of the moment. What cannot be signed does not leave: it stays
// in the queue until it can. It is safe for concurrent use.
type Signer struct{ cfg SignerConfig }

// NewSigner returns a Signer.
func NewSigner(cfg SignerConfig) *Signer {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Signer{cfg: cfg}
}

var replyNoKey = smtp.NewReply(451, [3]int{4, 7, 0}, "The message cannot be signed (DKIM) now")

// Send signs the message and hands it on.
func (s *Signer) Send(ctx context.Context, env smtp.Envelope, msg io.ReaderAt, size int64) []smtp.Result {
	fields, domain, err := s.sign(env, msg, size)
	if err != nil {
		s.cfg.Log.Error("message not signed, and so not sent", "id", env.ID, "from", env.From.String(), "host", domain, "err", err)
		results := make([]smtp.Result, len(env.To))
		for i, r := range env.To {
			results[i] = smtp.Result{Recipient: r.Address, Reply: replyNoKey}
		}
		return results
	}
	if len(fields) > 0 {
		msg, size = &prefixed{fields, msg}, size+int64(len(fields))
		env.Size = size
	}
	return s.cfg.Next.Send(ctx, env, msg, size)
}

// sign returns the fields to put on top, none for a domain that does not sign.
func (s *Signer) sign(env smtp.Envelope, msg io.ReaderAt, size int64) (fields []byte, domain string, err error) {
	r := bufio.NewReaderSize(io.NewSectionReader(msg, 0, size), 32<<10)
	header, err := message.ReadHeader(r, message.HeaderLimits{})
	if err != nil {
		return nil, "", err
	}
	domain, wanted := s.cfg.SigningDomain(s.author(env, header))
	if !wanted {
		return nil, domain, nil
	}
	keys, err := s.cfg.Keys.Active(domain)
	if err != nil {
		return nil, domain, err
	}
	fields, err = dkim.Sign(keys, header, r)
	return fields, domain, err
}

// author is the domain that the signature should answer for: the author's
// where that is one of ours, else the reverse-path's, as of what we forward.
func (s *Signer) author(env smtp.Envelope, header *message.Header) string {
	author, doubtful := message.AuthorDomain(header)
	for _, d := range append([]string{author}, doubtful...) {
		if d != "" && s.cfg.IsLocal(d) {
			return d
		}
	}
	return env.From.Domain
}

// prefixed is a message with fields on top.
type prefixed struct {
	head []byte
	rest io.ReaderAt
}

// ReadAt implements io.ReaderAt.
func (p *prefixed) ReadAt(b []byte, off int64) (n int, err error) {
	if off < int64(len(p.head)) {
		n = copy(b, p.head[off:])
		if n == len(b) {
			return n, nil
		}
		off += int64(n)
	}
	m, err := p.rest.ReadAt(b[n:], off-int64(len(p.head)))
	if errors.Is(err, io.EOF) && n+m == len(b) {
		err = nil
	}
	return n + m, err
}
