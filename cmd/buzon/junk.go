package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"

	"buzon/internal/account"
	"buzon/internal/junk"
	"buzon/internal/junk/lessons"
	"buzon/internal/tomlfile"
	"buzon/maildir"
	"buzon/smtpd/lda"
)

// junkConfig is [junk], for what is learned from the users.
type junkConfig struct {
	Learn     bool `toml:"learn"`
	Threshold int  `toml:"threshold"`
	Minimum   int  `toml:"minimum"`
}

func checkJunk(f *tomlfile.File, c *config) {
	if t := c.Junk.Threshold; t < 51 || t > 100 {
		f.Problem([]string{"junk", "threshold"}, "%d is not from 51 to 100: below 51 a message looks more like good mail", t)
	}
	if m := c.Junk.Minimum; m < 1 || m > 10_000 {
		f.Problem([]string{"junk", "minimum"}, "%d is not from 1 to 10000 messages", m)
	}
}

// junkDir is where in the data directory the accounts' memories are.
const junkDir = "junk"

func (c *config) openJunk(log *slog.Logger) (*junk.Library, error) {
	return junk.Open(junk.Config{Dir: c.path(junkDir), Minimum: c.Junk.Minimum, Log: log})
}

// openJunk makes what learns from the users, where that is wanted.
func (h *host) openJunk() (err error) {
	if !h.cfg.Junk.Learn {
		return nil
	}
	if h.junk, err = h.cfg.openJunk(h.log); err != nil {
		return err
	}
	h.onClose(h.junk.Close)
	h.teacher = teacher(h.store, h.junk, h.accounts, h.log)
	return nil
}

func teacher(store *maildir.Store, library *junk.Library, accounts *account.Directory, log *slog.Logger) *lessons.Teacher {
	return lessons.New(lessons.Config{
		Store: store, Library: library, Log: log,
		Accounts: func() []string {
			list := accounts.List()
			ids := make([]string, len(list))
			for i, a := range list {
				ids[i] = string(a.ID)
			}
			return ids
		},
	})
}

// classifier is the learner as local delivery asks it.
type classifier struct {
	library   *junk.Library
	threshold int // percent
}

// Classify implements lda.Classifier.
func (c classifier) Classify(id account.ID, content io.ReaderAt, size int64) (lda.Opinion, error) {
	v, err := c.library.Classify(string(id), content, size)
	if err != nil || !v.Known {
		return lda.Opinion{}, err
	}
	percent := int(math.Floor(v.Score * 100)) // 100 is certainty
	return lda.Opinion{Known: true, Percent: percent, Junk: v.Score*100 >= float64(c.threshold)}, nil
}

// Filed implements lda.Classifier.
func (c classifier) Filed(id account.ID, content io.ReaderAt, size int64) error {
	return c.library.Filed(string(id), content, size)
}

// junkState is what is known of an account's junk, or how far a training is.
type junkState struct {
	Account string `json:"account"`
	Watched bool   `json:"watched"` // what the user does from now on is learned
	Junk    int    `json:"junk"`    // messages learned
	Good    int    `json:"good"`    // messages learned
	Enough  bool   `json:"enough"`  // to judge new ones

	Mailbox string `json:"mailbox,omitempty"` // under way
	Done    int    `json:"done,omitempty"`
	Total   int    `json:"total,omitempty"`
	Error   string `json:"error,omitempty"`
}

func stateOf(cfg *config, id account.ID, good, bad int) junkState {
	return junkState{Account: string(id), Junk: bad, Good: good, Enough: good >= cfg.Junk.Minimum && bad >= cfg.Junk.Minimum}
}

// junkOf answers what is known of an account.
func (h *host) junkOf(r *http.Request) (any, error) {
	id, err := h.junkAccount(r)
	if err != nil {
		return nil, err
	}
	return known(h.cfg, h.teacher, id)
}

// known is what a teacher knows of an account.
func known(cfg *config, t *lessons.Teacher, id account.ID) (junkState, error) {
	good, bad, err := t.Known(string(id))
	s := stateOf(cfg, id, good, bad)
	if err == nil {
		s.Watched, err = t.Watched(string(id))
	}
	return s, err
}

func (h *host) junkAccount(r *http.Request) (account.ID, error) {
	id, err := account.ParseID(r.PathValue("account"))
	if err != nil {
		return "", err
	}
	if _, ok := h.accounts.Lookup(id); !ok {
		return "", fmt.Errorf("account %s: %w", id, account.ErrNotFound)
	}
	if h.teacher == nil {
		return "", fmt.Errorf("nothing is learned here: junk.learn is false")
	}
	return id, nil
}

// serveTraining trains and tells how far it is: a junkState on each line, the last
// one with the outcome.
func (h *host) serveTraining(w http.ResponseWriter, r *http.Request) {
	id, err := h.junkAccount(r)
	if err != nil {
		answer(w, nil, err)
		return
	}
	h.transfers.Add(1)
	defer h.transfers.Done()
	out, flush := json.NewEncoder(w), http.NewResponseController(w)
	good, bad, err := h.teacher.Train(r.Context(), string(id), func(mailbox string, done, total int) {
		_ = out.Encode(junkState{Account: string(id), Mailbox: mailbox, Done: done, Total: total})
		_ = flush.Flush()
	})
	last := stateOf(h.cfg, id, good, bad)
	if err != nil {
		last.Error = err.Error()
	}
	_ = out.Encode(last)
}
