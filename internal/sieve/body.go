package sieve

import (
	"fmt"
	"io"
	"strings"

	"golang.org/x/net/html"

	"buzon/internal/message"
)

// body compiles the test of RFC 5173.
func (c *compiler) body(n node) (check, error) {
	p := c.params(n, tagsOf(matching, map[string]tagRule{"raw": {}, "content": {value: aList}, "text": {}}), 1, 1)
	p.need("body")
	m, how, types := p.matcher(0), p.only("raw", "content", "text"), p.tagList("content")
	m.quiet = true // RFC 5173 6
	return func(r *run) (bool, error) {
		var bodies []string
		var err error
		if b := (&bodyReader{run: r, left: maxBody, parts: maxParts}); how == "raw" {
			bodies, err = b.raw()
		} else if how == "content" {
			bodies, err = b.content(values(r, types))
		} else {
			bodies, err = b.content([]string{"text"})
		}
		if err != nil {
			return false, fmt.Errorf("read message: %w", err)
		}
		return m.any(r, func(yield func(string) bool) {
			for _, b := range bodies {
				if how != "raw" && how != "content" {
					b = plain(b)
				}
				if !yield(b) {
					return
				}
			}
		})
	}, p.err
}

// bodyReader reads what body tests look at, up to limits.
type bodyReader struct {
	run   *run
	left  int64
	parts int
	found []string
}

// raw is the body as it was sent (RFC 5173 5.1).
func (b *bodyReader) raw() ([]string, error) {
	tree, err := b.run.parts()
	if err != nil {
		return nil, err
	}
	err = b.take(io.NewSectionReader(b.run.message.Content, tree.Body.Start, tree.Body.Len()))
	return b.found, err
}

// content is each part of the given types, decoded (RFC 5173 5.2). A type is
// "", "text" or "text/plain". Of a multipart it is what stands before and
// after its parts, of a message its header.
func (b *bodyReader) content(types []string) ([]string, error) {
	tree, err := b.run.parts()
	if err != nil {
		return nil, err
	}
	return b.found, b.walk(tree, types)
}

func (b *bodyReader) walk(p *message.Part, types []string) error {
	if b.parts--; b.parts < 0 || b.left <= 0 {
		return nil
	}
	if wanted(p, types) {
		if err := b.part(p); err != nil {
			return err
		}
	}
	for _, child := range p.Children {
		if err := b.walk(child, types); err != nil {
			return err
		}
	}
	return nil
}

func wanted(p *message.Part, types []string) bool {
	for _, t := range types {
		major, minor, whole := strings.Cut(t, "/")
		if t == "" || strings.EqualFold(major, p.Type) && (!whole || strings.EqualFold(minor, p.Subtype)) && major != "" {
			return true
		}
	}
	return false
}

func (b *bodyReader) part(p *message.Part) error {
	section := func(from, to int64) io.Reader {
		return io.NewSectionReader(b.run.message.Content, from, max(to-from, 0))
	}
	switch {
	case p.IsMultipart() && len(p.Children) > 0:
		first, last := p.Children[0], p.Children[len(p.Children)-1]
		return b.take(io.MultiReader(section(p.Body.Start, first.Header.Start), section(last.Body.End, p.Body.End)))
	case p.IsMessage() && len(p.Children) == 1:
		h := p.Children[0].Header
		return b.take(section(h.Start, h.End))
	case strings.EqualFold(p.Type, "text"):
		return b.take(message.DecodeText(section(p.Body.Start, p.Body.End), p.Encoding, p.Charset()))
	}
	decoded, _ := message.DecodeTransfer(section(p.Body.Start, p.Body.End), p.Encoding)
	return b.take(decoded)
}

// take keeps what r yields. Damage in it ends it.
func (b *bodyReader) take(r io.Reader) error {
	text, _ := io.ReadAll(io.LimitReader(r, b.left))
	b.left -= int64(len(text))
	b.found = append(b.found, string(text))
	return b.run.spend(len(text))
}

// plain leaves the markup out of what looks like HTML, so that :text sees
// what a person does.
func plain(s string) string {
	if !strings.Contains(s, "<") {
		return s
	}
	head := strings.ToLower(s[:min(len(s), 4096)])
	if !strings.Contains(head, "<html") && !strings.Contains(head, "<!doctype html") && !strings.Contains(head, "<body") &&
		!strings.Contains(head, "<div") && !strings.Contains(head, "<p") && !strings.Contains(head, "<table") {
		return s
	}
	var b strings.Builder
	z := html.NewTokenizer(strings.NewReader(s))
	for hidden := ""; ; {
		switch z.Next() {
		case html.ErrorToken:
			return b.String()
		case html.StartTagToken:
			if name, _ := z.TagName(); string(name) == "script" || string(name) == "style" {
				hidden = string(name)
			}
		case html.EndTagToken:
			if name, _ := z.TagName(); string(name) == hidden {
				hidden = ""
			}
		case html.TextToken:
			if hidden == "" {
				b.WriteString(strings.ReplaceAll(string(z.Text()), "\u00a0", " "))
			}
		}
	}
}
