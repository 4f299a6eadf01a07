package maildir

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"

	"buzon/internal/durable"
	"buzon/internal/message"
)

// Parsed is what parsing a message yields, as it goes onto the wire (RFC 9051
// 7.5.2). It is shared, must not be written to, and is valid until the mailbox is
// closed.
type Parsed struct {
	Depth    Depth // how much of it there is
	Envelope []byte
	// Header is the message's fields named in CachedFields, byte for byte and in
	// order, without the empty line. HeaderCut: they were more than fit.
	Header    []byte
	HeaderCut bool

	BodyStructure []byte // extended form
	Body          []byte // BODY without extension data

	Preview []byte // RFC 8970

	keys []byte // of SortKeys; none where nobody has asked yet
}

// Depth says how much of a message is parsed. Each holds what those before it do.
type Depth uint8

const (
	ParseFields   Depth = iota // Header and SortKeys: only the header is read
	ParseEnvelope              // Envelope
	ParseAll                   // BodyStructure and Body
	ParsePreview               // Preview
)

// SortKeys returns what the message is sorted and threaded by.
func (p *Parsed) SortKeys() SortKeys {
	keys := p.keys
	if len(keys) == 0 {
		keys = appendSortKeys(nil, message.ParseEnvelope(p.Header), p.Header)
	}
	return decodeSortKeys(keys)
}

// CachedFields are the header fields that clients ask for in lists, searches,
// sorts and threads.
var CachedFields = []string{
	"Date", "From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Subject", "Message-ID", "In-Reply-To", "References",
	"Content-Type", "Content-Transfer-Encoding", "MIME-Version", "List-Id", "List-Post", "List-Unsubscribe",
	"Priority", "X-Priority", "Importance", "X-Mailer", "User-Agent", "Disposition-Notification-To", "Newsgroups",
	"Delivered-To", "Authentication-Results", "X-Spam-Flag", "X-Spam-Status",
}

var cachedFields = message.NewFieldFilter(CachedFields, false)

const (
	// maxCachedHeader bounds Parsed.Header: a long References is in, a spammer's
	// thousand recipients are not.
	maxCachedHeader = 8 << 10
	// maxScannedHeader bounds what is read for it.
	maxScannedHeader = 256 << 10
	// mostHeaders holds nearly all headers.
	mostHeaders = 8 << 10
	// previewLength is the most that RFC 8970 3.1 allows, in characters.
	previewLength = 200
)

// Parsed returns what is known of the message, at least to the depth asked for. A
// message is parsed once: the result is kept in the mailbox's index. With a buffer,
// what was returned is valid until it is used for another message.
func (m *Mailbox) Parsed(ctx context.Context, uid UID, depth Depth, buffer *ParsedBuffer) (*Parsed, error) {
	if buffer == nil {
		buffer = &ParsedBuffer{}
	}
	s := m.State()
	key := parseKey{s.validity, uid}
	if p := m.parsed.get(key); p != nil && p.parsed != nil && p.parsed.Depth >= depth {
		return p.parsed, nil
	}
	s, i, ok := m.row(uid)
	if !ok {
		return nil, fmt.Errorf("parse message %d: %w", uid, ErrExpunged)
	}
	goal := parseGoal{depth: depth}
	cache := m.parseFile()
	p := cache.get(s, i, buffer)
	if p != nil && p.reaches(goal) {
		return p, nil
	}
	if p == nil || !p.complete(goal) {
		p = &Parsed{}
		part, err := m.parse(ctx, s, i, goal, p)
		if err != nil {
			return nil, err
		}
		if part != nil {
			m.parsed.put(key, parseEntry{part, p})
		}
	}
	buffer.put(cache, s, i, p)
	return p, nil
}

// parse reads the message of row i into p, whose memory is used again. There is no
// part where just the header is read.
func (m *Mailbox) parse(ctx context.Context, s *State, i int, goal parseGoal, p *Parsed) (*message.Part, error) {
	p.Envelope, p.keys, p.BodyStructure, p.Body, p.Preview = p.Envelope[:0], p.keys[:0], p.BodyStructure[:0], p.Body[:0], nil
	if _, live := m.State().Find(s.uids[i]); !live {
		goal.depth = max(goal.depth, ParseAll) // it is kept, without a name
	}
	if goal.depth <= ParseEnvelope {
		done, err := m.parseHeader(ctx, s, i, goal, p)
		if done || err != nil {
			return nil, err
		}
		goal.depth = ParseAll // what is so odd is read whole
	}
	f, err := m.openRow(ctx, s, i)
	if err != nil {
		return nil, fmt.Errorf("open message %d: %w", s.uids[i], err)
	}
	defer f.Close()
	part, err := f.parse()
	if err != nil {
		return nil, fmt.Errorf("parse message %d: %w", s.uids[i], err)
	}
	p.Depth = goal.depth
	p.BodyStructure = part.AppendBodyStructure(p.BodyStructure, true)
	p.Body = part.AppendBodyStructure(p.Body, false)
	n := part.Header.Len()
	raw, err := f.bytes(message.Range{Start: part.Header.Start, End: part.Header.Start + min(n, maxScannedHeader)})
	if err != nil {
		return nil, fmt.Errorf("read header of message %d: %w", s.uids[i], err)
	}
	p.setHeader(raw, part.Envelope, n > maxScannedHeader)
	p.complete(goal)
	if goal.depth >= ParsePreview {
		text, err := message.Preview(f, part, previewLength)
		if err != nil {
			return nil, fmt.Errorf("read start of message %d: %w", s.uids[i], err)
		}
		p.Preview = []byte(text)
	}
	return part, nil
}

