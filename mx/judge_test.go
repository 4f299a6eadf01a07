package mx_test

import (
	"bufio"
	"crypto/ed25519"
	"encoding/base64"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"buzon/internal/message"
	"buzon/internal/smtp"
	"buzon/mx"
	"buzon/mx/dkim"
	"buzon/mx/dmarc"
	"buzon/mx/dns"
	"buzon/mx/dns/dnstest"
)

var update = flag.Bool("update", false, "write what the files want anew")

// testKey signs for every domain of these tests, under the selector "s".
var testKey = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

func keyRecord(domain string) string {
	pub := base64.StdEncoding.EncodeToString(testKey.Public().(ed25519.PublicKey))
	return fmt.Sprintf("s._domainkey.%s. TXT \"v=DKIM1; k=ed25519; p=%s\"\n", domain, pub)
}

func signAs(t testing.TB, domain, text string) string {
	t.Helper()
	r := bufio.NewReader(strings.NewReader(text))
	h, err := message.ReadHeader(r, message.HeaderLimits{})
	if err != nil {
		t.Fatal(err)
	}
	field, err := dkim.Sign([]dkim.Key{{Domain: domain, Selector: "s", Private: testKey}}, h, r)
	if err != nil {
		t.Fatal(err)
	}
	return string(field) + text
}

// TestJudgeFiles: each file is a session ("address helo reverse-path [domain
// that signs]") and a message in the world of testdata/judge/zone, and wants an
// action, a reply and fields.
func TestJudgeFiles(t *testing.T) {
	zone, err := os.ReadFile("testdata/judge/zone")
	if err != nil {
		t.Fatal(err)
	}
	all := string(zone)
	for _, d := range []string{"legit.test", "attack.test", "plain.test"} {
		all += keyRecord(d)
	}
	r := dnstest.NewClient(t, all)
	files, err := filepath.Glob("testdata/judge/*.txt")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			given, want, ok := strings.Cut(string(text), "-- want --\n")
			session, msg, ok2 := strings.Cut(strings.TrimPrefix(given, "-- session --\n"), "-- message --\n")
			if !ok || !ok2 {
				t.Fatal("a section is missing")
			}
			got := judgeCase(t, r, strings.Fields(session), strings.ReplaceAll(msg, "\n", "\r\n"))
			if *update {
				if err := os.WriteFile(file, []byte(given+"-- want --\n"+got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
			if strings.Contains(filepath.Base(file), "espoofer") && (!strings.HasPrefix(got, "refuse 550") || strings.Contains(got, "dmarc=pass")) {
				t.Errorf("a forgery got through:\n%s", got)
			}
		})
	}
}

var signatureValue = regexp.MustCompile(`header\.b=\S+`)

func judgeCase(t *testing.T, r *dns.Client, session []string, msg string) string {
	t.Helper()
	from, err := smtp.ParsePath(session[2])
	if err != nil {
		t.Fatal(err)
	}
	if len(session) > 3 {
		msg = signAs(t, session[3], msg)
	}
	reports := 0
	j := mx.NewJudge(mx.JudgeConfig{Hostname: "mx.buzon.test", Resolver: r, Observe: func(dmarc.Observation) { reports++ }})
	v, err := j.Judge(t.Context(), mx.Arrival{
		IP: netip.MustParseAddr(session[0]), Helo: session[1], From: from, To: smtp.Address{Local: "victim", Domain: "buzon.test"},
		Content: strings.NewReader(msg), Size: int64(len(msg)),
	})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString(v.Action.String())
	if v.Reply != nil {
		fmt.Fprintf(&b, " %v", v.Reply)
	}
	fmt.Fprintf(&b, "\nreason: %s\nobserved: %d\n%s", v.Reason, reports, v.Fields)
	return strings.ReplaceAll(signatureValue.ReplaceAllString(b.String(), "header.b=*"), "\r\n", "\n")
}
