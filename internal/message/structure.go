package message

import (
	"strconv"
	"strings"
)

// AppendEnvelope appends p's envelope in IMAP syntax (RFC 9051 7.5.2), ready to send.
// p must be a message.
func (p *Part) AppendEnvelope(dst []byte) []byte { return p.Envelope.Append(dst) }

// AppendBodyStructure appends p's structure in IMAP syntax (RFC 9051 7.5.2), ready to
// send: BODYSTRUCTURE if extended, else BODY.
func (p *Part) AppendBodyStructure(dst []byte, extended bool) []byte {
	dst = append(dst, '(')
	if p.IsMultipart() {
		dst = p.appendMultipart(dst, extended)
	} else {
		dst = p.appendSingle(dst, extended)
	}
	return append(dst, ')')
}

func (p *Part) appendMultipart(dst []byte, extended bool) []byte {
	for _, c := range p.Children { // depth is bounded by MaxDepth
		dst = c.AppendBodyStructure(dst, extended)
	}
	if len(p.Children) == 0 {
		// The grammar demands a part: an empty one.
		empty := Part{Type: "text", Subtype: "plain"}
		dst = empty.AppendBodyStructure(dst, extended)
	}
	dst = append(dst, ' ')
	dst = appendString(dst, p.Subtype)
	if extended {
		dst = append(dst, ' ')
		dst = appendParams(dst, p.Params, false)
		dst = p.appendExtension(dst)
	}
	return dst
}

func (p *Part) appendSingle(dst []byte, extended bool) []byte {
	text := strings.EqualFold(p.Type, "text")
	if p.IsMessage() {
		dst = append(dst, `"message" "rfc822"`...)
	} else {
		dst = appendString(dst, p.Type)
		dst = append(dst, ' ')
		dst = appendString(dst, p.Subtype)
	}
	dst = append(dst, ' ')
	dst = appendParams(dst, p.Params, text)
	dst = append(dst, ' ')
	dst = appendNString(dst, p.ID, p.has(hasID))
	dst = append(dst, ' ')
	dst = appendNString(dst, p.Description, p.has(hasDescription))
	dst = append(dst, ' ')
	if p.Encoding == "" {
		dst = append(dst, `"7bit"`...) // RFC 2045 6.1
	} else {
		dst = appendString(dst, p.Encoding)
	}
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, p.Body.Len(), 10)
	switch {
	case p.IsMessage():
		inner := p.Children[0]
		dst = append(dst, ' ')
		dst = inner.AppendEnvelope(dst)
		dst = append(dst, ' ')
		dst = inner.AppendBodyStructure(dst, extended)
		dst = append(dst, ' ')
		dst = strconv.AppendInt(dst, p.Lines, 10)
	case text:
		dst = append(dst, ' ')
		dst = strconv.AppendInt(dst, p.Lines, 10)
	}
	if extended {
		dst = append(dst, ' ')
		dst = appendNString(dst, p.MD5, p.has(hasMD5))
		dst = p.appendExtension(dst)
	}
	return dst
}

// appendExtension appends disposition, language and location.
func (p *Part) appendExtension(dst []byte) []byte {
	dst = append(dst, ' ')
	if p.has(hasDisposition) {
		dst = append(dst, '(')
		dst = appendString(dst, p.Disposition)
		dst = append(dst, ' ')
		dst = appendParams(dst, p.DispositionParams, false)
		dst = append(dst, ')')
	} else {
		dst = append(dst, "NIL"...)
	}
	dst = append(dst, ' ')
	if len(p.Language) == 0 {
		dst = append(dst, "NIL"...)
	} else {
		for i, l := range p.Language {
			if i == 0 {
				dst = append(dst, '(')
			} else {
				dst = append(dst, ' ')
			}
			dst = appendString(dst, l)
		}
		dst = append(dst, ')')
	}
	dst = append(dst, ' ')
	return appendNString(dst, p.Location, p.has(hasLocation))
}

// appendParams appends a list of parameters; for text with the charset that is meant
// where none is given (RFC 2045 5.2).
func appendParams(dst []byte, list []Param, text bool) []byte {
	if len(list) == 0 && !text {
		return append(dst, "NIL"...)
	}
	dst = append(dst, '(')
	for i, p := range list {
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = appendString(dst, p.Name)
		dst = append(dst, ' ')
		dst = appendString(dst, p.Value)
		text = text && !strings.EqualFold(p.Name, "charset")
	}
	if text {
		if len(list) > 0 {
			dst = append(dst, ' ')
		}
		dst = append(dst, `"charset" "us-ascii"`...)
	}
	return append(dst, ')')
}
