package junk

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"buzon/internal/e2e/child"
)

// corpus makes the mail of one person: letters, work, lists, and shops and
// newsletters that she wants; and junk, which speaks of shops and money too, with
// many of the same words. Both kinds take most of their words from one language.
type corpus struct {
	rng      *rand.Rand
	language []string
	topics   [][]string // the first ones are good, the last ones junk; commercial ones are of both
	friends  []string
	shops    []string
	serial   int
}

const (
	goodTopics = 7
	shopTopics = 4 // of both kinds
	junkTopics = 3
)

func newCorpus(seed uint64) *corpus {
	c := &corpus{rng: rand.New(rand.NewPCG(seed, 1))}
	c.language = c.words(4000)
	for range goodTopics + shopTopics + junkTopics {
		// Half of a topic's words are in the language anyway.
		topic := c.words(60)
		for range 60 {
			topic = append(topic, c.language[c.rng.IntN(len(c.language))])
		}
		c.topics = append(c.topics, topic)
	}
	for i := range 60 {
		c.friends = append(c.friends, fmt.Sprintf("%s@%s.example", c.words(1)[0], c.words(1)[0]))
		if i < 25 {
			c.shops = append(c.shops, c.words(1)[0]+".example")
		}
	}
	return c
}

func (c *corpus) words(n int) (list []string) {
	for range n {
		var w strings.Builder
		for range 1 + c.rng.IntN(3) {
			w.WriteByte("bcdfghjklmnprstvz"[c.rng.IntN(17)])
			w.WriteByte("aeiou"[c.rng.IntN(5)])
			if c.rng.IntN(2) == 0 {
				w.WriteByte("lnrst"[c.rng.IntN(5)])
			}
		}
		list = append(list, w.String())
	}
	return list
}

