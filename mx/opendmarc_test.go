package mx_test

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-milter"

	"buzon/internal/e2e/child"
	"buzon/internal/smtp"
	"buzon/mx"
	"buzon/mx/dns"
	"buzon/mx/dns/dnstest"
)

// author is an Author Domain of testdata/opendmarc/authors.txt.
type author struct {
	domain  string
	differs string // why opendmarc may come to another result; "" when it may not
}

func readAuthors(t *testing.T) (list []author, zone string) {
	t.Helper()
	text, err := os.ReadFile("testdata/opendmarc/authors.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch name, rest, _ := strings.Cut(line, " "); {
		case line == "" || name == "#":
		case name == "author":
			list = append(list, author{domain: rest})
		case name == "differs":
			list[len(list)-1].differs = rest
		default:
			zone += line + "\n"
		}
	}
	return list, zone
}

// letter is a message of the comparison.
type letter struct {
	author   author
	what     string
	envelope string // domain of the reverse-path
	ip       string
	signers  []string
	broken   bool // the body was changed after it was signed
}

const (
	allowed = "192.0.2.1" // by SPF of every domain
	foreign = "203.0.113.9"
)

// letters makes n messages: every author has some, and who sends and signs them
// is himself, a domain above or below, or somebody else.
func letters(authors []author, n int) (list []letter) {
	random := rand.New(rand.NewPCG(9989, 7489))
	for i := range n {
		a := authors[i%len(authors)]
		_, above, _ := strings.Cut(a.domain, ".")
		near := []string{a.domain, "mail." + a.domain, "other.test", "test.other.test"}
		if strings.Contains(above, ".") {
			near = append(near, above, "news."+above)
		}
		some := func() string { return near[random.IntN(len(near))] }
		l := letter{author: a, envelope: some(), ip: []string{allowed, foreign}[random.IntN(2)], broken: random.IntN(3) == 0}
		for range random.IntN(3) {
			l.signers = append(l.signers, some())
		}
		l.what = fmt.Sprintf("%03d from %s, envelope %s from %s, signed by %v, broken %t", i, a.domain, l.envelope, l.ip, l.signers, l.broken)
		list = append(list, l)
	}
	return list
}

func (l letter) text(t *testing.T) string {
	t.Helper()
	msg := "From: <ana@" + l.author.domain + ">\r\nTo: <luis@buzon.test>\r\nSubject: hola\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@x.test>\r\n\r\nhola\r\n"
	for _, s := range l.signers {
		msg = signAs(t, s, msg)
	}
	if l.broken {
		msg += "changed\r\n"
	}
	return msg
}

