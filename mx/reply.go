package mx

import (
	"bufio"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"buzon/internal/smtp"
)

// Limits on a reply. RFC 5321 4.5.3.1.5 allows 512 octets to a line; some
// hosts explain themselves at greater length.
const (
	maxReplyLine  = 2048
	maxReplyLines = 128
	maxReplyBytes = 64 << 10
)

// errProtocol is wrapped by every error about a reply that is none: the
// connection is of no more use.
var errProtocol = errors.New("protocol error")

// rawReply is a reply as it came, RFC 5321 4.2.
type rawReply struct {
	code  int
	lines []string // without code and line end, never empty
}

// readReply reads one reply, of one line or more. The lines of a reply should
// have one code; where they differ the last one counts, as it does elsewhere.
// r must hold maxReplyLine bytes.
func readReply(r *bufio.Reader) (rawReply, error) {
	var reply rawReply
	for total := 0; ; {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) || len(line) > maxReplyLine {
			return rawReply{}, fmt.Errorf("%w: reply line of more than %d bytes", errProtocol, maxReplyLine)
		}
		if err != nil {
			return rawReply{}, err
		}
		if total += len(line); total > maxReplyBytes || len(reply.lines) == maxReplyLines {
			return rawReply{}, fmt.Errorf("%w: reply of more than %d lines or %d bytes", errProtocol, maxReplyLines, maxReplyBytes)
		}
		text := strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r")
		code, more, ok := cutCode(&text)
		if !ok {
			return rawReply{}, fmt.Errorf("%w: %.80q is no reply", errProtocol, line)
		}
		reply.code = code
		reply.lines = append(reply.lines, text)
		if !more {
			return reply, nil
		}
	}
}

// cutCode takes "250-" or "250 " off a line; "250" alone is legal too.
func cutCode(line *string) (code int, more, ok bool) {
	s := *line
	if len(s) < 3 {
		return 0, false, false
	}
	code, err := strconv.Atoi(s[:3])
	if err != nil || code < 200 || code > 599 {
		return 0, false, false
	}
	if len(s) == 3 {
		*line = ""
		return code, false, true
	}
	*line = s[4:]
	return code, s[3] == '-', s[3] == '-' || s[3] == ' '
}

// reply turns what came into what is kept: an enhanced code is taken off each
// line (RFC 2034 4) where its class is that of the reply, and the text is made
// safe for logs and notices.
func (r rawReply) reply() *smtp.Reply {
	var enhanced [3]int
	var text strings.Builder
	for i, line := range r.lines {
		if code, rest, ok := cutEnhanced(line); ok && code[0] == r.code/100 {
			enhanced, line = code, rest
		}
		if i > 0 {
			text.WriteByte('\n')
		}
		text.WriteString(line)
	}
	return smtp.NewReply(r.code, enhanced, text.String())
}

// cutEnhanced takes a status code off the front: "5.1.1 text", RFC 3463 2.
func cutEnhanced(line string) (code [3]int, rest string, ok bool) {
	word, rest, _ := strings.Cut(line, " ")
	numbers := strings.Split(word, ".")
	if len(numbers) != 3 {
		return code, line, false
	}
	for i, number := range numbers {
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil || n > 999 || len(number) > 3 {
			return code, line, false
		}
		code[i] = int(n)
	}
	return code, rest, true
}
