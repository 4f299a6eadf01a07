package imapd_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"
)

// An asker is a connection for tests that look at all that a command answers.
type asker struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
	n    int

	welcome string // the answer to LOGIN
}

func (h *host) ask(t testing.TB, user string) *asker {
	t.Helper()
	nc := h.dial(t)
	a := &asker{t: t, conn: nc, r: bufio.NewReader(nc)}
	a.line()
	if a.welcome = a.do("LOGIN %s %q", user, password); !strings.Contains(a.welcome, " OK ") {
		t.Fatal(a.welcome)
	}
	return a
}

func (a *asker) line() string {
	a.t.Helper()
	a.conn.SetReadDeadline(time.Now().Add(2 * time.Minute))
	line, err := a.r.ReadString('\n')
	if err != nil {
		a.t.Fatal(err)
	}
	return line
}

// do sends a command and returns everything up to its tagged answer.
func (a *asker) do(format string, args ...any) string {
	a.t.Helper()
	a.n++
	tag := fmt.Sprintf("t%d", a.n)
	if _, err := fmt.Fprintf(a.conn, tag+" "+format+"\r\n", args...); err != nil {
		a.t.Fatal(err)
	}
	var all strings.Builder
	for {
		line := a.line()
		all.WriteString(line)
		if strings.HasPrefix(line, tag+" ") {
			return all.String()
		}
	}
}

func (a *asker) ok(format string, args ...any) {
	a.t.Helper()
	if got := a.do(format, args...); !strings.Contains(got, fmt.Sprintf("t%d OK", a.n)) {
		a.t.Fatalf(format+": %s", append(args, got)...)
	}
}

// Whatever rights an account has on another's mailbox: it can do what they allow by the table of RFC
// 4314 section 4 and nothing more; without l and what the command takes, every answer is the one
// that a mailbox gets which does not exist; and without r no byte of a message comes out.
func TestNobodyReachesOthers(t *testing.T) {
	const letters = "lrswipkxtea"
	h := newHost(t, nil)
	owner, guest := h.ask(t, ana), h.ask(t, luis)
	guest.ok("CREATE mine")
	guest.ok("APPEND mine {6+}\r\nabc\r\nd")
	owner.ok("CREATE door")
	owner.ok("SETACL door luis l")
	random := rand.New(rand.NewPCG(4314, 1))
	sets := []string{"", "l", "r", "a", "lr", letters}
	for range 50 {
		set := ""
		for _, c := range letters {
			if random.IntN(2) == 0 {
				set += string(c)
			}
		}
		sets = append(sets, set)
	}
	for i, set := range sets {
		name := fmt.Sprintf("box%d", i)
		owner.ok("CREATE %s", name)
		owner.ok("APPEND %s (\\Flagged) {25+}\r\nSubject: secret\r\n\r\nsecret", name)
		owner.ok("SETACL %s luis %q", name, set)
		checkGuest(t, owner, guest, name, set)
	}
}

func checkGuest(t *testing.T, owner, guest *asker, name, set string) {
	t.Helper()
	has := func(need string) bool {
		for _, c := range need {
			if !strings.ContainsRune(set, c) {
				return false
			}
		}
		return true
	}
	shown := "Other Users/ana@buzon.test/" + name
	absent := "Other Users/ana@buzon.test/absent"
	check := func(want bool, format, mailbox string) {
		t.Helper()
		command := strings.ReplaceAll(format, "BOX", fmt.Sprintf("%q", mailbox))
		got := guest.do("%s", command)
		done := strings.Contains(got, fmt.Sprintf("t%d OK", guest.n))
		if done != want {
			t.Errorf("rights %q: %s: %s", set, command, got)
		}
		if !has("r") && strings.Contains(got, "secret") {
			t.Errorf("rights %q: %s leaks %s", set, command, got)
		}
		if !want && !has("l") {
			none := guest.do("%s", strings.ReplaceAll(format, "BOX", fmt.Sprintf("%q", absent)))
			if strip(got) != strip(none) {
				t.Errorf("rights %q: %s: %q differs from the answer for what does not exist, %q", set, command, got, none)
			}
		}
	}
	if got := guest.do("LIST \"\" *"); strings.Contains(got, shown) != has("l") {
		t.Errorf("rights %q: %s", set, got)
	}
	guest.do("UNSELECT")
	check(has("r"), "STATUS BOX (MESSAGES SIZE)", shown)
	check(has("i"), "APPEND BOX {3+}\r\nabc", shown)
	check(has("a"), "GETACL BOX", shown)
	check(has("a"), "LISTRIGHTS BOX eva", shown)
	check(strings.ContainsAny(set, "lrikxa"), "MYRIGHTS BOX", shown)
	check(has("l") && strings.ContainsAny(set, "rswip"), "GETMETADATA BOX /shared/comment", shown)
	check(has("lw"), "SETMETADATA BOX (/shared/comment {1+}\r\nx)", shown)
	check(has("r"), "GETQUOTAROOT BOX", shown)
	check(has("r"), "APPEND mine CATENATE (URL \"/Other%20Users/ana@buzon.test/"+name+"/;UID=1\")", shown)
	guest.ok("SELECT mine")
	check(has("i"), "UID COPY 1 BOX", shown)
	guest.ok("UNSELECT")
	check(has("r"), "EXAMINE BOX", shown)
	guest.do("UNSELECT")
	check(has("r"), "SELECT BOX", shown)
	if has("r") {
		check(has("s"), "STORE 1 +FLAGS (\\Seen)", shown)
		check(has("t"), "STORE 1 +FLAGS (\\Deleted)", shown)
		check(has("w"), "STORE 1 +FLAGS (tag)", shown)
		check(true, "FETCH 1 BODY[]", shown)
		check(has("te"), "UID MOVE 1 mine", shown)
		check(has("e"), "EXPUNGE", shown)
		guest.ok("CLOSE")
	}
	check(has("k"), "CREATE \"Other Users/ana@buzon.test/"+name+"/below\"", shown)
	check(has("a"), "SETACL BOX eva l", shown)
	check(has("x"), "DELETE BOX", shown)
	if got := owner.do("STATUS %s (MESSAGES)", name); strings.Contains(got, " OK ") == has("x") {
		t.Errorf("rights %q: after DELETE %s", set, got)
	}
}

// strip takes the tag away, and what names the mailbox.
func strip(answer string) string {
	_, rest, _ := strings.Cut(answer, " ")
	return rest
}