// parse returns the tree of the message.
func (f *File) parse() (*message.Part, error) {
	if f.r == nil {
		return f.memory.parse(), nil
	}
	return message.Parse(f, f.Size())
}

// bytes returns a part of the message, valid until the next call.
func (f *File) bytes(r message.Range) ([]byte, error) {
	if f.r == nil {
		return f.memory.bytes(r), nil
	}
	b := make([]byte, r.Len())
	if _, err := f.ReadAt(b, r.Start); err != nil && err != io.EOF {
		return nil, err
	}
	return b, nil
}

// parseHeader reads no more of a message than its header; not done where that is very
// long.
func (m *Mailbox) parseHeader(ctx context.Context, s *State, i int, goal parseGoal, p *Parsed) (done bool, err error) {
	buffers := &m.user.buffers
	raw := buffers.get(mostHeaders)
	defer func() { buffers.put(raw) }()
	for {
		var n int
		var in durable.Info
		err := m.onFile(ctx, s, i, func(dir durable.Dir, name string) (err error) {
			n, in, err = durable.ReadStart(dir, name, raw)
			return err
		})
		if err != nil {
			return false, fmt.Errorf("open message %d: %w", s.uids[i], openError(err))
		}
		sl := s.slot(i)
		s.blocks[sl.block()].learnFrom(sl.row(), in)
		end := headerEnd(raw[:n])
		if end == 0 && in.Size <= int64(n) {
			end = n
		}
		if end == 0 && len(raw) < maxScannedHeader {
			buffers.put(raw)
			raw = make([]byte, maxScannedHeader)
			continue
		}
		if end == 0 {
			return false, nil
		}
		header := raw[:end]
		var lines lineCounter
		if lines.count(header); lines.bare > 0 {
			text := buffers.get(end + int(lines.bare))
			defer buffers.put(text)
			header = appendCRLF(text[:0], header, false)
		}
		p.Depth = ParseFields
		p.setHeader(header, nil, false)
		p.complete(goal)
		return true, nil
	}
}

// headerEnd returns where the body begins, behind the empty line; 0: not in b.
func headerEnd(b []byte) int {
	for at := 0; ; {
		n := bytes.IndexByte(b[at:], '\n')
		if n < 0 {
			return 0
		}
		if n == 0 || n == 1 && b[at] == '\r' {
			return at + n + 1
		}
		at += n + 1
	}
}

func (m *Mailbox) parseFile() *parseFile {
	if x := m.index.Load(); x != nil {
		return x.cache
	}
	return nil
}

// Structure returns the tree of the parts of a message, which is open as f, with
// their offsets there.
func (m *Mailbox) Structure(uid UID, f *File) (*message.Part, error) {
	key := parseKey{m.State().validity, uid}
	if p := m.parsed.get(key); p != nil && p.part != nil {
		return p.part, nil
	}
	part, err := f.parse()
	if err != nil {
		return nil, fmt.Errorf("parse message %d: %w", uid, err)
	}
	m.parsed.put(key, parseEntry{part: part})
	return part, nil
}

type parseKey struct {
	validity uint32
	uid      UID
}

type parseEntry struct {
	part   *message.Part
	parsed *Parsed
}

// recentParses is how many messages' part trees stay in memory for each mailbox: a
// client asks for the parts of one message, one after the other.
const recentParses = 16

// parseCache holds the last messages that were parsed.
type parseCache struct {
	mu    sync.Mutex
	order []parseKey
	byKey map[parseKey]*parseEntry
}

func (c *parseCache) get(k parseKey) *parseEntry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byKey[k]
}

func (c *parseCache) put(k parseKey, e parseEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byKey == nil {
		c.byKey = map[parseKey]*parseEntry{}
	}
	if c.byKey[k] == nil {
		c.order = append(c.order, k)
	}
	c.byKey[k] = &e
	if len(c.order) > recentParses {
		delete(c.byKey, c.order[0])
		c.order = c.order[1:]
	}
}
