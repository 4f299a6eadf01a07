package ledger

import (
	"fmt"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"
)

// A Place is one copy of a message, as the host told of it.
type Place struct {
	Mailbox string
	UID     imap.UID // 0: not told
	Flags   string   // sorted, a space between two, without \Recent; "?": either of two
}

func (p Place) String() string { return fmt.Sprintf("%s/%d (%s)", p.Mailbox, p.UID, p.Flags) }

// matches reports that what is there is what p says.
func (p Place) matches(there Place) bool {
	return p.Mailbox == there.Mailbox && (p.UID == 0 || p.UID == there.UID) && (p.Flags == "?" || p.Flags == there.Flags)
}

// placesMatch reports that each of what is there is one of those expected, and
// none is left over.
func placesMatch(expected, there []Place) bool {
	if len(expected) != len(there) {
		return false
	}
	left := slices.Clone(expected)
	// Those whose UID is known first: the others match more.
	slices.SortFunc(left, func(a, b Place) int { return int(int64(b.UID) - int64(a.UID)) })
	rest := slices.Clone(there)
	for _, p := range left {
		i := slices.IndexFunc(rest, p.matches)
		if i < 0 {
			return false
		}
		rest = slices.Delete(rest, i, i+1)
	}
	return true
}

// A Fate is what is known of a message that a Keeper looks after.
type Fate struct {
	ID, Account string
	Sum         string     // "" where the keeper has only seen it
	Places      []Place    // as the last answered operation left it
	Next        []Place    // as the operation in flight leaves it
	InFlight    *Operation // nil: none; once the host died under it, for ever
}

// An Operation is a command on several messages that was not answered yet.
type Operation struct {
	Name string
	// Whole: it is done on all of its messages or on none.
	Whole bool
}

// flagText is a list of flags as a Place has it.
func flagText(flags []imap.Flag) string {
	var all []string
	for _, f := range flags {
		if !strings.EqualFold(string(f), `\Recent`) {
			all = append(all, string(f))
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// adopt puts a message into the keepers' care, unless it is there already: the
// keeper has put it where it finds it, or a command on it is in flight.
func (l *Ledger) adopt(f *Fate) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fates[f.ID] != nil {
		return false
	}
	l.fates[f.ID] = f
	for _, p := range f.Places {
		l.tell(f.Account, p, f.ID)
	}
	return true
}

// begin notes what an operation is about to make of a message.
func (l *Ledger) begin(op *Operation, f *Fate, next []Place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f.InFlight, f.Next = op, next
}

// done notes that the operation was answered with OK, and where that left the
// message.
func (l *Ledger) done(f *Fate, places []Place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range f.Places {
		if !slices.ContainsFunc(places, func(q Place) bool { return p.Mailbox == q.Mailbox && p.UID == q.UID }) {
			l.gone[told{f.Account, p.Mailbox, p.UID}] = true
		}
	}
	f.Places, f.Next, f.InFlight = places, nil, nil
	for _, p := range places {
		l.tell(f.Account, p, f.ID)
	}
	l.operations++
	l.wake()
}

// told is a UID as a client knows it.
type told struct {
	account, mailbox string
	uid              imap.UID
}

// tell notes which message a UID was said to be. The ledger's lock is held.
func (l *Ledger) tell(account string, p Place, id string) {
	if p.UID != 0 {
		l.uids[told{account, p.Mailbox, p.UID}] = id
	}
}

// Operations is the number of operations on messages in keepers' care that were
// answered for.
func (l *Ledger) Operations() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.operations
}

// Contradictions compares what a client is shown of a mailbox with all that clients
// were told of it before: a UID is always the same message, and one that was told
// to be gone stays gone. What it is shown counts as told from now on.
func (l *Ledger) Contradictions(account, mailbox string, look func() (map[imap.UID]string, error)) (wrong []string, err error) {
	l.mu.Lock()
	gone := map[imap.UID]bool{}
	for t := range l.gone {
		if t.account == account && t.mailbox == mailbox {
			gone[t.uid] = true
		}
	}
	l.mu.Unlock()
	ids, err := look() // meanwhile more may go, which is no contradiction
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for uid, id := range ids {
		t := told{account, mailbox, uid}
		if was, ok := l.uids[t]; ok && was != id {
			wrong = append(wrong, fmt.Sprintf("%s %s: UID %d is %s, and was %s", account, mailbox, uid, id, was))
		}
		if gone[uid] {
			wrong = append(wrong, fmt.Sprintf("%s %s: UID %d was told to be gone", account, mailbox, uid))
		}
		l.uids[t] = id
	}
	return wrong, nil
}
