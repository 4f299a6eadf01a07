package junk

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/html"

	"buzon/internal/message"
)

// Limits on what is looked at in one message: the beginning decides what a person
// sees, and a delivery waits for it.
const (
	maxHeader = 256 << 10 // octets
	maxText   = 128 << 10 // decoded octets, of all parts
	maxParts  = 50
	maxSample = 6000 // words
	maxHops   = 2    // Received fields
)

// MessageID tells one message from others: it stays when the message is copied to
// another mailbox, by whatever program.
type MessageID uint64

// Sample is what is learned of a message.
type Sample struct {
	ID    MessageID
	Size  int64    // octets
	Words []uint64 // hashes, distinct, ascending
}

// Read takes the sample of a message. The error is that of r.
func Read(r io.ReaderAt, size int64) (Sample, error) {
	h, err := readHeader(r, size)
	if err != nil {
		return Sample{}, err
	}
	s := sampler{content: r, seen: map[uint64]struct{}{}, left: maxText, parts: maxParts}
	s.header(h)
	root, err := message.Parse(r, size)
	if err != nil {
		return Sample{}, err
	}
	if err := s.part(root); err != nil {
		return Sample{}, err
	}
	words := make([]uint64, 0, len(s.seen))
	for hash := range s.seen {
		words = append(words, hash)
	}
	slices.SortFunc(words, cmp.Compare[uint64])
	return Sample{identity(h), size, words}, nil
}

// Identify returns what tells a message from others, for less than Read.
func Identify(r io.ReaderAt, size int64) (MessageID, error) {
	h, err := readHeader(r, size)
	if err != nil {
		return 0, err
	}
	return identity(h), nil
}

func readHeader(r io.ReaderAt, size int64) (*message.Header, error) {
	h, err := message.ReadHeader(bufio.NewReaderSize(io.NewSectionReader(r, 0, size), 8<<10),
		message.HeaderLimits{})
	switch {
	case errors.Is(err, message.ErrHeaderTooBig), errors.Is(err, message.ErrTooManyFields), errors.Is(err, message.ErrFieldTooBig):
		raw := make([]byte, min(size, maxHeader))
		n, err := r.ReadAt(raw, 0)
		if err != nil && err != io.EOF {
			return nil, err
		}
		return message.ParseHeader(raw[:n]), nil
	case err != nil:
		return nil, fmt.Errorf("read header: %w", err)
	}
	return h, nil
}

// identity is made of fields that no program changes, and of the newest Received
// field, which a stranger cannot choose: else he could make all of his junk one
// message.
func identity(h *message.Header) MessageID {
	sum := sha256.New()
	for _, name := range []string{"Message-ID", "Date", "From", "Subject", "Received"} {
		fmt.Fprintf(sum, "%s\x00", strings.Join(strings.Fields(h.Get(name)), " "))
	}
	return MessageID(binary.LittleEndian.Uint64(sum.Sum(nil)))
}

// sampler collects the words of one message.
type sampler struct {
	content io.ReaderAt
	seen    map[uint64]struct{}
	left    int64 // octets of text
	parts   int
}

// add takes a word of a kind: the same word means something else in a subject than
// in a text.
func (s *sampler) add(kind, word string) {
	if len(s.seen) < maxSample {
		s.seen[hashOf(kind, word)] = struct{}{}
	}
}

// hashOf is FNV-1a. Words are never read back, so their hashes are enough.
func hashOf(kind, word string) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	hash := uint64(offset)
	for _, text := range [...]string{kind, ":", word} {
		for i := range len(text) {
			hash = (hash ^ uint64(text[i])) * prime
		}
	}
	return hash
}

// header takes what tells of the sender and of the way: not of our user, who is
// the same in all of his mail, nor what we have said of the message ourselves.
func (s *sampler) header(h *message.Header) {
	s.text("subject", message.DecodeHeader(h.Get("Subject")))
	for _, name := range []string{"From", "Reply-To", "Sender"} {
		for _, a := range message.Addresses(h.Get(name)) {
			kind := strings.ToLower(name)
			host := strings.ToLower(a.Host)
			s.add(kind, strings.ToLower(a.Mailbox)+"@"+host)
			s.domain(kind+" host", host)
			s.text(kind, message.DecodeHeader(a.Name))
		}
	}
	if _, host, ok := strings.Cut(strings.Trim(h.Get("Return-Path"), "<> "), "@"); ok {
		s.domain("return", strings.ToLower(host))
	}
	switch to := len(message.Addresses(h.Get("To"))) + len(message.Addresses(h.Get("Cc"))); {
	case to == 0:
		s.add("to", "nobody")
	case to > 5:
		s.add("to", "many")
	}
	for _, name := range []string{"User-Agent", "X-Mailer", "List-Id", "List-Unsubscribe", "Precedence"} {
		s.text(strings.ToLower(name), h.Get(name))
	}
	if results := h.Values("Authentication-Results"); len(results) > 0 {
		for _, word := range strings.FieldsFunc(strings.ToLower(results[0]), func(r rune) bool { return strings.ContainsRune("; \t()", r) }) {
			if method, result, ok := strings.Cut(word, "="); ok && !strings.Contains(method, ".") {
				s.add("auth", method+"="+result)
			}
		}
	}
	for i, hop := range h.Values("Received") {
		if i == maxHops {
			break
		}
		s.hop(strings.ToLower(strings.Join(strings.Fields(hop), " ")))
	}
}

