package ledger

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/emersion/go-imap/v2"
)

// A Keeper is a client that does everything with messages: it appends, flags,
// copies, moves and expunges them, one command after another, in the mailboxes of
// one user, and notes what was answered. Two keepers never touch the same message.
type Keeper struct {
	Append             // how to log in; its Mailbox is not used
	Mailboxes []string // where it works
	// Takes: messages in the first mailbox with this sender become the keeper's.
	Takes string

	mine     []*Fate
	selected string
	seen     imap.UID // in the first mailbox
}

// most is how many messages a keeper looks after before it would rather expunge.
const most = 40

// Run works until ctx ends.
func (k *Keeper) Run(ctx context.Context, l *Ledger) error {
	defer k.Close()
	for ctx.Err() == nil {
		step, cancel := context.WithTimeout(ctx, patience)
		err := k.step(step, l)
		cancel()
		if err == nil {
			continue
		}
		// Whatever was under way stays in flight, and its messages are left alone.
		k.Close()
		k.selected = ""
		k.mine = slices.DeleteFunc(k.mine, func(f *Fate) bool { return f.InFlight != nil })
		select {
		case <-ctx.Done():
		case <-time.After(reconnectAfter):
		}
	}
	return nil
}

func (k *Keeper) step(ctx context.Context, l *Ledger) error {
	if k.client == nil {
		if err := k.connect(ctx); err != nil {
			return err
		}
	}
	client := k.client
	defer context.AfterFunc(ctx, func() { client.Close() })()
	mailbox := k.Mailboxes[rand.IntN(len(k.Mailboxes))]
	if k.selected != mailbox {
		if _, err := client.Select(mailbox, nil).Wait(); err != nil {
			return err
		}
		k.selected = mailbox
	}
	if k.Takes != "" && mailbox == k.Mailboxes[0] {
		if err := k.take(l); err != nil {
			return err
		}
	}
	some := k.some(mailbox)
	do := rand.IntN(6)
	if len(k.mine) > most {
		do = 4 + rand.IntN(2)
	}
	switch {
	case do == 0 || len(some) == 0:
		return k.append(l, mailbox)
	case do == 1:
		return k.store(l, some[:1], mailbox)
	case do == 2:
		return k.copy(l, some, mailbox)
	case do == 3 || do == 4 && k.Takes != "":
		return k.move(l, some, mailbox)
	default:
		return k.expunge(l, some, mailbox)
	}
}

// some picks up to five messages in a mailbox, each with its place there.
func (k *Keeper) some(mailbox string) (some []held) {
	for _, i := range rand.Perm(len(k.mine)) {
		f := k.mine[i]
		at := slices.IndexFunc(f.Places, func(p Place) bool { return p.Mailbox == mailbox })
		if at >= 0 {
			some = append(some, held{f, at})
		}
		if len(some) == 1+rand.IntN(5) {
			break
		}
	}
	return some
}

// held is one place of a message.
type held struct {
	*Fate
	at int
}

func uidSet(some []held) (set imap.UIDSet) {
	for _, h := range some {
		set.AddNum(h.Places[h.at].UID)
	}
	return set
}

// with returns the places with the one that is held replaced, or removed by nil.
func (h held) with(p *Place) []Place {
	places := slices.Delete(slices.Clone(h.Places), h.at, h.at+1)
	if p != nil {
		places = append(places, *p)
	}
	return places
}

// take makes the messages of strangers that have come since the keeper's own.
func (k *Keeper) take(l *Ledger) error {
	set := imap.UIDSet{}
	set.AddRange(k.seen+1, 0)
	found, err := k.client.Fetch(set, &imap.FetchOptions{UID: true, Flags: true, Envelope: true}).Collect()
	if err != nil {
		return err
	}
	for _, m := range found {
		if m.UID <= k.seen || m.Envelope == nil || len(m.Envelope.From) == 0 || m.Envelope.From[0].Addr() != k.Takes {
			continue
		}
		f := &Fate{ID: m.Envelope.MessageID, Account: k.User, Places: []Place{{k.Mailboxes[0], m.UID, flagText(m.Flags)}}}
		if l.adopt(f) {
			k.mine = append(k.mine, f)
		}
	}
	for _, m := range found {
		k.seen = max(k.seen, m.UID)
	}
	return nil
}

