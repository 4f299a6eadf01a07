package account_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"buzon/internal/account"
	"buzon/internal/smtp"
)

const someAliases = `
# people may write here
info = ["ana", "luis@buzon.test"]
ventas = [
	"info",  # an alias of an alias
	"eva+ventas",
]
"sales.team" = ["ventas"]
luis = ["luis", "eva"]          # a copy to eva
"ana+shop" = ["luis"]
AyB = ["ana"]
nobody = ["gone"]
`

func parse(t testing.TB, s string) smtp.Address {
	t.Helper()
	a, err := smtp.ParsePath("<" + s + ">")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestResolve(t *testing.T) {
	h := newHouse(t, map[string]string{"aliases/buzon.test.toml": someAliases})
	h.add("ana@buzon.test", "luis@buzon.test", "eva@buzon.test", "max@xn--bcher-kva.test")
	for _, test := range []struct{ address, want string }{
		{"ana@buzon.test", "ana@buzon.test"},
		{"ANA@Buzon.Test", "ana@buzon.test"},
		{`"ana"@buzon.test`, "ana@buzon.test"},
		{"ana+Lists@buzon.test", "ana@buzon.test+Lists"},
		{"ana+a+b@buzon.test", "ana@buzon.test+a+b"},
		{"ana+@buzon.test", "ana@buzon.test"},
		{"ana+shop@buzon.test", "luis@buzon.test eva@buzon.test"},
		{"+x@buzon.test", "no such user"},
		{"info@buzon.test", "ana@buzon.test luis@buzon.test eva@buzon.test"},
		{"info+Net@buzon.test", "ana@buzon.test+Net luis@buzon.test+Net eva@buzon.test+Net"},
		{"ventas@buzon.test", "ana@buzon.test luis@buzon.test eva@buzon.test"},
		{"sales.team@buzon.test", "ana@buzon.test luis@buzon.test eva@buzon.test"},
		{"luis@buzon.test", "luis@buzon.test eva@buzon.test"},
		{"ayb@buzon.test", "ana@buzon.test"},
		{"nobody@buzon.test", "no such user"},
		{"zoe@buzon.test", "no such user"},
		{"max@bücher.test", "max@xn--bcher-kva.test"},
		{"zoe@bücher.test", "ana@buzon.test"}, // the catch-all
		{"postmaster", "ana@buzon.test"},      // the oldest account
		{"Postmaster@buzon.test", "ana@buzon.test"},
		{"abuse@buzon.test", "ana@buzon.test"},
		{"abuse@bücher.test", "max@xn--bcher-kva.test"},
		{"postmaster@mx.buzon.test", "ana@buzon.test"},
		{"postmaster@[192.0.2.1]", "ana@buzon.test"},
		{"abuse@[IPv6:2001:db8::1]", "ana@buzon.test"},
		{"ana@mx.buzon.test", "no such user"},
		{"ana@[192.0.2.1]", "not local"},
		{"ana@far.test", "not local"},
		{"postmaster@far.test", "not local"},
		{"ana%buzon.test@far.test", "not local"},
		{`"ana@buzon.test"@far.test`, "not local"},
		{"far%far.test@buzon.test", "no such user"},
		{`"far@far.test"@buzon.test`, "no such user"},
		{"far!far@buzon.test", "no such user"},
		{"", "not local"},
	} {
		var got string
		switch targets, err := h.Resolve(parse(t, test.address)); {
		case errors.Is(err, account.ErrNoSuchUser):
			got = "no such user"
		case errors.Is(err, account.ErrNotLocal):
			got = "not local"
		default:
			var list []string
			for _, target := range targets {
				s := string(target.Account)
				if target.Detail != "" {
					s += "+" + target.Detail
				}
				if target.Via != parse(t, test.address) {
					t.Errorf("%s: Via is %v", test.address, target.Via)
				}
				list = append(list, s)
			}
			got = strings.Join(list, " ")
		}
		if got != test.want {
			t.Errorf("Resolve(%s) = %s; want %s", test.address, got, test.want)
		}
	}
	if text := h.log.text(); !strings.Contains(text, "there is no gone@buzon.test") {
		t.Errorf("a member that does not exist is not told:\n%s", text)
	}
}

func TestOwns(t *testing.T) {
	h := newHouse(t, map[string]string{"aliases/buzon.test.toml": someAliases})
	h.add("ana@buzon.test", "luis@buzon.test", "eva@buzon.test")
	for _, test := range []struct {
		address string
		want    string // who owns it
	}{
		{"ana@buzon.test", "ana"},
		{"Ana+any@buzon.test", "ana"},
		{"info@buzon.test", "ana luis eva"},
		{"info+x@buzon.test", "ana luis eva"},
		{"ana+shop@buzon.test", "luis eva"},
		{"postmaster@buzon.test", "ana"},
		{"zoe@bücher.test", ""}, // the catch-all gives nothing
		{"zoe@buzon.test", ""},
		{"ana@far.test", ""},
		{"ana@mx.buzon.test", ""},
		{"ana@[127.0.0.1]", ""},
		{"postmaster", ""},
		{"", ""},
	} {
		var owners []string
		for _, name := range []string{"ana", "luis", "eva"} {
			if h.Owns(account.ID(name+"@buzon.test"), parse(t, test.address)) {
				owners = append(owners, name)
			}
		}
		if got := strings.Join(owners, " "); got != test.want {
			t.Errorf("%s is owned by %q; want %q", test.address, got, test.want)
		}
	}
}

func TestPostmaster(t *testing.T) {
	h := newHouse(t, nil)
	for _, name := range []string{"postmaster", "abuse@buzon.test"} {
		if _, err := h.Resolve(parse(t, name)); err == nil {
			t.Errorf("%s without any account", name)
		}
	}
	h.add("zoe@buzon.test", "ana@buzon.test")
	role := func(want account.ID) {
		t.Helper()
		targets, err := h.Resolve(parse(t, "postmaster@buzon.test"))
		if err != nil || len(targets) != 1 || targets[0].Account != want {
			t.Errorf("%v, %v; want %s", targets, err, want)
		}
	}
	role("zoe@buzon.test")
	if err := h.Configure([]account.Domain{{Name: "buzon.test", Postmaster: "Ana+pm@buzon.test"}}); err != nil {
		t.Fatal(err)
	}
	role("ana@buzon.test")
	if err := h.Remove(context.Background(), "ana@buzon.test"); err != nil {
		t.Fatal(err)
	}
	role("zoe@buzon.test") // whatever the configuration says, someone reads it
	h.write("aliases/buzon.test.toml", "postmaster = [\"eva\"]")
	h.add("eva@buzon.test")
	role("eva@buzon.test")
	for _, bad := range []account.Domain{
		{Name: "no domain"}, {Name: "[127.0.0.1]"}, {Name: ""},
		{Name: "a.test", CatchAll: "nonsense"}, {Name: "a.test", CatchAll: "x@far.test"}, {Name: "a.test", Postmaster: "@"},
	} {
		if err := h.Configure([]account.Domain{bad}); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
	role("eva@buzon.test")
}

func TestBadAliases(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"info = \"ana\"", "aliases/buzon.test.toml:1: info: this is a string"},
		{"\ninfo = []", "aliases/buzon.test.toml:2: info: an alias needs at least one member"},
		{"a = [\"b\"]\nb = [\"c\"]\nc = [\"a\"]", "aliases/buzon.test.toml:1: a: the alias leads back to itself or goes too deep: a@buzon.test → b@buzon.test → c@buzon.test → a@buzon.test"},
		{"x = [\"ana@[192.0.2.1]\"]", "aliases/buzon.test.toml:1: x: member \"ana@[192.0.2.1]\": mail is forwarded to plain addresses in domains only"},
		{"sales.team = [\"ana\"]", "aliases/buzon.test.toml:1: sales: "},
		{"Info = [\"ana\"]\ninfo = [\"ana\"]", "twice"},
		{"\"a b\" = [\"ana\"]", "must not contain ' '"},
		{"x = [\"a b\"]", "aliases/buzon.test.toml:1: x: member \"a b\""},
		{"x = [1]", "aliases/buzon.test.toml:1: x: "},
	} {
		h := newHouse(t, nil)
		h.add("ana@buzon.test")
		h.write("aliases/buzon.test.toml", test.text)
		if _, err := h.open(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v\nwant %q", test.text, err, test.want)
		}
		h.wait() // at run time nothing ends, whatever the aliases say
		h.Resolve(parse(t, "a@buzon.test"))
	}
}

