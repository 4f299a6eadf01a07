package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"buzon/internal/durable"
	"buzon/internal/smtp"
	"buzon/smtpd/lda"
)

// secretName is the file with the secret of the addresses that forwarded mail
// has as its reverse-path. With another secret bounces to the old ones are lost.
const secretName = "forwarding.secret"

// forwardSecret reads that secret, and makes it where there is none.
func forwardSecret(data string) ([]byte, error) {
	root, err := os.OpenRoot(data)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	text, err := root.ReadFile(secretName)
	if errors.Is(err, fs.ErrNotExist) {
		secret := make([]byte, 32)
		_, _ = rand.Read(secret) // crypto/rand never fails
		return secret, durable.WriteFile(root, secretName, []byte(hex.EncodeToString(secret)+"\n"), 0o600)
	}
	if err != nil {
		return nil, err
	}
	secret, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(secret) < 16 {
		return nil, configError{fmt.Errorf("%s/%s does not hold 32 or more hexadecimal digits: restore it, or remove it", data, secretName)}
	}
	return secret, nil
}

// notices is where notices for our own addresses go: into mailboxes, and those
// about mail that we have forwarded back to its sender.
type notices struct {
	h     *host
	local *lda.Local
}

// Notify implements queue.Notifier.
func (n notices) Notify(ctx context.Context, to smtp.Address, msg io.ReaderAt, size int64) error {
	original, forwarded, err := n.h.forwarder.Original(to)
	switch {
	case !forwarded:
		return n.local.Notify(ctx, to, msg, size)
	case err != nil:
		return fmt.Errorf("notify %s: %w: %w", to, smtp.NoSuchUser, err)
	case n.h.accounts.IsLocalDomain(original.Domain):
		return n.local.Notify(ctx, original, msg, size)
	}
	env := smtp.Envelope{To: []smtp.Recipient{{Address: original}}, UTF8: original.NeedsUTF8(), EightBit: true, Size: size}
	_, err = n.h.queue.Submit(ctx, env, io.NewSectionReader(msg, 0, size))
	return err
}

// outbox is the queue, which does not exist yet when it gets its way home.
type outbox struct{ h *host }

func (o outbox) Submit(ctx context.Context, env smtp.Envelope, msg io.Reader) (string, error) {
	return o.h.queue.Submit(ctx, env, msg)
}

// Forward implements lda.Forwarder.
func (o outbox) Forward(ctx context.Context, from, account smtp.Address, to []smtp.Address, content io.ReaderAt, size int64) error {
	env := smtp.Envelope{From: o.h.forwarder.ReversePath(from, account.Domain), EightBit: true, Size: size}
	for _, a := range to {
		env.To = append(env.To, smtp.Recipient{Address: a})
		env.UTF8 = env.UTF8 || a.NeedsUTF8()
	}
	_, err := o.h.queue.Submit(ctx, env, io.NewSectionReader(content, 0, size))
	return err
}
