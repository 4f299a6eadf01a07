package maildir

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"buzon/internal/durable"
)

// The index keeps a mailbox's last state outside the tree, in
// <state>/<domain>/<user>/<mailbox GUID>: a snapshot, the log of what changed
// since, and the cache of what parsing messages yielded. It saves time and
// remembers modification sequences; without it a mailbox is scanned once and
// clients compare all flags once. Whatever is wrong with it, it is thrown away.
//
// A generation is a snapshot and its log. The next one is complete before the
// last is removed.
type index struct {
	mailbox *Mailbox
	dir     durable.Dir
	gen     uint64
	log     durable.File
	size    int64     // of the log
	snap    int64     // of the snapshot, roughly
	checked fileStamp // of the snapshot when it was found sound, or written
	cache   *parseFile
	texts   textFiles

	lastIntent uint64
	retry      time.Time // when a broken index is begun anew

	sync    sync.Mutex    // held while the log is synced
	durable atomic.Uint64 // modseqs up to this one are on disk
	written atomic.Uint64 // and up to this one in the log
	broken  atomic.Bool   // the log could not be written: it ended where it did
}

const (
	// compactLog is the least size of a log that is worth a new snapshot.
	compactLog = 1 << 20
	// snapshotRows is how many new messages go into a new snapshot directly.
	snapshotRows = 20_000
	// giveUpTime is how long a mailbox goes without the index that could not be
	// written, as on a full disk.
	giveUpTime = time.Minute
)

func newIndex(m *Mailbox, dir durable.Dir) *index {
	return &index{mailbox: m, dir: dir, texts: textFiles{mailbox: m, dir: dir}}
}

// openIndex finds the mailbox's index and makes its state ours. Every trouble
// with it is logged and costs a scan.
func (m *Mailbox) openIndex() []*intent {
	if m.user.state == nil {
		return nil
	}
	guid := readGUID(m.dir.folder)
	if guid == "" {
		guid = m.lostIdentity()
	}
	if guid == "" {
		return nil
	}
	dir, err := openOrMake(m.user.state, guid, 0o700)
	if err != nil {
		m.log("index cannot be used", "err", err)
		return nil
	}
	m.guid.Store(&guid)
	x := newIndex(m, dir)
	m.index.Store(x)
	r, err := x.load()
	if err == nil {
		err = x.openLog(r.end)
	}
	if errors.Is(err, errCopiedFolder) {
		return m.openCopy()
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			m.log("index thrown away", "err", err)
		}
		if err := m.restartIndex(); err != nil {
			m.log("index cannot be used", "err", err)
			m.dropIndex()
		}
		return nil
	}
	return r.open
}

// loaded is what is left to do after an index was read.
type loaded struct {
	end  int64 // of the log's sound part
	open []*intent
}

func (x *index) load() (l loaded, err error) {
	gens := x.generations()
	if len(gens) == 0 {
		return l, fs.ErrNotExist
	}
	m := x.mailbox
	x.gen = gens[0]
	data, err := readLog(x.dir, x.gen)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return l, err
	}
	head, blocks, uids, err := readSnapshot(x.dir, x.gen, m.user.store.mapFile, x.trust(m.lastWords(data), false))
	if err != nil {
		return l, err
	}
	if head.folder != m.folderIno && m.isCopy(head.folder) {
		return l, errCopiedFolder
	}
	s, err := head.state(m, blocks, uids)
	if err != nil {
		return l, err
	}
	s.generation = m.State().generation + 1
	m.infos, m.infoIDs = nil, map[string]fileInfo{}
	for i, raw := range head.infos {
		m.infos = append(m.infos, parseInfo(raw))
		m.infoIDs[raw] = fileInfo(i)
	}
	s.infos = m.infos
	m.uids = head.uids
	m.vanished.reset(head.vanished.floor)
	m.vanished.gone = head.vanished.gone
	before := m.State()
	base := &draft{State: s}
	base.setKeywords(head.keywords)
	m.state.Store(s)
	if l, err = x.replay(data); err != nil {
		m.state.Store(before)
		return l, err
	}
	x.snap = head.size()
	x.written.Store(uint64(m.State().highest))
	x.durable.Store(uint64(m.State().highest))
	x.cache = openParseFile(x.dir, m.State(), head.cacheEnd)
	return l, nil
}