// text mixes n words of the language, which follow Zipf's law, with those of topics.
func (c *corpus) text(n int, share float64, topics ...int) string {
	var b strings.Builder
	for i := range n {
		switch {
		case c.rng.Float64() < share:
			topic := c.topics[topics[c.rng.IntN(len(topics))]]
			b.WriteString(topic[c.rng.IntN(len(topic))])
		default:
			rank := math.Exp(c.rng.Float64() * math.Log(float64(len(c.language))))
			b.WriteString(c.language[int(rank)-1])
		}
		if i%12 == 11 {
			b.WriteString(".\r\n")
		} else {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

func (c *corpus) pick(list []string) string { return list[c.rng.IntN(len(list))] }

// message makes one of a kind.
func (c *corpus) message(junk bool) string {
	c.serial++
	shop := goodTopics + c.rng.IntN(shopTopics)
	length := 25 + c.rng.IntN(180)
	var from, subject, body, link string
	ip := fmt.Sprintf("198.51.%d.%d", c.rng.IntN(20), c.rng.IntN(250))
	switch kind := c.rng.IntN(10); {
	case junk:
		topic := goodTopics + shopTopics + c.rng.IntN(junkTopics)
		from = fmt.Sprintf("%s@%s.example", c.words(1)[0], c.words(1)[0])
		if kind == 0 { // in a good name
			from = c.pick(c.friends)
		}
		subject, body = c.text(5, 0.4, topic, shop), c.text(length, 0.25, topic, shop)
		link = c.words(1)[0] + ".example"
		ip = fmt.Sprintf("203.0.%d.%d", c.rng.IntN(200), c.rng.IntN(250))
	case kind < 4: // a shop or a newsletter that she wants
		link = c.pick(c.shops)
		if kind == 0 {
			link = c.words(1)[0] + ".example" // a new one
		}
		from = "news@" + link
		subject, body = c.text(5, 0.4, shop), c.text(length, 0.25, shop)
	default:
		topic := c.rng.IntN(goodTopics)
		from = c.pick(c.friends)
		if kind == 9 { // somebody new
			from = fmt.Sprintf("%s@%s.example", c.words(1)[0], c.words(1)[0])
		}
		subject, body = c.text(4, 0.4, topic), c.text(length, 0.25, topic)
	}
	kind := "text/plain"
	if link != "" && c.rng.IntN(2) == 0 {
		kind = "text/html"
		body = "<html><body><p>" + strings.ReplaceAll(body, ".\r\n", ".</p>\r\n<p>") + "</p><a href=\"http://" + link + "/\">" + c.pick(c.language) + "</a></body></html>\r\n"
	} else if link != "" {
		body += "http://" + link + "/\r\n"
	}
	host := from[strings.IndexByte(from, '@')+1:]
	return fmt.Sprintf("Return-Path: <%s>\r\nReceived: from mail.%s (mail.%s [%s])\r\n\tby mx.test with ESMTPS id %08d;\r\n\tSun, 22 Nov 2026 10:00:00 +0000\r\n"+
		"From: <%s>\r\nTo: <ana@test>\r\nSubject: %s\r\nMessage-ID: <%d@%s>\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: %s; charset=utf-8\r\n\r\n%s",
		from, host, host, ip, c.serial, from, strings.TrimSpace(strings.ReplaceAll(subject, "\r\n", "")), c.serial, host, kind, body)
}

// outcome counts what a judge said of known messages.
type outcome struct{ good, junk, wrongGood, missed int }

func (o outcome) String() string {
	found := o.junk - o.missed
	return fmt.Sprintf("%d of %d good ones in Junk, %d of %d junk found: precision %.4f, recall %.4f",
		o.wrongGood, o.good, found, o.junk, float64(found)/float64(max(found+o.wrongGood, 1)), float64(found)/float64(o.junk))
}

func (o *outcome) add(junk, judged bool) {
	if junk {
		o.junk++
		if !judged {
			o.missed++
		}
		return
	}
	o.good++
	if judged {
		o.wrongGood++
	}
}

const threshold = 0.95 // the default of junk.threshold

// Few lessons are enough to find much junk, and must hardly ever cost a letter.
func TestFindsJunk(t *testing.T) {
	for lessons, atLeast := range map[int]float64{50: 0.3, 200: 0.7, 500: 0.8} {
		c, m := newCorpus(7), newMemory()
		for range lessons {
			m.Learn(c.sample(t, false), Good)
			m.Learn(c.sample(t, true), Junk)
		}
		var o outcome
		for i := range 800 {
			junk := i%2 == 0
			o.add(junk, m.score(c.sample(t, junk)) >= threshold)
		}
		t.Logf("%d lessons of either kind: %v", lessons, o)
		if float64(o.wrongGood) > 0.003*float64(o.good) || float64(o.missed) > (1-atLeast)*float64(o.junk) {
			t.Errorf("%d lessons of either kind: %v", lessons, o)
		}
	}
}

func (c *corpus) sample(t testing.TB, junk bool) Sample {
	t.Helper()
	text := c.message(junk)
	s, err := Read(strings.NewReader(text), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// BenchmarkBesideBogofilter teaches us and Debian's bogofilter the same messages and
// has both judge the same others. The metrics are percent of the good ones that were
// taken for junk, and of the junk that was found.
func BenchmarkBesideBogofilter(b *testing.B) {
	for range b.N {
		dir := b.TempDir()
		c, m := newCorpus(11), newMemory()
		files := map[string][]string{}
		write := func(kind string, junk bool, n int) {
			for i := range n {
				text := c.message(junk)
				if kind == "learn" {
					s, err := Read(strings.NewReader(text), int64(len(text)))
					if err != nil {
						b.Fatal(err)
					}
					m.Learn(s, map[bool]Class{false: Good, true: Junk}[junk])
				}
				name := filepath.Join(dir, fmt.Sprintf("%s-%t-%d", kind, junk, i))
				if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
					b.Fatal(err)
				}
				files[fmt.Sprint(kind, junk)] = append(files[fmt.Sprint(kind, junk)], name)
			}
		}
		for _, kind := range []struct {
			name string
			n    int
		}{{"learn", 300}, {"judge", 1500}} {
			write(kind.name, false, kind.n)
			write(kind.name, true, kind.n)
		}
		var ours, theirs outcome
		begun := time.Now()
		for _, junk := range []bool{false, true} {
			for _, name := range files[fmt.Sprint("judge", junk)] {
				text, err := os.ReadFile(name)
				if err != nil {
					b.Fatal(err)
				}
				s, err := Read(strings.NewReader(string(text)), int64(len(text)))
				if err != nil {
					b.Fatal(err)
				}
				ours.add(junk, m.score(s) >= threshold)
			}
		}
		took := time.Since(begun)
		bogofilter := func(args ...string) string {
			out, err := child.Command(b, 2*time.Minute, "bogofilter", append([]string{"-C", "-d", dir}, args...)...).Output()
			if err != nil && len(out) == 0 && args[0] == "-T" {
				b.Skipf("bogofilter: %v", err)
			}
			return string(out)
		}
		bogofilter(append([]string{"-n", "-B"}, files["learnfalse"]...)...)
		bogofilter(append([]string{"-s", "-B"}, files["learntrue"]...)...)
		begun = time.Now()
		for _, junk := range []bool{false, true} {
			lines := strings.Fields(bogofilter(append([]string{"-T", "-B"}, files[fmt.Sprint("judge", junk)]...)...))
			for i := 1; i < len(lines); i += 3 { // name, verdict, score
				theirs.add(junk, lines[i] == "S")
			}
		}
		b.Logf("ours %v, %v a message", ours, took/time.Duration(ours.good+ours.junk))
		b.Logf("bogofilter %v, %v a message", theirs, time.Since(begun)/time.Duration(max(theirs.good+theirs.junk, 1)))
		b.ReportMetric(100*float64(ours.wrongGood)/float64(ours.good), "%wrong")
		b.ReportMetric(100-100*float64(ours.missed)/float64(ours.junk), "%found")
		b.ReportMetric(100*float64(theirs.wrongGood)/float64(max(theirs.good, 1)), "%wrong-bogofilter")
		b.ReportMetric(100-100*float64(theirs.missed)/float64(max(theirs.junk, 1)), "%found-bogofilter")
	}
}