func TestManyAliases(t *testing.T) {
	// A tree of aliases of ten members each would be 10^10 copies.
	var b strings.Builder
	for level := range 9 {
		fmt.Fprintf(&b, "level%d = [", level)
		for range 10 {
			fmt.Fprintf(&b, "\"level%d+%d\", ", level+1, b.Len())
		}
		b.WriteString("]\n")
	}
	h := newHouse(t, nil)
	h.add("level9@buzon.test")
	h.write("aliases/buzon.test.toml", b.String())
	h.wait()
	targets, err := h.Resolve(parse(t, "level0@buzon.test"))
	if err != nil || len(targets) != 1 {
		t.Errorf("%v, %v", targets, err)
	}
}

func TestAliasCommands(t *testing.T) {
	ctx := context.Background()
	h := newHouse(t, map[string]string{"aliases/buzon.test.toml": "# mine\nteam = [\n \"ana\",\n] # all of us\n\n# last\n"})
	h.add("ana@buzon.test", "luis@buzon.test")
	add := func(name string, members ...string) error { return h.AddAlias(ctx, parse(t, name), members) }
	for name, members := range map[string][]string{
		"team@buzon.test": {"luis"}, "sales.dep@buzon.test": {"team", "ANA"}, "niño@buzon.test": {"luis@buzon.test"},
	} {
		if err := add(name, members...); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if err := add("team@buzon.test", "sales.dep"); err == nil || !strings.Contains(err.Error(), "→") {
		t.Errorf("a loop: %v", err)
	}
	if err := add("luis@buzon.test", "ana"); err == nil || !strings.Contains(err.Error(), "is an account") {
		t.Errorf("an alias over an account: %v", err)
	}
	if err := add("luis@buzon.test", "ana", "luis"); err != nil {
		t.Errorf("a copy beside the account: %v", err)
	}
	var got []string
	for _, a := range h.Aliases() {
		got = append(got, fmt.Sprint(a.Name, " ", a.Members))
	}
	want := []string{
		"luis@buzon.test [ana@buzon.test luis@buzon.test]",
		"niño@buzon.test [luis@buzon.test]",
		"sales.dep@buzon.test [team@buzon.test ana@buzon.test]",
		"team@buzon.test [ana@buzon.test luis@buzon.test]",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	for _, gone := range []struct {
		name    string
		members []string
	}{{"team@buzon.test", []string{"ana"}}, {"sales.dep@buzon.test", nil}, {"niño@buzon.test", []string{"luis"}}, {"luis@buzon.test", nil}} {
		if err := h.RemoveAlias(ctx, parse(t, gone.name), gone.members); err != nil {
			t.Errorf("%s: %v", gone.name, err)
		}
	}
	if err := h.RemoveAlias(ctx, parse(t, "team@buzon.test"), []string{"ana"}); !errors.Is(err, account.ErrNotFound) {
		t.Errorf("a member twice: %v", err)
	}
	text, _ := os.ReadFile(filepath.Join(h.dir, "aliases/buzon.test.toml"))
	if got, want := string(text), "# mine\nteam = [\"luis@buzon.test\"]\n\n# last\n"; got != want {
		t.Errorf("the file is %q\nwant %q", got, want)
	}
}

// TestForwards: members in other domains are where mail goes too, as they are
// written, and they own nothing.
func TestForwards(t *testing.T) {
	h := newHouse(t, nil)
	h.add("ana@buzon.test")
	for _, alias := range [][]string{{"away@buzon.test", "Eva.M@far.test"}, {"both@buzon.test", "ana", "Eva.M@far.test"}, {"top@buzon.test", "both", "away", "x@other.test"}} {
		if err := h.AddAlias(t.Context(), parse(t, alias[0]), alias[1:]); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ address, accounts, outside string }{
		{"away@buzon.test", "", "Eva.M@far.test"},
		{"away+x@buzon.test", "", "Eva.M@far.test"},
		{"both@buzon.test", "ana@buzon.test", "Eva.M@far.test"},
		{"top@buzon.test", "ana@buzon.test", "Eva.M@far.test x@other.test"},
	} {
		route, err := h.Route(parse(t, tt.address))
		if err != nil {
			t.Fatal(err)
		}
		var accounts, outside []string
		for _, target := range route.Targets {
			accounts = append(accounts, string(target.Account))
		}
		for _, a := range route.Outside {
			outside = append(outside, a.String())
		}
		if strings.Join(accounts, " ") != tt.accounts || strings.Join(outside, " ") != tt.outside {
			t.Errorf("%s: accounts %q, outside %q", tt.address, accounts, outside)
		}
	}
	if _, err := h.Resolve(parse(t, "away@buzon.test")); !errors.Is(err, account.ErrNoSuchUser) {
		t.Errorf("accounts of an alias that only leads outside: %v", err)
	}
	if h.Owns("ana@buzon.test", parse(t, "away@buzon.test")) || !h.Owns("ana@buzon.test", parse(t, "both@buzon.test")) {
		t.Error("who may send as the alias")
	}
}
