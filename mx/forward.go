package mx

import (
	"errors"
	"fmt"
	"io"
	"time"

	"buzon/internal/smtp"
	"buzon/mx/arc"
)

// ForwarderConfig is what a Forwarder is made of. All of it must be given but Now.
type ForwarderConfig struct {
	Secret []byte // of the rewritten reverse-paths, 16 bytes or more
	Keys   KeySource
	// SigningDomain is as for a Signer.
	SigningDomain func(domain string) (name string, sign bool)
	Now           func() time.Time
}

// A Forwarder prepares messages from strangers for the way to a host that one
// of our aliases names. It is safe for concurrent use.
type Forwarder struct {
	cfg ForwarderConfig
	srs srs
}

// NewForwarder returns a Forwarder. A secret that can be guessed is a panic.
func NewForwarder(cfg ForwarderConfig) *Forwarder {
	if len(cfg.Secret) < 16 {
		panic("mx: the secret of forwarding addresses is too short")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Forwarder{cfg: cfg, srs: srs{cfg.Secret, cfg.Now}}
}

// ReversePath is what a message from a sender is forwarded with, by an alias
// at domain: an address of ours that leads back to him, or the null one where
// he has none, or none that would fit.
func (f *Forwarder) ReversePath(from smtp.Address, domain string) smtp.Address {
	return f.srs.forward(from, domain)
}

// Original returns who a reverse-path of ours leads back to. is tells such a
// path from other addresses; an error says that it was not made by us, or too
// long ago.
func (f *Forwarder) Original(a smtp.Address) (original smtp.Address, is bool, err error) {
	return f.srs.reverse(a)
}

// Fields returns what is put on top of a message that an alias forwards: the
// ARC set with our verdict, and the mark by which we know the message when it
// comes back. content is the message that was judged.
func (f *Forwarder) Fields(v Verdict, alias smtp.Address, content io.ReaderAt, size int64) ([]byte, error) {
	mark := fmt.Appendf(nil, "Delivered-To: %s\r\n", alias)
	domain, sign := f.cfg.SigningDomain(alias.Domain)
	if !sign {
		return mark, nil
	}
	keys, err := f.cfg.Keys.Active(domain)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	// RSA comes first: every host that knows ARC verifies it.
	key := arc.Key{Domain: keys[0].Domain, Selector: keys[0].Selector, Private: keys[0].Private}
	seal, err := v.Chain.Seal(key, v.Results, io.NewSectionReader(content, v.BodyAt, size-v.BodyAt), f.cfg.Now())
	switch {
	case errors.Is(err, arc.ErrEnded): // a broken chain is not mended
		return mark, nil
	case err != nil:
		return nil, err
	}
	return append(seal, mark...), nil
}
