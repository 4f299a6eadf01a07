package sieve

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"buzon/internal/smtp"
)

func compile(t testing.TB, script string) *Script {
	t.Helper()
	s, err := Compile([]byte(script))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestExtensionsAreSorted(t *testing.T) {
	if !slices.IsSorted(Extensions()) {
		t.Error(Extensions())
	}
}

func TestRefuses(t *testing.T) {
	if compile(t, "keep;").Refuses() || !compile(t, `require "ereject";`).Refuses() {
		t.Error("Refuses")
	}
}

// Scripts that would take long end with ErrLimit, and the message is kept.
func TestWorkIsBounded(t *testing.T) {
	long := strings.Repeat("a", 60_000)
	message := testMessage("X-Long: " + long + "\n\n" + strings.Repeat(long, 50))
	keys := `"` + strings.Repeat("a", 300) + `b*c"`
	for name, script := range map[string]string{
		"glob":  `require "body"; if body :raw :matches [` + strings.Repeat(`"*`+keys[1:]+`,`, 50) + `"x"] { discard; }`,
		"regex": `require ["body", "regex"]; if body :raw :regex [` + strings.Repeat(`"(a?){50}(a*)*b",`, 50) + `"x"] { discard; }`,
		"steps": strings.Repeat(`if anyof (`+strings.Repeat(`header :contains "x-long" "b",`, 100)+`false) { discard; } `, 60),
	} {
		s := compile(t, script)
		o, err := s.Run(t.Context(), message, Environment{Now: time.Unix(0, 0)})
		if !errors.Is(err, ErrLimit) || len(o.Filings) != 1 {
			t.Errorf("%s: %v %+v", name, err, o)
		}
	}
}

// A value is cut where a character ends.
func TestVariableIsCut(t *testing.T) {
	s := compile(t, `require ["variables", "fileinto"]; set "a" "`+strings.Repeat("ñ", 500)+`"; set "b" "${a}${a}${a}${a}${a}${a}${a}${a}xñ${a}";
		set :length "n" "${b}"; fileinto "${n}";`)
	o, err := s.Run(t.Context(), testMessage("\n\n"), Environment{})
	// 8 * 1000 + 1 + 2 + 189 bytes would be 8192, but the last character ends at 8191.
	if err != nil || o.Filings[0].Mailbox != "4096" {
		t.Errorf("%+v %v", o.Filings, err)
	}
}

func TestNestingIsBounded(t *testing.T) {
	for _, script := range []string{
		"if " + strings.Repeat("not ", 40) + "true {}",
		strings.Repeat("if true {", 40) + strings.Repeat("}", 40),
	} {
		var e *Error
		if _, err := Compile([]byte(script)); !errors.As(err, &e) || !strings.Contains(e.Text, "nested") {
			t.Errorf("%.40s: %v", script, err)
		}
	}
	compile(t, "if "+strings.Repeat("not ", 20)+"true {}")
}

// What :matches means is what the same pattern says as a regular expression
// whose asterisks take as little as they can.
func TestGlobAgreesWithRegexp(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(from string, n int) string {
		var b strings.Builder
		for range random.IntN(n) {
			b.WriteByte(from[random.IntN(len(from))])
		}
		return b.String()
	}
	matches := 0
	for range 20_000 {
		pattern, s := pick("ab?**", 7), pick("abA", 9)
		re := "(?s)^" + strings.NewReplacer("*", "(.*?)", "?", "(.)").Replace(pattern) + "$"
		want := regexp.MustCompile(re).FindStringSubmatch(strings.ToLower(s))
		got, ok, err := compileGlob(pattern, false, asciiLower).match(&run{ctx: t.Context()}, s)
		if err != nil || ok != (want != nil) {
			t.Fatalf("%q %q: %v %v, want %q", pattern, s, ok, err, want)
		}
		if !ok {
			continue
		}
		matches++
		for i := range got {
			got[i] = strings.ToLower(got[i])
		}
		// Wildcards in a row of "?" come after the asterisk before them in both.
		if !slices.Equal(got, want) {
			t.Fatalf("%q %q: %q, want %q", pattern, s, got, want)
		}
	}
	if matches < 300 {
		t.Errorf("only %d matches", matches)
	}
}

func scripts(f *testing.F) (all []testCase) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for section := range strings.SplitSeq(string(text), "== script\n") {
			script, rest, _ := strings.Cut(section, "\n== ")
			_, message, _ := strings.Cut(rest, "message\n")
			message, _, _ = strings.Cut(message, "\n== ")
			all = append(all, testCase{script: script, message: message})
		}
	}
	return all
}

// Whatever a script and a message hold, compiling and running end, an error
// names its line, and an error of a run loses nothing.
func FuzzScript(f *testing.F) {
	for _, c := range scripts(f) {
		f.Add([]byte(c.script), []byte(c.message))
	}
	f.Fuzz(func(t *testing.T, script, message []byte) {
		s, err := Compile(script)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Line < 1 || e.Line > 1+strings.Count(string(script), "\n") {
				t.Fatalf("%v", err)
			}
			return
		}
		o, err := s.Run(t.Context(), testMessage(string(message)), Environment{
			From: smtp.Address{Local: "a", Domain: "b.test"}, To: smtp.Address{Local: "c", Domain: "d.test"}, Now: time.Unix(0, 0), Host: "h.test",
		})
		if err != nil && (len(o.Filings) != 1 || o.Filings[0].Mailbox != "" || o.Rejection != nil) {
			t.Fatalf("%v, and %+v", err, o)
		}
		if o.Rejection != nil && len(o.Filings)+len(o.Redirects) > 0 {
			t.Fatalf("rejected and kept: %+v", o)
		}
		for _, filing := range o.Filings {
			if h := filing.Header; h != nil && !strings.HasSuffix(string(h), "\r\n\r\n") && string(h) != "\r\n" {
				t.Fatalf("a header that does not end: %q", h)
			}
		}
	})
}