// replay reads the log onto the snapshot's state.
func (x *index) replay(data []byte) (l loaded, err error) {
	m := x.mailbox
	r := &replay{d: m.draft(), m: m, gone: map[UID]bool{}, intents: map[uint64]*intent{}}
	l.end = int64(eachRecord(data, r.apply))
	r.finish()
	if r.uids != nil {
		m.uids = *r.uids
	}
	if r.d.next > maxUID || r.d.validity == 0 {
		return l, fmt.Errorf("%w: UIDNEXT %d UIDVALIDITY %d", errIndex, r.d.next, r.d.validity)
	}
	m.state.Store(r.d.State)
	m.infosNamed = len(m.infos)
	for _, in := range r.intents {
		l.open = append(l.open, in)
		x.lastIntent = max(x.lastIntent, in.id)
	}
	slices.SortFunc(l.open, func(a, b *intent) int { return cmpUint(a.id, b.id) })
	if r.stamps != nil && l.end == int64(len(data)) && r.stamps.ofThisBoot(m) {
		m.disk.newStamp, m.disk.curStamp = r.stamps.new, r.stamps.cur
		m.disk.confirmed = r.stamps.cur.taken
		m.disk.scanned = true
	}
	return l, nil
}

// generations returns the snapshots that there are, the newest first.
func (x *index) generations() (gens []uint64) {
	_ = x.dir.Scan(func(e durable.Entry) error {
		if hex, ok := strings.CutPrefix(string(e.Name), snapshotPrefix); ok {
			if gen, err := strconv.ParseUint(hex, 16, 64); err == nil && gen < math.MaxUint64 {
				gens = append(gens, gen)
			}
		}
		return nil
	})
	slices.Sort(gens)
	slices.Reverse(gens)
	return gens
}

// openLog opens the generation's log for writing behind its sound part.
func (x *index) openLog(end int64) error {
	f, err := x.dir.Append(logName(x.gen), 0o600)
	if err != nil {
		return err
	}
	in, err := f.Stat()
	if err == nil && in.Size > end {
		err = f.Truncate(end)
	}
	if err == nil && end == 0 {
		// An intent in a log that has no durable name would be no intent.
		err = x.dir.Sync()
	}
	if err != nil {
		f.Close()
		return err
	}
	x.log, x.size = f, end
	return nil
}

// restartIndex begins with an empty index: all that the caches held is gone.
func (m *Mailbox) restartIndex() error {
	x := m.index.Load()
	gens := x.generations()
	x.gen = 0
	if len(gens) > 0 {
		x.gen = gens[0]
	}
	if err := m.fresh(); err != nil {
		return err
	}
	_ = x.dir.Remove(parseFileName)
	x.cache = openParseFile(x.dir, m.State(), 0)
	return m.compact()
}

// compact writes the newest state as the next generation and serves from it. The
// caller holds the lock.
func (m *Mailbox) compact() error {
	x := m.index.Load()
	s := m.State()
	if s.validity == 0 {
		// The first snapshot is made with the first state.
		x.broken.Store(true)
		return nil
	}
	h := &snapshotHead{}
	m.describeSnapshot(h, s)
	gen := x.gen + 1
	x.removeGeneration(gen)
	if err := writeSnapshot(x.dir, gen, s, h); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	return x.use(gen, s)
}

// describeSnapshot fills in what the head of a snapshot of s says beside the rows.
func (m *Mailbox) describeSnapshot(h *snapshotHead, s *State) {
	h.validity, h.next, h.highest = s.validity, s.next, s.highest
	h.unseen, h.deleted, h.recent, h.firstUnseen = s.unseen, s.deleted, s.recent, s.firstUnseen.Load()
	h.keywords, h.infos, h.uids, h.folder = s.keywords, rawInfos(m.infos), m.accounted(), m.folderIno
	if x := m.index.Load(); x.cache != nil {
		h.cacheEnd = x.cache.end()
	}
	m.vanished.mu.Lock()
	defer m.vanished.mu.Unlock()
	h.vanished.floor, h.vanished.gone = m.vanished.floor, m.vanished.gone
}

func (x *index) removeGeneration(gen uint64) {
	_ = x.dir.Remove(snapshotName(gen))
	_ = x.dir.Remove(logName(gen))
}

// use makes a snapshot that was written the one that is served.
func (x *index) use(gen uint64, old *State) error {
	m := x.mailbox
	head, blocks, uids, err := readSnapshot(x.dir, gen, m.user.store.mapFile, x.trust(nil, true))
	if err != nil {
		return err
	}
	s, err := head.state(m, blocks, uids)
	if err != nil {
		return err
	}
	s.generation, s.infos = old.generation, m.infos
	s.keywords, s.visible, s.forwardedMask = old.keywords, old.visible, old.forwardedMask
	if len(old.uids) == len(s.uids) {
		s.uids = old.uids // the same, and shared already
	}
	last := x.gen
	x.gen = gen
	x.sync.Lock()
	if x.log != nil {
		_ = x.log.Close()
		x.log = nil
	}
	err = x.openLog(0)
	x.sync.Unlock()
	if err != nil {
		return err
	}
	m.names = nameTable{}
	m.state.Store(s)
	x.snap = head.size()
	x.written.Store(uint64(s.highest))
	x.durable.Store(uint64(s.highest))
	x.broken.Store(false)
	for _, g := range x.generations() {
		if g <= last {
			x.removeGeneration(g)
		}
	}
	return nil
}

