package daily

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"time"
)

// A Letter is a report as mail: a few words for people, and a file for
// programs. All of it must be ASCII, and Field without CR and LF.
type Letter struct {
	From, To string // addresses
	Subject  string
	ID       string // for Message-ID, without the brackets; "" makes one
	Host     string // whose name stands in an ID that is made
	Fields   []Field
	Kind     string // type/subtype of the whole, with parameters; the boundary is added
	Words    string // lines that end with LF
	FileType string // media type
	FileName string
	File     []byte
}

// Field is one more field of a header.
type Field struct{ Name, Value string }

// Bytes is the message; lines end with CRLF.
func (l Letter) Bytes() []byte {
	if l.ID == "" {
		l.ID = rand.Text() + "@" + l.Host
	}
	boundary := "report-" + rand.Text()
	var b bytes.Buffer
	field := func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, value) }
	field("Date", time.Now().UTC().Format(time.RFC1123Z))
	field("From", "<"+l.From+">")
	field("To", "<"+l.To+">")
	field("Subject", l.Subject)
	field("Message-ID", "<"+l.ID+">")
	for _, f := range l.Fields {
		field(f.Name, f.Value)
	}
	field("Auto-Submitted", "auto-generated") // RFC 3834 5
	field("MIME-Version", "1.0")
	field("Content-Type", l.Kind+";\r\n boundary=\""+boundary+`"`)
	b.WriteString("\r\n--" + boundary + "\r\n")
	field("Content-Type", "text/plain; charset=us-ascii")
	b.WriteString("\r\n" + string(bytes.ReplaceAll([]byte(l.Words), []byte("\n"), []byte("\r\n"))))
	b.WriteString("\r\n--" + boundary + "\r\n")
	field("Content-Type", l.FileType)
	field("Content-Transfer-Encoding", "base64")
	field("Content-Disposition", `attachment; filename="`+l.FileName+`"`)
	b.WriteString("\r\n")
	text := base64.StdEncoding.EncodeToString(l.File)
	for len(text) > 0 {
		n := min(len(text), 76) // RFC 2045 6.8
		b.WriteString(text[:n] + "\r\n")
		text = text[n:]
	}
	b.WriteString("--" + boundary + "--\r\n")
	return b.Bytes()
}

// Compressed is data as a gzip file.
func Compressed(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(data) // a Buffer takes everything
	_ = w.Close()
	return b.Bytes()
}
