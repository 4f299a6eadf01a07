package daily_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-message"

	"buzon/mx/daily"
)

type count struct{ N int }

func open(t *testing.T, path string) *daily.Book[count] {
	t.Helper()
	b, err := daily.Open[count](daily.Config{Path: path, Write: func(path string, data []byte) error { return os.WriteFile(path, data, 0o600) }})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func one(c *count) { c.N++ }

// TestRun counts over a restart, tells each domain once, at its own hour of the
// next day, and again later where telling failed.
func TestRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "book")
	synctest.Test(t, func(t *testing.T) { // it begins at midnight, UTC, of 2000-01-01
		b := open(t, path)
		b.Count("a.test", one)
		b.Count("a.test", one)
		b.Count("b.test", one)
		if err := b.Save(); err != nil {
			t.Fatal(err)
		}
		b = open(t, path)
		b.Count("a.test", one)

		var mu sync.Mutex // guards told and hours
		var told []string
		hours := make(map[string]time.Time)
		trouble := true
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- b.Run(ctx, "us.test", slog.New(slog.DiscardHandler), func(_ context.Context, day daily.Day, domain string, c *count) error {
				if domain == "b.test" && trouble {
					trouble = false
					return errors.New("not now")
				}
				mu.Lock()
				defer mu.Unlock()
				told = append(told, fmt.Sprintf("%s %s %d", day, domain, c.N))
				hours[domain] = time.Now()
				return nil
			})
		}()
		time.Sleep(24*time.Hour - time.Minute)
		mu.Lock()
		if len(told) != 0 {
			t.Errorf("told before the day was over: %q", told)
		}
		mu.Unlock()
		time.Sleep(daily.Spread + 2*time.Hour)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		slices.Sort(told)
		if want := []string{"2000-01-01 a.test 3", "2000-01-01 b.test 1"}; !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
		if hours["a.test"].Equal(hours["b.test"]) {
			t.Error("all domains are told at once")
		}
		open(t, path).Tell(t.Context(), slog.New(slog.DiscardHandler), func(_ context.Context, _ daily.Day, domain string, _ *count) error {
			t.Errorf("%s is told again after a restart", domain)
			return nil
		})
	})
}

// TestForget: what nobody wanted for days is gone, and so is a damaged line.
func TestForget(t *testing.T) {
	path := filepath.Join(t.TempDir(), "book")
	text := `{"day":"1999-12-20","domain":"old.test","figures":{"N":1}}
{"day":"1999-12-31","domain":"a.test","figures":{"N":2}}
{"day":"1999-12-31","domain":"cut.test","figu
{"day":"31.12.1999","domain":"b.test","figures":{"N":2}}
{"day":"1999-12-31","domain":"none.test"}
{"day":"1999-12-31","domain":"a.test","figures":{"N":7}}
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		var told []string
		open(t, path).Tell(t.Context(), slog.New(slog.DiscardHandler), func(_ context.Context, day daily.Day, domain string, c *count) error {
			told = append(told, fmt.Sprintf("%s %s %d", day, domain, c.N))
			return nil
		})
		if want := []string{"1999-12-31 a.test 2"}; !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
	})
}

// TestDomains: whoever writes in the name of a million domains does not fill
// memory.
func TestDomains(t *testing.T) {
	b := open(t, "")
	const more = 10_010
	for i := range more {
		b.Count(fmt.Sprintf("d%d.test", i), one)
	}
	kept := 0
	for i := range more {
		b.Today(fmt.Sprintf("d%d.test", i), func(*count) { kept++ })
	}
	if kept != 10_000 {
		t.Errorf("%d domains were kept", kept)
	}
}

func TestLetter(t *testing.T) {
	file := bytes.Repeat([]byte{0, 1, 2, 255}, 100)
	text := daily.Letter{
		From: "postmaster@us.test", To: "r@x.test", Host: "us.test", Subject: "Report Domain: x.test\r\n Submitter: us.test", Kind: "multipart/mixed",
		Fields: []daily.Field{{Name: "X-A", Value: "b"}}, Words: "hola\n", FileType: "application/gzip", FileName: "a!b!1!2.xml.gz", File: file,
	}.Bytes()
	if bytes.Contains(bytes.ReplaceAll(text, []byte("\r\n"), nil), []byte("\n")) {
		t.Error("a line ends with LF alone")
	}
	for line := range bytes.SplitSeq(text, []byte("\r\n")) {
		if len(line) > 100 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
	m, err := mail.ReadMessage(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"From": "<postmaster@us.test>", "Subject": "Report Domain: x.test Submitter: us.test", "X-A": "b", "Auto-Submitted": "auto-generated"} {
		if got := m.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if id := m.Header.Get("Message-Id"); !strings.HasSuffix(id, "@us.test>") {
		t.Errorf("Message-ID %q", id)
	}
	e, err := message.Read(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	parts := e.MultipartReader()
	if _, err := parts.NextPart(); err != nil {
		t.Fatal(err)
	}
	p, err := parts.NextPart()
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(p.Body)
	if err != nil || !bytes.Equal(got, file) {
		t.Errorf("the file came as %s, %v", base64.StdEncoding.EncodeToString(got), err)
	}
	if _, params, _ := p.Header.ContentDisposition(); params["filename"] != "a!b!1!2.xml.gz" {
		t.Errorf("the file is called %q", params["filename"])
	}
}
