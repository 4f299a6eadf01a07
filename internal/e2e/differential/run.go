// Package differential puts two IMAP servers to the same random but valid commands, over one to four sessions on copies of one Maildir tree,
// and compares what they answer. It knows nothing of the servers but the protocol: whatever a client could tell apart is a difference, unless
// differences.go lists it with the passage that decides it.
package differential

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
)

// A Server serves copies of trees.
type Server interface {
	Name() string
	// Serve begins with the tree below dir, a Maildir, which is the server's alone from now on.
	Serve(dir string) (Account, error)
}

// An Account is one served tree.
type Account interface {
	// Dial opens a connection that is logged in, or says by which command it gets so; the greeting is not read yet.
	Dial() (conn net.Conn, login string, err error)
	Close() error
}

// A Difference is an answer that the two servers give differently.
type Difference struct {
	Seed     uint64
	Command  string
	Ours     []string
	Theirs   []string
	Dialogue []string // up to there, as ours had it
}

func (d *Difference) String() string {
	return fmt.Sprintf("seed %d: %s\n  only ours:\n    %s\n  only theirs:\n    %s\n  after:\n    %s", d.Seed, d.Command,
		strings.Join(d.Ours, "\n    "), strings.Join(d.Theirs, "\n    "), strings.Join(d.Dialogue, "\n    "))
}

// Run plays the sequence of a seed. ours and theirs are empty directories for the two copies.
func Run(seed uint64, ours, theirs Server, dirs [2]string, corpus [][]byte) (*Difference, error) {
	random := rand.New(rand.NewPCG(seed, 4))
	tree := newTree(random, corpus)
	r := &run{random: random, names: tree.names(), sizes: tree.sizes(), condstore: random.IntN(3) == 0}
	for i, s := range []Server{ours, theirs} {
		if err := tree.write(dirs[i]); err != nil {
			return nil, err
		}
		account, err := s.Serve(dirs[i])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name(), err)
		}
		defer account.Close()
		r.accounts[i] = account
	}
	d, err := r.play(1 + random.IntN(4))
	if errors.Is(err, errStop) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("seed %d: %w\n%s", seed, err, strings.Join(r.dialogue, "\n"))
	}
	if d != nil {
		d.Seed, d.Dialogue = seed, r.dialogue
	}
	return d, nil
}

// errStop ends a sequence early: the servers did what both may, and what comes next cannot be compared.
var errStop = errors.New("the mailboxes are different")

// run is one sequence being played.
type run struct {
	random   *rand.Rand
	accounts [2]Account
	sessions []*session
	names    []string // of mailboxes that exist or existed
	sizes    []string // of messages that were there in the beginning
	dialogue []string
	played   []string // commands

	condstore bool // all sessions use mod-sequences
}

// session is one client, twice: with each server.
type session struct {
	number int
	conns  [2]*conn
	*knowledge
}

// steps is how many commands a sequence has.
const steps = 22

func (r *run) play(clients int) (*Difference, error) {
	defer func() {
		for _, s := range r.sessions {
			for _, c := range s.conns {
				if c != nil {
					c.Close()
				}
			}
		}
	}()
	for i := range clients {
		s := &session{number: i + 1, knowledge: newKnowledge()}
		r.sessions = append(r.sessions, s)
		for k, account := range r.accounts {
			c, err := open(account)
			if err != nil {
				return nil, err
			}
			s.conns[k] = c
		}
		for _, command := range r.opening() {
			if d, err := r.both(s, command); d != nil || err != nil {
				return d, err
			}
		}
	}
	for range steps {
		s := r.sessions[r.random.IntN(len(r.sessions))]
		for _, command := range r.next(s) {
			if d, err := r.both(s, command); d != nil || err != nil {
				return d, err
			}
		}
	}
	return nil, nil
}

// both sends a command to both servers and compares. Literals in it are non-synchronizing; {highest} stands for the HIGHESTMODSEQ that
// each of them has shown last.
func (r *run) both(s *session, command string) (*Difference, error) {
	var answers [2]*answer
	r.dialogue = append(r.dialogue, fmt.Sprintf("%d> %.300q", s.number, command))
	for k, c := range s.conns {
		do := c.settled
		if verb, _, _ := strings.Cut(command, " "); strings.Contains("SELECT EXAMINE CLOSE UNSELECT ENABLE", verb) {
			do = c.do
		}
		a, err := do(command)
		if err != nil {
			return nil, fmt.Errorf("%s to %s: %w", command, []string{"ours", "theirs"}[k], err)
		}
		answers[k] = a
	}
	for _, line := range answers[0].raw {
		r.dialogue = append(r.dialogue, fmt.Sprintf("%d< %.300q", s.number, line))
	}
	ours, theirs := answers[0].normal(s, command), answers[1].normal(s, command)
	ours, theirs = r.withoutCounts(ours), r.withoutCounts(theirs)
	onlyOurs, onlyTheirs := subtract(ours, theirs), subtract(theirs, ours)
	onlyOurs, onlyTheirs, stop := allowed(command, r.played, onlyOurs, onlyTheirs)
	if len(onlyOurs)+len(onlyTheirs) > 0 {
		for _, line := range answers[1].raw {
			r.dialogue = append(r.dialogue, fmt.Sprintf("%d< theirs: %.300q", s.number, line))
		}
		return &Difference{Command: fmt.Sprintf("%.400q", command), Ours: onlyOurs, Theirs: onlyTheirs}, nil
	}
	s.learn(command, answers[0])
	r.played = append(r.played, command)
	if stop {
		return nil, errStop
	}
	return nil, nil
}

// withoutCounts leaves out what STATUS says of mailboxes that are selected: Dovecot counts as the session was told, we as it is.
func (r *run) withoutCounts(lines []string) []string {
	return slices.DeleteFunc(lines, func(line string) bool {
		return slices.ContainsFunc(r.sessions, func(s *session) bool { return strings.HasPrefix(line, fmt.Sprintf("STATUS %q ", s.selected)) })
	})
}

// subtract returns what a has and b has not; both are sorted, and may hold things twice.
func subtract(a, b []string) (rest []string) {
	j := 0
	for _, x := range a {
		for j < len(b) && b[j] < x {
			j++
		}
		if j < len(b) && b[j] == x {
			j++
			continue
		}
		rest = append(rest, x)
	}
	return rest
}
