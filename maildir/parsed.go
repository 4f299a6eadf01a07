package maildir

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"

	"buzon/internal/message"
)

// Parsed is what parsing a message yields, as it goes onto the wire (RFC 9051
// 7.5.2). It is shared, must not be written to, and is valid until the mailbox is
// closed.
type Parsed struct {
	Envelope      []byte
	BodyStructure []byte // extended form
	Body          []byte // BODY without extension data
	// Header is the message's fields named in CachedFields, byte for byte and in
	// order, without the empty line. HeaderCut: they were more than fit.
	Header    []byte
	HeaderCut bool
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

// maxCachedHeader bounds Parsed.Header: a long References is in, a spammer's
// thousand recipients are not.
const maxCachedHeader = 8 << 10

// maxScannedHeader bounds what is read for it.
const maxScannedHeader = 256 << 10

// Parsed returns the message's envelope and structure. A message is parsed once:
// the result is kept in the mailbox's index.
func (m *Mailbox) Parsed(ctx context.Context, uid UID) (*Parsed, error) {
	key := parseKey{m.State().validity, uid}
	if p := m.parsed.get(key); p != nil && p.parsed != nil {
		return p.parsed, nil
	}
	s := m.State()
	i, ok := s.Find(uid)
	if !ok {
		return nil, fmt.Errorf("parse message %d: %w", uid, ErrExpunged)
	}
	cache := m.parseFile()
	if p := cache.get(s, i); p != nil {
		return p, nil
	}
	f, err := m.OpenMessage(ctx, uid)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	part, err := message.Parse(f, f.Size())
	if err != nil {
		return nil, fmt.Errorf("parse message %d: %w", uid, err)
	}
	p := &Parsed{
		Envelope:      part.AppendEnvelope(nil),
		BodyStructure: part.AppendBodyStructure(nil, true),
		Body:          part.AppendBodyStructure(nil, false),
	}
	if p.Header, p.HeaderCut, err = cachedHeader(f, part); err != nil {
		return nil, fmt.Errorf("read header of message %d: %w", uid, err)
	}
	m.parsed.put(key, parseEntry{part, p})
	cache.put(s, i, p)
	return p, nil
}

// cachedHeader picks the CachedFields.
func cachedHeader(f *File, part *message.Part) (header []byte, cut bool, err error) {
	n := part.Header.End - part.Header.Start
	cut = n > maxScannedHeader
	raw := make([]byte, min(n, maxScannedHeader))
	if _, err := f.ReadAt(raw, part.Header.Start); err != nil && err != io.EOF {
		return nil, false, err
	}
	header = bytes.TrimSuffix(cachedFields.Append(nil, raw), []byte("\r\n"))
	if len(header) > 0 && !bytes.HasSuffix(header, []byte("\r\n")) {
		header = append(header, '\r', '\n')
	}
	if len(header) > maxCachedHeader {
		return nil, true, nil
	}
	return header, cut, nil
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
	part, err := message.Parse(f, f.Size())
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
