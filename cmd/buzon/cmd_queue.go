package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"buzon/internal/durable"
	"buzon/internal/size"
	"buzon/internal/smtp"
	"buzon/mx/queue"
)

// queueCommands ask the running server. Where none runs they work on the spool
// themselves.
func queueCommands() []command {
	onIDs := func(name, short, long string, do func(spool, context.Context, string) error) command {
		return command{
			name: "queue " + name, operands: "[ID...]", short: short, long: long,
			setup: func(fs *flag.FlagSet) runner {
				file := newConfigFlag(fs)
				from := fs.String("from", "", "all messages from this `address`, instead of IDs")
				return func(ctx context.Context, std streams, ids []string) error {
					if (*from == "") == (len(ids) == 0) {
						return usageError{"buzon queue " + name, "name the messages, or their sender with --from"}
					}
					return withSpool(ctx, file, std, func(s spool) error {
						if *from != "" {
							list, err := s.List(ctx)
							if err != nil {
								return err
							}
							for _, m := range list {
								if strings.EqualFold(m.From, *from) {
									ids = append(ids, m.ID)
								}
							}
						}
						for _, id := range ids {
							if err := do(s, ctx, id); err != nil {
								return fmt.Errorf("%s: %w", id, err)
							}
						}
						return nil
					})
				}
			},
		}
	}
	return []command{
		queueListCommand(),
		queueShowCommand(),
		queueRetryCommand(),
		onIDs("hold", "Make no more attempts to send a message until it is released",
			"A held message stays in the queue, over restarts too.", spool.Hold),
		onIDs("release", "Let a held message go on", "", spool.Release),
		onIDs("drop", "Remove a message for good, without a notice to its sender",
			"An attempt under way is told to stop; it may have been too late for that.", spool.Drop),
	}
}

func queueListCommand() command {
	return command{
		name:  "queue list",
		short: "List the messages that wait to be sent",
		setup: func(fs *flag.FlagSet) runner {
			file := newConfigFlag(fs)
			asJSON := fs.Bool("json", false, "write JSON, with every recipient")
			return func(ctx context.Context, std streams, _ []string) error {
				return withSpool(ctx, file, std, func(s spool) error {
					list, err := s.List(ctx)
					if err != nil {
						return err
					}
					if *asJSON {
						if list == nil {
							list = []queue.Message{}
						}
						return json.NewEncoder(std.out).Encode(list)
					}
					return listQueue(std.out, list)
				})
			}
		},
	}
}

func queueShowCommand() command {
	return command{
		name: "queue show", operands: "ID",
		short: "Show a message of the queue with what its hosts answered",
		setup: func(fs *flag.FlagSet) runner {
			file := newConfigFlag(fs)
			asJSON := fs.Bool("json", false, "write JSON")
			text := fs.Bool("text", false, "write the message itself")
			return func(ctx context.Context, std streams, operands []string) error {
				return withSpool(ctx, file, std, func(s spool) error {
					if *text {
						return copyText(ctx, s, operands[0], std.out)
					}
					m, err := s.Show(ctx, operands[0])
					if err != nil {
						return fmt.Errorf("%s: %w", operands[0], err)
					}
					if *asJSON {
						return json.NewEncoder(std.out).Encode(m)
					}
					return showMessage(std.out, m)
				})
			}
		},
	}
}

func queueRetryCommand() command {
	return command{
		name: "queue retry", operands: "[ID...]",
		short: "Attempt messages now",
		long:  "Hosts that did not answer a moment ago are tried again too. A held message stays held.",
		setup: func(fs *flag.FlagSet) runner {
			file := newConfigFlag(fs)
			all := fs.Bool("all", false, "attempt everything in the queue")
			return func(ctx context.Context, std streams, ids []string) error {
				if *all == (len(ids) > 0) {
					return usageError{"buzon queue retry", "name the messages, or say --all"}
				}
				return withSpool(ctx, file, std, func(s spool) error {
					if _, offline := s.(offlineSpool); offline {
						return fmt.Errorf("%w: it attempts what is due when it starts", errNotRunning)
					}
					if *all {
						n, err := s.RetryAll(ctx)
						if err == nil {
							_, err = fmt.Fprintf(std.out, "%d messages are attempted now\n", n)
						}
						return err
					}
					for _, id := range ids {
						if err := s.Retry(ctx, id); err != nil {
							return fmt.Errorf("%s: %w", id, err)
						}
					}
					return nil
				})
			}
		},
	}
}