func rawInfos(all []info) []string {
	out := make([]string, len(all))
	for i := range all {
		out[i] = all[i].raw
	}
	return out
}

// record writes a draft's changes to the log, before its state is seen.
func (x *index) record(d *draft) {
	if x == nil || x.broken.Load() {
		return
	}
	x.write(appendDraft(nil, d))
	x.written.Store(uint64(d.highest))
}

// write appends to the log. When it fails the log ends there: all after it would
// have a hole before it.
func (x *index) write(b []byte) {
	if x == nil || x.broken.Load() || len(b) == 0 {
		return
	}
	n, err := x.log.Write(b)
	x.size += int64(n)
	if err != nil {
		x.giveUp(err)
	}
}

// giveUp removes an index that cannot be kept. Modification sequences that were
// told stay below those that the next index begins with.
func (x *index) giveUp(err error) {
	if x.broken.Swap(true) {
		return
	}
	x.retry = x.mailbox.user.store.now().Add(giveUpTime)
	x.mailbox.log("index cannot be written", "err", err)
	for _, g := range x.generations() {
		x.removeGeneration(g)
	}
	_ = x.dir.Sync()
}

// afterPublish compacts when the log has grown. The caller holds the lock.
func (m *Mailbox) afterPublish(added int) {
	x := m.index.Load()
	if x == nil {
		m.adoptIndex()
		return
	}
	if x.texts.grown(added) {
		m.KeepTexts()
	}
	if m.openIntents > 0 || x.broken.Load() && m.user.store.now().Before(x.retry) {
		return
	}
	if x.broken.Load() || added > snapshotRows || x.size > max(compactLog, x.snap/4) {
		if err := m.compact(); err != nil {
			x.giveUp(err)
		}
	}
}

// adoptIndex begins the index of a mailbox that had no GUID when it was opened.
func (m *Mailbox) adoptIndex() {
	if m.indexOf(m.ID()) == nil {
		return
	}
	if err := m.compact(); err != nil {
		m.log("index cannot be used", "err", err)
		m.dropIndex()
	}
}

// indexOf returns the mailbox's index, begun when it had none; nil where none can be
// kept.
func (m *Mailbox) indexOf(guid string) *index {
	if x := m.index.Load(); x != nil {
		return x
	}
	if m.user.state == nil || guid == "" || m.indexless {
		return nil
	}
	dir, err := openOrMake(m.user.state, guid, 0o700)
	if err != nil {
		m.indexless = true
		m.log("index cannot be used", "err", err)
		return nil
	}
	x := newIndex(m, dir)
	if gens := x.generations(); len(gens) > 0 {
		x.gen = gens[0]
	}
	_ = dir.Remove(parseFileName)
	x.cache = openParseFile(dir, m.State(), 0)
	m.index.Store(x)
	return x
}

func (m *Mailbox) dropIndex() {
	m.index.Load().close()
	m.index.Store(nil)
	m.indexless = true
}

// close closes the files. What sessions may still read stays mapped.
func (x *index) close() {
	x.sync.Lock()
	defer x.sync.Unlock()
	x.broken.Store(true)
	if x.log != nil {
		_ = x.log.Close()
		x.log = nil
	}
	x.cache.close()
	x.texts.close()
	_ = x.dir.Close()
}

// readGUID reads a folder's GUID from the first line of its uidlist; "" when
// it has none.
func readGUID(folder durable.Dir) string {
	f, err := folder.Open(uidlistFile)
	if err != nil {
		return ""
	}
	defer f.Close()
	buf := make([]byte, maxUIDListLine)
	n, _ := f.ReadAt(buf, 0)
	line, _, ok := strings.Cut(string(buf[:n]), "\n")
	if !ok {
		return ""
	}
	h, err := parseUIDHeader(line)
	if err != nil {
		return ""
	}
	return h.guid
}

func sortInts(v []int) { slices.Sort(v) }

func splitFullName(full string) (base, guid string) {
	base, guid, _ = strings.Cut(full, "\x00")
	return base, guid
}