func (k *Keeper) append(l *Ledger, mailbox string) error {
	m := NewMessage(k.User, k.User)
	f := &Fate{ID: m.ID, Account: k.User, Sum: m.Sum}
	l.adopt(f)
	l.begin(&Operation{Name: "APPEND"}, f, []Place{{Mailbox: mailbox, Flags: `\Seen`}})
	k.mine = append(k.mine, f)
	cmd := k.client.Append(mailbox, int64(len(m.Raw)), &imap.AppendOptions{Flags: []imap.Flag{imap.FlagSeen}})
	if _, err := cmd.Write(m.Raw); err != nil {
		return err
	}
	if err := cmd.Close(); err != nil {
		return err
	}
	data, err := cmd.Wait()
	if err != nil {
		return err
	}
	l.done(f, []Place{{mailbox, data.UID, `\Seen`}})
	return nil
}

// labels are what STORE sets.
var labels = []imap.Flag{imap.FlagSeen, imap.FlagFlagged, imap.FlagAnswered, imap.FlagDraft, "$Ledger", "Kept"}

func (k *Keeper) store(l *Ledger, some []held, mailbox string) error {
	var flags []imap.Flag
	for _, f := range labels {
		if rand.IntN(2) == 0 {
			flags = append(flags, f)
		}
	}
	op := &Operation{Name: "STORE"}
	for _, h := range some {
		l.begin(op, h.Fate, h.with(&Place{mailbox, h.Places[h.at].UID, flagText(flags)}))
	}
	change := &imap.StoreFlags{Op: imap.StoreFlagsSet, Flags: flags, Silent: rand.IntN(2) == 0}
	if err := k.client.Store(uidSet(some), change, nil).Close(); err != nil {
		return err
	}
	for _, h := range some {
		l.done(h.Fate, h.Next)
	}
	return nil
}

// other is another mailbox than this.
func (k *Keeper) other(than string) string {
	for {
		if m := k.Mailboxes[rand.IntN(len(k.Mailboxes))]; m != than {
			return m
		}
	}
}

func (k *Keeper) copy(l *Ledger, some []held, mailbox string) error {
	to := k.other(mailbox)
	op := &Operation{Name: "COPY", Whole: true}
	for _, h := range some {
		l.begin(op, h.Fate, append(slices.Clone(h.Places), Place{Mailbox: to, Flags: h.Places[h.at].Flags}))
	}
	data, err := k.client.Copy(uidSet(some), to).Wait()
	if err != nil {
		return err
	}
	return k.arrived(l, some, data.SourceUIDs, data.DestUIDs, func(h held, uid imap.UID) []Place {
		return append(slices.Clone(h.Places), Place{to, uid, h.Places[h.at].Flags})
	})
}

func (k *Keeper) move(l *Ledger, some []held, mailbox string) error {
	to := k.other(mailbox)
	op := &Operation{Name: "MOVE"} // a crash may find some of them moved
	for _, h := range some {
		l.begin(op, h.Fate, h.with(&Place{Mailbox: to, Flags: h.Places[h.at].Flags}))
	}
	data, err := k.client.Move(uidSet(some), to).Wait()
	if err != nil {
		return err
	}
	return k.arrived(l, some, data.SourceUIDs, data.DestUIDs, func(h held, uid imap.UID) []Place {
		return h.with(&Place{to, uid, h.Places[h.at].Flags})
	})
}

// arrived notes an answer with COPYUID, which names each message.
func (k *Keeper) arrived(l *Ledger, some []held, from, to imap.NumSet, places func(held, imap.UID) []Place) error {
	src, ok := from.(imap.UIDSet)
	dst, ok2 := to.(imap.UIDSet)
	if !ok || !ok2 {
		return errors.New("COPYUID is missing")
	}
	srcs, _ := src.Nums()
	dsts, _ := dst.Nums()
	if len(srcs) != len(some) || len(dsts) != len(some) {
		return errors.New("COPYUID names too few: " + src.String() + " " + dst.String())
	}
	for _, h := range some {
		i := slices.Index(srcs, h.Places[h.at].UID)
		if i < 0 {
			return errors.New("COPYUID names another message: " + src.String())
		}
		l.done(h.Fate, places(h, dsts[i]))
	}
	return nil
}

func (k *Keeper) expunge(l *Ledger, some []held, mailbox string) error {
	op := &Operation{Name: "EXPUNGE"}
	for _, h := range some {
		places := slices.Clone(h.Places)
		places[h.at].Flags = "?" // with \Deleted, or without it yet
		h.Fate.Places = places
		l.begin(op, h.Fate, h.with(nil))
	}
	set := uidSet(some)
	change := &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}, Silent: true}
	if err := k.client.Store(set, change, nil).Close(); err != nil {
		return err
	}
	if err := k.client.UIDExpunge(set).Close(); err != nil {
		return err
	}
	for _, h := range some {
		l.done(h.Fate, h.Next)
	}
	k.mine = slices.DeleteFunc(k.mine, func(f *Fate) bool { return len(f.Places) == 0 })
	return nil
}