// spool is what the commands do with the queue: through the running server, or
// with the files.
type spool interface {
	List(context.Context) ([]queue.Message, error)
	Show(ctx context.Context, id string) (queue.Message, error)
	Text(ctx context.Context, id string) (io.ReadCloser, error)
	Retry(ctx context.Context, id string) error
	RetryAll(context.Context) (int, error)
	Hold(ctx context.Context, id string) error
	Release(ctx context.Context, id string) error
	Drop(ctx context.Context, id string) error
}

// withSpool calls f with the running server's queue. When no server runs it
// takes the data directory's lock and opens the spool.
func withSpool(ctx context.Context, file configFlag, std streams, f func(spool) error) error {
	cfg, err := file.load()
	if err != nil {
		return err
	}
	err = f(newControlClient(cfg))
	if !errors.Is(err, errNotRunning) {
		return err
	}
	log, _ := newLog(logConfig{Level: "warn"}, std.err)
	if err := makeData(cfg.Data); err != nil {
		return err
	}
	if err := becomeOwner(cfg.Data, log); err != nil {
		return err
	}
	unlock, err := durable.Lock(cfg.path(lockName))
	if err != nil {
		return lockError(cfg, err)
	}
	defer func() { _ = unlock() }()
	queueCfg := cfg.queueConfig()
	queueCfg.Sender, queueCfg.Log = nobody{}, log
	q, err := queue.Open(queueCfg)
	if err != nil {
		return err
	}
	fmt.Fprintln(std.err, "the server is not running; this is what lies in the spool")
	return errors.Join(f(offlineSpool{q}), q.Close())
}

// nobody is the Sender of a queue that does not run.
type nobody struct{}

func (nobody) Send(context.Context, smtp.Envelope, io.ReaderAt, int64) []smtp.Result { return nil }

// offlineSpool is a queue that nobody runs.
type offlineSpool struct{ q *queue.Queue }

func (s offlineSpool) List(context.Context) ([]queue.Message, error) { return s.q.List(), nil }
func (s offlineSpool) Show(_ context.Context, id string) (queue.Message, error) {
	return s.q.Show(id)
}
func (s offlineSpool) Text(_ context.Context, id string) (io.ReadCloser, error) { return s.q.Text(id) }
func (s offlineSpool) Retry(_ context.Context, id string) error                 { return s.q.Retry(id) }
func (s offlineSpool) RetryAll(context.Context) (int, error)                    { return s.q.RetryAll() }
func (s offlineSpool) Hold(_ context.Context, id string) error                  { return s.q.Hold(id) }
func (s offlineSpool) Release(_ context.Context, id string) error               { return s.q.Release(id) }
func (s offlineSpool) Drop(_ context.Context, id string) error                  { return s.q.Drop(id) }

func listQueue(w io.Writer, list []queue.Message) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "the queue is empty")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tQUEUED\tSIZE\tNEXT\tFROM\tTO")
	for _, m := range list {
		to := ""
		if len(m.Recipients) > 0 {
			to = m.Recipients[0].Address
		}
		if n := len(m.Recipients); n > 1 {
			to += fmt.Sprintf(" and %d more", n-1)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", m.ID, m.Queued.Local().Format(time.DateTime),
			size.Bytes(m.Size), when(&m), orNull(m.From), to)
	}
	return t.Flush()
}

// when tells when a message is attempted next.
func when(m *queue.Message) string {
	switch next := m.Next(); {
	case m.Held:
		return "held"
	case m.Active:
		return "active"
	case next.IsZero():
		return "now"
	default:
		return next.Local().Format(time.DateTime)
	}
}

func orNull(address string) string {
	if address == "" {
		return "<>"
	}
	return address
}

func showMessage(w io.Writer, m queue.Message) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(t, "id\t%s\n", m.ID)
	fmt.Fprintf(t, "from\t%s\n", orNull(m.From))
	fmt.Fprintf(t, "queued\t%s\n", m.Queued.Local().Format(time.DateTime))
	fmt.Fprintf(t, "size\t%s\n", size.Bytes(m.Size))
	fmt.Fprintf(t, "next\t%s\n", when(&m))
	for _, r := range m.Recipients {
		fmt.Fprintf(t, "to\t%s\t%s after %d attempts\t%s %s\n", r.Address, r.Status, r.Attempts, r.Host, r.Reply)
	}
	return t.Flush()
}

func copyText(ctx context.Context, s spool, id string, w io.Writer) error {
	text, err := s.Text(ctx, id)
	if err != nil {
		return fmt.Errorf("%s: %w", id, err)
	}
	_, err = io.Copy(w, text)
	return errors.Join(err, text.Close())
}
