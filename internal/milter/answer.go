package milter

import (
	"strings"

	"buzon/internal/smtp"
)

// Answers (SMFIR_).
const (
	replyAccept   = 'a'
	replyContinue = 'c'
	replyDiscard  = 'd'
	replyReject   = 'r'
	replyTempfail = 't'
	replyCode     = 'y'
	replySkip     = 's'
	replyConnFail = 'f'
	replyShutdown = '4'
	replyProgress = 'p'
)

// opinion is what a filter thinks after a step.
type opinion int

const (
	goOn    opinion = iota
	accept          // the filter need not see more
	discard         // say yes to the client and forget the message
	refuse          // with a Reply
	skip            // no more of the body
)

// Replies in the name of a filter that has none of its own.
var (
	replyRejected = smtp.NewReply(550, [3]int{5, 7, 1}, "The message is refused by a filter")
	replyLater    = smtp.NewReply(451, [3]int{4, 7, 1}, "A filter asks to try again later")
)

// parseAnswer reads an answer that ends a step.
func parseAnswer(code byte, data []byte) (opinion, *smtp.Reply, error) {
	switch code {
	case replyContinue:
		return goOn, nil, nil
	case replyAccept:
		return accept, nil, nil
	case replyDiscard:
		return discard, nil, nil
	case replySkip:
		return skip, nil, nil
	case replyReject:
		return refuse, replyRejected, nil
	case replyTempfail, replyConnFail, replyShutdown:
		return refuse, replyLater, nil
	case replyCode:
		r, err := parseReply(data)
		return refuse, r, err
	}
	return 0, nil, nonsense("answer %q", code)
}

// Bounds of a reply that a filter words: what a client may be shown of it.
const (
	maxReplyLines = 10
	maxReplyLine  = 400 // RFC 5321 4.5.3.1.5: 512 with code and CRLF
)

// parseReply reads an SMTP reply in a filter's words: one or more lines of
// "550 5.7.1 text" or "550-5.7.1 text". Only a refusal is one, and nothing of
// it can begin another line or command.
func parseReply(data []byte) (*smtp.Reply, error) {
	text, _, err := cut(data)
	if err != nil {
		return nil, err
	}
	r := &smtp.Reply{}
	var lines []string
	for line := range strings.SplitSeq(strings.ReplaceAll(text, "\r\n", "\n"), "\n") {
		if line == "" && len(lines) > 0 {
			continue
		}
		code, rest, ok := cutCode(line)
		if !ok || r.Code != 0 && code != r.Code {
			return nil, nonsense("the reply %.60q", line)
		}
		enhanced, rest := cutEnhanced(code, rest)
		if r.Code == 0 {
			r.Code, r.Enhanced = code, enhanced
		}
		if len(lines) < maxReplyLines {
			lines = append(lines, clean(rest))
		}
	}
	if r.Enhanced == [3]int{} {
		r.Enhanced = [3]int{r.Code / 100, 7, 1} // RFC 3463 3.8: a decision about this message
	}
	return smtp.NewReply(r.Code, r.Enhanced, strings.Join(lines, "\n")), nil
}

// cutCode takes a code of refusal and what separates it from the text.
func cutCode(line string) (code int, rest string, ok bool) {
	if len(line) < 3 || line[0] != '4' && line[0] != '5' || line[1] < '0' || line[1] > '5' || line[2] < '0' || line[2] > '9' {
		return 0, "", false
	}
	if len(line) > 3 && line[3] != ' ' && line[3] != '-' {
		return 0, "", false
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	return code, line[min(4, len(line)):], true
}

// cutEnhanced takes an enhanced code (RFC 2034 4) off a line of text, when it
// is of the code's class.
func cutEnhanced(code int, text string) ([3]int, string) {
	word, rest, _ := strings.Cut(text, " ")
	parts := strings.Split(word, ".")
	if len(parts) != 3 || len(word) > len("5.999.999") {
		return [3]int{}, text
	}
	var e [3]int
	for i, p := range parts {
		if p == "" || len(p) > 3 {
			return [3]int{}, text
		}
		for _, c := range p {
			if c < '0' || c > '9' {
				return [3]int{}, text
			}
			e[i] = 10*e[i] + int(c-'0')
		}
	}
	if e[0] != code/100 {
		return [3]int{}, text
	}
	return e, rest
}

// clean makes a line of a reply one that every client can be sent. Filters
// double the per cent sign for the sake of Sendmail's printf.
func clean(line string) string {
	line = strings.ReplaceAll(line, "%%", "%")
	line = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, line[:min(len(line), maxReplyLine)])
	if strings.TrimSpace(line) == "" {
		return "Refused by a filter"
	}
	return line
}