// TestOpenDMARC gives 200 messages to our Judge, and with what he has found of
// SPF and DKIM to Debian's opendmarc. Both must come to the same, but for what
// RFC 9989 has changed.
func TestOpenDMARC(t *testing.T) {
	for _, program := range []string{"/usr/sbin/opendmarc", "gcc"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%s is not installed", program)
			}
			t.Skipf("%s is not installed", program)
		}
	}
	authors, zone := readAuthors(t)
	list := letters(authors, 200)
	known := make(map[string]bool)
	for _, l := range list {
		for _, d := range append([]string{l.author.domain, l.envelope}, l.signers...) {
			if known[d] {
				continue
			}
			known[d] = true
			zone += keyRecord(d) + d + ". TXT \"v=spf1 ip4:" + allowed + " -all\"\n"
			if !strings.HasPrefix(d, "ghost.") {
				zone += d + ". MX 10 mx.test.\n"
			}
		}
	}
	z, err := dnstest.Parse(zone)
	if err != nil {
		t.Fatal(err)
	}
	server := dnstest.Start(t, z)
	r, err := dns.New(dns.Config{Servers: []string{server.Addr()}, Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	var ours, texts []string
	for _, l := range list {
		result, text := judged(t, r, l)
		ours, texts = append(ours, result), append(texts, text)
	}
	theirs := opendmarc(t, server.Addr(), list, texts)
	differed := make(map[string]int)
	for i, l := range list {
		if ours[i] == theirs[i] {
			continue
		}
		differed[l.author.domain]++
		if l.author.differs == "" {
			t.Errorf("%s: we say %s, opendmarc says %s", l.what, ours[i], theirs[i])
		} else {
			t.Logf("%s: we say %s, opendmarc says %s: %s", l.what, ours[i], theirs[i], l.author.differs)
		}
	}
	for _, a := range authors {
		if a.differs != "" && differed[a.domain] == 0 {
			t.Errorf("%s should differ (%s), and does not", a.domain, a.differs)
		}
	}
	for _, want := range []string{"pass none", "fail reject", "fail quarantine", "fail none", "none none"} {
		if !slices.Contains(ours, want) {
			t.Errorf("no message came to %q", want)
		}
	}
}

var (
	dmarcClause = regexp.MustCompile(`;\s+dmarc=(\w+)(?: \(([^)]*)\))? header\.from=\S+`)
	heloClause  = regexp.MustCompile(`;\s+spf=\w+( \([^)]*\))? smtp\.helo=[^;]+`) // of no account, RFC 9989 4.5
	doneClause  = regexp.MustCompile(`dis=(\w+)`)
	openResult  = regexp.MustCompile(`dmarc=(\w+)(?: \(p=\w+ dis=(\w+)\))? header.from`)
)

// judged returns what our Judge makes of a message, and the message with what
// he has found of everything but DMARC.
func judged(t *testing.T, r *dns.Client, l letter) (result, msg string) {
	t.Helper()
	text := l.text(t)
	v, err := mx.NewJudge(mx.JudgeConfig{Hostname: "mx.buzon.test", Resolver: r, Budget: time.Minute}).Judge(t.Context(), mx.Arrival{
		IP: netip.MustParseAddr(l.ip), Helo: "mail.example", From: smtp.Address{Local: "ana", Domain: l.envelope}, To: smtp.Address{Local: "luis", Domain: "buzon.test"},
		Content: strings.NewReader(text), Size: int64(len(text)),
	})
	if err != nil {
		t.Fatal(err)
	}
	found := dmarcClause.FindStringSubmatch(string(v.Fields))
	if found == nil {
		t.Fatalf("%s: no DMARC result in %s", l.what, v.Fields)
	}
	done := "none"
	if d := doneClause.FindStringSubmatch(found[2]); d != nil {
		done = d[1]
	}
	results := "Authentication-Results: " + heloClause.ReplaceAllString(strings.ReplaceAll(v.Results, found[0], ""), "")
	return found[1] + " " + done, strings.ReplaceAll(results, "\r\n\t", " ") + "\r\n" + text
}

// opendmarc returns what Debian's makes of each message.
func opendmarc(t *testing.T, server string, list []letter, texts []string) (results []string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	suffixes, err := filepath.Abs("testdata/opendmarc/suffixes.txt")
	if err != nil {
		t.Fatal(err)
	}
	preload, socket := filepath.Join(dir, "resolver.so"), filepath.Join(dir, "socket")
	if out, err := child.Command(t, time.Minute, "gcc", "-shared", "-fPIC", "-o", preload, "testdata/opendmarc/resolver.c", "-ldl").CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	config := write("opendmarc.conf", "TrustedAuthservIDs mx.buzon.test\nAuthservID open.test\nRejectFailures true\nHoldQuarantinedMessages true\nSyslog false\nPublicSuffixList "+suffixes+
		"\nIgnoreHosts "+write("ignored", "192.0.2.250\n")+"\nSocket local:"+socket+"\nPidFile "+filepath.Join(dir, "pid")+"\n")
	_, port, err := net.SplitHostPort(server)
	if err != nil {
		t.Fatal(err)
	}
	cmd := child.Command(t, 2*time.Minute, "/usr/sbin/opendmarc", "-f", "-c", config)
	cmd.Env = append(os.Environ(), "LD_PRELOAD="+preload, "TEST_DNS_PORT="+port)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() {
		_ = cmd.Process.Kill()
		<-ended
	}()
	listening := time.NewTicker(20 * time.Millisecond)
	defer listening.Stop()
	for {
		if nc, err := net.Dial("unix", socket); err == nil {
			nc.Close()
			break
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("opendmarc: %v\n%s", err, &said)
		case <-listening.C:
		}
	}
	client := milter.NewClientWithOptions("unix", socket, milter.ClientOptions{
		ReadTimeout: time.Minute, WriteTimeout: time.Minute, ActionMask: milter.OptAddHeader | milter.OptChangeHeader | milter.OptQuarantine,
	})
	defer client.Close()
	for i, l := range list {
		result, err := l.ask(client, texts[i])
		if err != nil {
			t.Fatalf("%s: opendmarc: %v\n%s", l.what, err, &said)
		}
		results = append(results, result)
	}
	return results
}

// ask hands a message to a milter and returns its DMARC result, and what is to
// be done.
func (l letter) ask(c *milter.Client, text string) (string, error) {
	s, err := c.Session()
	if err != nil {
		return "", err
	}
	defer s.Close()
	if _, err := s.Conn("mail.example", milter.FamilyInet, 25, l.ip); err != nil {
		return "", err
	}
	if _, err := s.Helo("mail.example"); err != nil {
		return "", err
	}
	if _, err := s.Mail("ana@"+l.envelope, nil); err != nil {
		return "", err
	}
	if _, err := s.Rcpt("luis@buzon.test", nil); err != nil {
		return "", err
	}
	header, body, _ := strings.Cut(text, "\r\n\r\n")
	for line := range strings.SplitSeq(strings.NewReplacer("\r\n ", " ", "\r\n\t", " ").Replace(header), "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		if _, err := s.HeaderField(name, strings.TrimSpace(value)); err != nil {
			return "", err
		}
	}
	if _, err := s.HeaderEnd(); err != nil {
		return "", err
	}
	changes, action, err := s.BodyReadFrom(strings.NewReader(body))
	if err != nil {
		return "", err
	}
	if action.Code == milter.ActReject || action.Code == milter.ActReplyCode {
		return "fail reject", nil
	}
	for _, c := range changes {
		if found := openResult.FindStringSubmatch(c.HeaderValue); found != nil {
			return found[1] + " " + cmp.Or(found[2], "none"), nil // permerror: it does nothing
		}
	}
	return "", fmt.Errorf("no result: %+v, %+v", action, changes)
}
