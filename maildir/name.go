package maildir

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A message's file is called base + info. The base names the message and never
// changes while we look after it; the info says what has become of it:
//
//	1760000000.M123456P77Q5R0123456789abcdef.host,S=1204,W=1204:2,FSa,extra
//	\________________________ base ___________________________/\__ info __/
//
// A name in new/ mostly has no info. Other programs write any base they like:
// it is compared up to the first ':' and otherwise only searched for sizes.

// splitName cuts a file name into base and info; info is "" or begins with ':'.
func splitName(name string) (base, info string) {
	if i := strings.IndexByte(name, ':'); i >= 0 {
		return name[:i], name[i:]
	}
	return name, ""
}

// usableName reports whether a directory entry can be a message: not hidden, with
// a base, and with nothing that would break a line of dovecot-uidlist.
func usableName(name []byte) bool {
	if len(name) == 0 || name[0] == '.' || name[0] == ':' {
		return false
	}
	for _, c := range name {
		if c == '\n' || c == '\r' || c == 0 {
			return false
		}
	}
	return true
}

// nameSizes returns the ,S= and ,W= fields of a base: the file's size and its
// size with CRLF line ends. -1 stands for a field that is missing or not a number.
func nameSizes(base string) (stored, virtual int64) {
	stored, virtual = -1, -1
	_, fields, found := strings.Cut(base, ",")
	for found {
		var f string
		f, fields, found = strings.Cut(fields, ",")
		switch {
		case strings.HasPrefix(f, "S="):
			stored = parseSize(f[2:])
		case strings.HasPrefix(f, "W="):
			virtual = parseSize(f[2:])
		}
	}
	return stored, virtual
}

func parseSize(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 63)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// arrivalTime is the delivery time that a base claims. New messages get their UIDs
// in its order, as Dovecot gives them.
type arrivalTime struct{ sec, usec int64 }

func nameTime(base string) (t arrivalTime) {
	dot := strings.IndexByte(base, '.')
	if dot < 0 {
		return t
	}
	var err error
	if t.sec, err = strconv.ParseInt(base[:dot], 10, 63); err != nil {
		return arrivalTime{}
	}
	if rest := base[dot+1:]; len(rest) > 1 && rest[0] == 'M' {
		end := 1
		for end < len(rest) && end < 8 && rest[end] >= '0' && rest[end] <= '9' {
			end++
		}
		t.usec, _ = strconv.ParseInt(rest[1:end], 10, 63)
	}
	return t
}

// compare orders two arrivals; of the same time the base decides.
func (t arrivalTime) compare(o arrivalTime, base, oBase string) int {
	switch {
	case t.sec != o.sec:
		return cmp.Compare(t.sec, o.sec)
	case t.usec != o.usec:
		return cmp.Compare(t.usec, o.usec)
	}
	return strings.Compare(base, oBase)
}

// A namer makes bases that no other process makes: containers run many servers
// with process id 1 and one host name, so there are 64 random bits in each name.
type namer struct {
	now    func() time.Time
	pid    int
	random string
	host   string
	count  atomic.Uint64
	last   atomic.Int64 // see tick
}

func newNamer(now func() time.Time, host string) *namer {
	var r [8]byte
	_, _ = rand.Read(r[:])
	escaped := strings.NewReplacer("/", `\057`, ":", `\072`, ",", `\054`, "\n", "", "\r", "", "\x00", "").Replace(host)
	return &namer{now: now, pid: os.Getpid(), random: hex.EncodeToString(r[:]), host: escaped[:min(len(escaped), 64)]}
}

// unique returns a name without sizes, for tmp/.
func (n *namer) unique() string {
	return string(n.appendUnique(nil))
}

func (n *namer) appendUnique(b []byte) []byte {
	t := n.tick()
	b = append(strconv.AppendInt(b, t/1e6, 10), ".M"...)
	b = append(strconv.AppendInt(b, t%1e6, 10), 'P')
	b = append(strconv.AppendInt(b, int64(n.pid), 10), 'Q')
	b = append(strconv.AppendUint(b, n.count.Add(1), 10), 'R')
	return append(append(append(b, n.random...), '.'), n.host...)
}

// abandoned reports that a name in tmp/ is one of ours, made on this host by a
// process that is no more: only one of ours serves a tree at a time, and another may
// visit it, but whoever is dead finishes nothing.
func (n *namer) abandoned(name string) bool {
	unique, host, ok := strings.Cut(name, "."+n.host)
	if !ok || host != "" {
		return false
	}
	_, rest, _ := strings.Cut(unique, "P")
	pid, rest, ok := strings.Cut(rest, "Q")
	_, random, ok2 := strings.Cut(rest, "R")
	if !ok || !ok2 || len(random) != len(n.random) || random == n.random {
		return false
	}
	id, err := strconv.Atoi(pid)
	return err == nil && id > 0 && (id == n.pid || errors.Is(unix.Kill(id, 0), unix.ESRCH))
}

// tick is the time in microseconds, made later than that of all names before: UIDs
// are given in the order of names, and COPY must keep the order of its messages.
func (n *namer) tick() int64 {
	for {
		last := n.last.Load()
		t := max(n.now().UnixMicro(), last+1)
		if n.last.CompareAndSwap(last, t) {
			return t
		}
	}
}

// base returns a fresh base for a message of the given sizes; a size of -1 is
// left out: a wrong one would be worse than none.
func (n *namer) base(stored, virtual int64) string {
	b := n.appendUnique(make([]byte, 0, 128))
	if stored >= 0 {
		b = strconv.AppendInt(append(b, ",S="...), stored, 10)
	}
	if virtual >= 0 {
		b = strconv.AppendInt(append(b, ",W="...), virtual, 10)
	}
	return string(b)
}
