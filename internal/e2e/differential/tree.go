package differential

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	netmail "net/mail"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// tree is a Maildir that Dovecot could have left: its files, its UIDs, its keywords.
type tree struct {
	folders       []folder
	subscriptions []string
}

type folder struct {
	name     string // "" is INBOX
	validity int
	mails    []mail
}

type mail struct {
	uid     int
	letters string
	text    []byte
	date    time.Time
}

// keywords are those of every folder, by their letters.
var keywords = []string{"$Label1", "Work", "$Junk"}

// firstValidity and those behind it are the UIDVALIDITYs of the folders of the tree.
const firstValidity = 1_600_000_000

func newTree(random *rand.Rand, corpus [][]byte) *tree {
	t := &tree{subscriptions: []string{"INBOX", "Work"}}
	for i, name := range []string{"", "Work", "Work/Done", "Lists"} {
		f := folder{name: name, validity: firstValidity + i}
		count := []int{3 + random.IntN(9), random.IntN(6), random.IntN(3), 0}[i]
		uid := 0
		for _, k := range random.Perm(len(corpus))[:count] {
			uid += 1 + random.IntN(3)
			m := mail{uid: uid, text: corpus[k], date: time.Unix(1_500_000_000+int64(random.IntN(200_000_000)), 0)}
			for _, letter := range "DFRSTabc" {
				if random.IntN(4) == 0 {
					m.letters += string(letter)
				}
			}
			f.mails = append(f.mails, m)
		}
		t.folders = append(t.folders, f)
	}
	return t
}

func (t *tree) names() (names []string) {
	for _, f := range t.folders {
		names = append(names, max(f.name, "INBOX"))
	}
	names[0] = "INBOX"
	return names
}

func (t *tree) sizes() (sizes []string) {
	for _, m := range t.folders[0].mails {
		sizes = append(sizes, strconv.Itoa(len(m.text)))
	}
	return sizes
}

// write makes the tree below dir.
func (t *tree) write(dir string) error {
	for _, f := range t.folders {
		path := dir
		if f.name != "" {
			path = filepath.Join(dir, "."+strings.ReplaceAll(f.name, "/", "."))
		}
		if err := f.write(path); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "subscriptions"), []byte("V\t2\n\n"+strings.Join(t.subscriptions, "\n")+"\n"), 0o600)
}

func (f *folder) write(path string) error {
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(path, sub), 0o700); err != nil {
			return err
		}
	}
	var uids, names bytes.Buffer
	next := 1
	if n := len(f.mails); n > 0 {
		next = f.mails[n-1].uid + 1
	}
	fmt.Fprintf(&uids, "3 V%d N%d G%032x\n", f.validity, next, f.validity)
	for i, m := range f.mails {
		base := fmt.Sprintf("%d.M%dP1.host,S=%d,W=%d", m.date.Unix(), i, len(m.text), len(m.text))
		fmt.Fprintf(&uids, "%d :%s\n", m.uid, base)
		name := filepath.Join(path, "cur", base+":2,"+m.letters)
		if err := os.WriteFile(name, m.text, 0o600); err != nil {
			return err
		}
		if err := os.Chtimes(name, m.date, m.date); err != nil {
			return err
		}
	}
	for i, name := range keywords {
		fmt.Fprintf(&names, "%d %s\n", i, name)
	}
	if f.name != "" {
		if err := os.WriteFile(filepath.Join(path, "maildirfolder"), nil, 0o600); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(path, "dovecot-keywords"), names.Bytes(), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(path, "dovecot-uidlist"), uids.Bytes(), 0o600)
}

// Dates that RFC 5322 does not know are read by us where Dovecot takes the internal date; they are put into a form that both know.
var dateLine = regexp.MustCompile(`(?mi)^Date:[^\r\n]*`)

func validDate(line []byte) []byte {
	if _, err := netmail.ParseDate(strings.TrimSpace(string(line[len("Date:"):]))); err == nil {
		return line
	}
	return []byte("Date: Sun, 7 Jan 2024 18:00:00 +0200")
}

// Corpus reads the messages of directories, as mail has them: with CRLF. What is made of each by cutting it somewhere is added: mail that a
// network or a disk has broken.
func Corpus(patterns ...string) (corpus [][]byte, err error) {
	random := rand.New(rand.NewPCG(1, 1))
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			text = bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
			text = bytes.ReplaceAll(text, []byte{0}, []byte("0")) // IMAP has no way to send it, RFC 9051 9
			if !bytes.Contains(text, []byte("\r\n\r\n")) && !bytes.HasPrefix(text, []byte("\r\n")) {
				text = append(text, "\r\n"...) // whether HEADER.FIELDS ends in an empty line where none is differs
			}
			text = dateLine.ReplaceAllFunc(text, validDate)
			corpus = append(corpus, text)
			if lines := bytes.SplitAfter(text, []byte("\n")); len(lines) > 8 {
				corpus = append(corpus, bytes.Join(lines[:4+random.IntN(len(lines)-4)], nil))
			}
		}
	}
	return corpus, nil
}
