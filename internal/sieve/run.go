package sieve

import (
	"context"
	"errors"
	"fmt"
	"io"

	"buzon/internal/message"
)

// Message is what a script is asked about.
type Message struct {
	Content io.ReaderAt // the whole message as it would be kept, trace fields on top
	Size    int64
}

// errStop ends a run that is to end (RFC 5228 3.3).
var errStop = errors.New("stop")

// run is one run of a script for one message.
type run struct {
	ctx     context.Context
	script  *Script
	message Message
	env     Environment
	work    int64

	header header
	parsed *message.Part // nil until a body is asked for

	variables map[string]string
	matched   []string // match variables
	flags     []string // the internal variable of RFC 5232

	keep    bool // the implicit keep is in force
	outcome Outcome
}

func newRun(ctx context.Context, s *Script, m Message, env Environment) (*run, error) {
	if env.Separator == "" {
		env.Separator = "+"
	}
	r := &run{ctx: ctx, script: s, message: m, env: env, variables: map[string]string{}, keep: true}
	var err error
	r.header, err = readHeader(m)
	return r, err
}

// do runs steps in their order.
func (r *run) do(steps []step) error {
	for _, s := range steps {
		if err := r.spend(stepWork); err != nil {
			return err
		}
		if err := s(r); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) check(c check) (bool, error) {
	if err := r.spend(stepWork); err != nil {
		return false, err
	}
	return c(r)
}

// spend counts work, and ends the run when there was too much of it.
func (r *run) spend(n int) error {
	if r.work += int64(n); r.work > maxWork {
		return fmt.Errorf("%w: it takes too long", ErrLimit)
	}
	return r.ctx.Err()
}

// finish applies the implicit keep (RFC 5228 2.10.2) with the flags as they
// are in the end.
func (r *run) finish() error {
	if r.keep {
		return r.file(Filing{Flags: r.flags})
	}
	return nil
}

// parts returns the message's tree.
func (r *run) parts() (*message.Part, error) {
	if r.parsed == nil {
		p, err := message.Parse(r.message.Content, r.message.Size)
		if err != nil {
			return nil, fmt.Errorf("read message: %w", err)
		}
		r.parsed = p
	}
	return r.parsed, nil
}