// hop takes the names and networks of a Received field, up to what we are called.
func (s *sampler) hop(value string) {
	from, _, _ := strings.Cut(value, " by ")
	for _, word := range strings.FieldsFunc(from, func(r rune) bool { return strings.ContainsRune(" \t()[]", r) }) {
		ip, err := netip.ParseAddr(strings.TrimPrefix(word, "ipv6:"))
		switch {
		case err == nil && ip.Is4():
			for _, bits := range []int{16, 24, 32} {
				p, _ := ip.Prefix(bits)
				s.add("ip", p.String())
			}
		case err == nil:
			for _, bits := range []int{32, 48, 64} {
				p, _ := ip.Prefix(bits)
				s.add("ip", p.String())
			}
		case strings.Contains(word, "."):
			s.domain("hop", word)
		}
	}
}

// domain takes a name, and the last two and three labels of it.
func (s *sampler) domain(kind, name string) {
	if name == "" || len(name) > 255 {
		return
	}
	s.add(kind, name)
	labels := strings.Split(name, ".")
	for _, n := range []int{2, 3} {
		if len(labels) > n {
			s.add(kind, strings.Join(labels[len(labels)-n:], "."))
		}
	}
}

// part takes a part of the message and those in it.
func (s *sampler) part(p *message.Part) error {
	if s.parts--; s.parts < 0 {
		return nil
	}
	if len(p.Children) == 0 {
		s.add("type", strings.ToLower(p.Type+"/"+p.Subtype))
		if charset := p.Charset(); charset != "" && strings.EqualFold(p.Type, "text") {
			s.add("charset", strings.ToLower(charset))
		}
	}
	for _, params := range [][]message.Param{p.DispositionParams, p.Params} {
		for _, param := range params {
			if dot := strings.LastIndexByte(param.Value, '.'); strings.EqualFold(param.Name, "filename") || strings.EqualFold(param.Name, "name") {
				s.add("file", strings.ToLower(param.Value[max(dot, len(param.Value)-10, 0):]))
			}
		}
	}
	for _, child := range p.Children {
		if err := s.part(child); err != nil {
			return err
		}
	}
	if len(p.Children) > 0 || !strings.EqualFold(p.Type, "text") || s.left <= 0 {
		return nil
	}
	// Of encoded text at most three octets make one.
	body := io.NewSectionReader(s.content, p.Body.Start, min(p.Body.Len(), 3*s.left))
	text, err := io.ReadAll(io.LimitReader(message.DecodeText(body, p.Encoding, p.Charset()), s.left))
	if err != nil {
		return err
	}
	s.left -= int64(len(text))
	if strings.EqualFold(p.Subtype, "html") {
		s.html(string(text))
	} else {
		s.text("", string(text))
	}
	return nil
}

// html takes the text that a person sees, and where links and pictures lead.
func (s *sampler) html(text string) {
	z := html.NewTokenizer(strings.NewReader(text))
	z.SetMaxBuf(maxText)
	var visible strings.Builder
	hidden := ""
	for {
		switch z.Next() {
		case html.ErrorToken:
			s.text("", visible.String())
			return
		case html.TextToken:
			if hidden == "" {
				visible.Write(z.Text())
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			name, more := z.TagName()
			if tag := string(name); tag == "script" || tag == "style" || tag == "form" || tag == "iframe" {
				s.add("tag", tag)
				if tag == "script" || tag == "style" {
					hidden = tag
				}
			}
			if isBlock[string(name)] {
				visible.WriteByte(' ')
			}
			for more {
				var key, value []byte
				key, value, more = z.TagAttr()
				if k := string(key); k == "href" || k == "src" || k == "action" {
					s.link(string(value))
				}
			}
		case html.EndTagToken:
			if name, _ := z.TagName(); string(name) == hidden {
				hidden = ""
			} else if isBlock[string(name)] {
				visible.WriteByte(' ')
			}
		}
	}
}

// isBlock has the elements that end a word.
var isBlock = map[string]bool{
	"p": true, "br": true, "div": true, "td": true, "th": true, "tr": true, "li": true, "table": true,
	"h1": true, "h2": true, "h3": true, "h4": true, "title": true, "a": true, "img": true, "hr": true,
}
