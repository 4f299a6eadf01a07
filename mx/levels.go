package mx

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"
)

// level is how good TLS was on the way to a domain.
type level int

const (
	plainText level = iota
	someTLS
	verifiedTLS // the certificate proved whose host it is
)

var levelNames = [...]string{"plain", "tls", "verified"}

func (l level) String() string { return levelNames[l] }

const (
	maxLevels   = 50_000              // domains
	levelMemory = 90 * 24 * time.Hour // after which a domain may have become worse
	levelRenew  = 7 * 24 * time.Hour  // how exact the date is that is kept
	levelDate   = "2006-01-02"
	maxLevelLog = 4 * maxLevels // lines of the file, before it is written anew
)

// levels remembers the best level that each domain has shown. Less than that
// is not refused, for a policy is what refuses, but it is noticed. It is safe
// for concurrent use.
//
// Its file has a line for each change, "domain level date", the last one of a
// domain counts. It may be deleted at any time.
type levels struct {
	mu     sync.Mutex // guards what follows
	best   map[string]seenLevel
	file   *os.File // nil: none is kept
	lines  int
	warned map[string]time.Time // when a domain's loss was told of last
}

type seenLevel struct {
	level level
	at    time.Time
}

func openLevels(path string) (*levels, error) {
	l := &levels{best: make(map[string]seenLevel), warned: make(map[string]time.Time)}
	if path == "" {
		return l, nil
	}
	f, err := os.Open(path)
	if err == nil {
		l.read(f)
		f.Close()
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	mode := os.O_APPEND
	if l.lines > maxLevelLog || l.lines > 2*len(l.best)+1000 {
		mode = os.O_TRUNC
	}
	if l.file, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|mode, 0o600); err != nil {
		return nil, err
	}
	if mode == os.O_TRUNC {
		l.lines = 0
		for domain, s := range l.best {
			l.write(domain, s)
		}
	}
	return l, nil
}

// read takes what it understands: a cut line is a domain that is learned anew.
func (l *levels) read(f *os.File) {
	for lines := bufio.NewScanner(f); lines.Scan(); l.lines++ {
		fields := strings.Fields(lines.Text())
		if len(fields) != 3 {
			continue
		}
		at, err := time.Parse(levelDate, fields[2])
		if err != nil {
			continue
		}
		for i, name := range levelNames {
			if fields[1] == name && (len(l.best) < maxLevels || l.best[fields[0]].level > 0) {
				l.best[fields[0]] = seenLevel{level(i), at}
			}
		}
	}
}

func (l *levels) write(domain string, s seenLevel) {
	if l.file == nil {
		return
	}
	fmt.Fprintf(l.file, "%s %s %s\n", domain, s.level, s.at.UTC().Format(levelDate)) // what is lost is learned anew
	l.lines++
}

// note records a session's level. It returns the best one that is remembered,
// and whether this one is worse and nobody was told of it today.
func (l *levels) note(domain string, now level) (best level, worse bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok := l.best[domain]
	if ok && time.Since(s.at) > levelMemory {
		s, ok = seenLevel{}, false
	}
	switch {
	case now > s.level || ok && now == s.level && time.Since(s.at) > levelRenew:
		if _, known := l.best[domain]; known || len(l.best) < maxLevels {
			s = seenLevel{now, time.Now()}
			l.best[domain] = s
			l.write(domain, s)
		}
	case now < s.level && time.Since(l.warned[domain]) > 24*time.Hour:
		if len(l.warned) > maxLevels {
			clear(l.warned)
		}
		l.warned[domain] = time.Now()
		return s.level, true
	}
	return s.level, false
}

func (l *levels) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
}
