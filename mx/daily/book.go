// Package daily is what reports to other domains have in common, whatever they
// are about: figures are kept for each domain and day, they outlive a restart,
// and when a day is over each domain is told, at its own time, once. It knows
// nothing of what is counted.
package daily

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Limits of what is kept.
const (
	maxDomains = 10_000    // of a day; who sends in the name of more of them is not worth a report
	maxFile    = 256 << 20 // bytes of the file
	maxLine    = 16 << 20  // bytes of the figures about one domain and day
	keepDays   = 3         // that could not be told
)

// dateFormat is how days are written: they sort.
const dateFormat = "2006-01-02"

// Day is a day of UTC, like "2026-11-21".
type Day string

// Start is the first second of the day.
func (d Day) Start() time.Time {
	t, _ := time.Parse(dateFormat, string(d)) // Book lets in no other
	return t
}

// End is the last second of the day, as reports count.
func (d Day) End() time.Time { return d.Start().Add(24*time.Hour - time.Second) }

// Config is what a Book is made of.
type Config struct {
	Path  string                               // of the file; "" keeps everything in memory
	Write func(path string, data []byte) error // replaces a file, durably
	Now   func() time.Time                     // time.Now when nil
}

// A Book keeps figures T of each domain and day: of today, and of days that
// nobody was told of yet. T must survive encoding/json. It is safe for
// concurrent use; what a stop without Save loses are the figures since the
// last one.
type Book[T any] struct {
	cfg Config

	mu      sync.Mutex // guards what follows, and figures while they change
	pages   map[page]*T
	domains map[Day]int
	changed bool
	saving  sync.Mutex // one Save at a time
}

// page is where figures stand.
type page struct {
	Day    Day    `json:"day"`
	Domain string `json:"domain"`
}

// entry is a line of the file.
type entry[T any] struct {
	page
	Figures *T `json:"figures"`
}

// Open reads what was saved before, which need not exist. What it cannot
// understand it leaves out: these are figures, not mail.
func Open[T any](cfg Config) (*Book[T], error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	b := &Book[T]{cfg: cfg, pages: make(map[page]*T), domains: make(map[Day]int)}
	if cfg.Path == "" {
		return b, nil
	}
	f, err := os.Open(cfg.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, maxFile))
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	for lines.Scan() {
		var e entry[T]
		if json.Unmarshal(lines.Bytes(), &e) != nil || e.Figures == nil || e.Domain == "" {
			continue
		}
		if _, err := time.Parse(dateFormat, string(e.Day)); err != nil || b.pages[e.page] != nil || b.domains[e.Day] >= maxDomains {
			continue
		}
		b.pages[e.page] = e.Figures
		b.domains[e.Day]++
	}
	if err := lines.Err(); err != nil && !errors.Is(err, bufio.ErrTooLong) {
		return nil, fmt.Errorf("read %s: %w", cfg.Path, err)
	}
	return b, nil
}

// Count changes the figures of a domain, of today; the first time they are
// zero. It does nothing when there are too many domains already. change must
// not wait, and not keep the pointer.
func (b *Book[T]) Count(domain string, change func(*T)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := page{Day(b.cfg.Now().UTC().Format(dateFormat)), domain}
	figures := b.pages[p]
	if figures == nil {
		if b.domains[p.Day] >= maxDomains {
			return
		}
		figures = new(T)
		b.pages[p] = figures
		b.domains[p.Day]++
	}
	change(figures)
	b.changed = true
}

// Today shows the figures of a domain of today, if there are any.
func (b *Book[T]) Today(domain string, look func(*T)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if figures := b.pages[page{Day(b.cfg.Now().UTC().Format(dateFormat)), domain}]; figures != nil {
		look(figures)
	}
}

// Save writes what was counted, if there is something new. Count need not wait
// for it longer than it takes to encode the figures of one domain.
func (b *Book[T]) Save() error {
	b.saving.Lock()
	defer b.saving.Unlock()
	b.mu.Lock()
	changed := b.changed && b.cfg.Path != ""
	b.changed = b.changed && !changed
	pages := b.sorted()
	b.mu.Unlock()
	if !changed {
		return nil
	}
	var text bytes.Buffer
	lines := json.NewEncoder(&text)
	lines.SetEscapeHTML(false)
	for _, p := range pages {
		b.mu.Lock()
		figures := b.pages[p]
		var err error
		if figures != nil {
			err = lines.Encode(entry[T]{p, figures})
		}
		b.mu.Unlock()
		if err != nil {
			return err
		}
	}
	err := b.cfg.Write(b.cfg.Path, text.Bytes())
	if err != nil {
		b.mu.Lock()
		b.changed = true
		b.mu.Unlock()
	}
	return err
}

// sorted returns all pages, days first; the caller holds mu.
func (b *Book[T]) sorted() []page {
	pages := make([]page, 0, len(b.pages))
	for p := range b.pages {
		pages = append(pages, p)
	}
	slices.SortFunc(pages, func(x, y page) int {
		if x.Day != y.Day {
			return strings.Compare(string(x.Day), string(y.Day))
		}
		return strings.Compare(x.Domain, y.Domain)
	})
	return pages
}

// over returns the pages of days before today, and forgets what is too old to
// be told.
func (b *Book[T]) over() (pages []page) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.cfg.Now().UTC()
	today, oldest := Day(now.Format(dateFormat)), Day(now.AddDate(0, 0, -keepDays).Format(dateFormat))
	for _, p := range b.sorted() {
		switch {
		case p.Day < oldest:
			b.tear(p)
		case p.Day < today:
			pages = append(pages, p)
		}
	}
	return pages
}

// tear takes a page out; the caller holds mu.
func (b *Book[T]) tear(p page) {
	delete(b.pages, p)
	if b.domains[p.Day]--; b.domains[p.Day] == 0 {
		delete(b.domains, p.Day)
	}
	b.changed = true
}
