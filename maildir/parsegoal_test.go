package maildir

import (
	"bytes"
	"testing"

	"buzon/internal/message"
)

// What is made later from the fields that are kept is what the whole header says.
func FuzzCompleteLater(f *testing.F) {
	f.Add("Received: x\r\nFrom: =?utf-8?q?A_=C3=A9?= <a@b>\r\nTo: g: c@d, e@f;\r\nSubject: Re: [x] a\r\n b\r\nReferences: <1@x>\r\n <2@x>\r\n\r\n")
	f.Add("From a@b Mon\nSubject : x\nsubject:\ny\n z\nDate: Mon, 02 Jan 2006 15:04:05 +0000\r\nMessage-ID:<i@d>\nIn-Reply-To: <a@b> <c@d>")
	f.Add(" Subject: no field\r\n: empty\r\nSubject\r\nCc:\r\n\t\r\nsender: \"a\\\"b\" <@r:x@y>\r")
	f.Add("Subject: a\r\r\n\tb\x00\xff\r\nTo: a,b,c\r\n.\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		raw := appendCRLF(nil, []byte(text), false)
		if end := headerEnd(raw); end > 0 {
			raw = raw[:end]
		}
		var now, later Parsed
		now.setHeader(raw, message.ParseEnvelope(raw), false)
		now.setKeys(message.ParseEnvelope(raw), now.Header)
		later.setHeader(raw, nil, false)
		if later.HeaderCut {
			return
		}
		var kept Parsed
		if !kept.decode(later.appendRecord(nil, 7, 9)[logFixed:], 7, 9) || kept.Depth != ParseFields {
			t.Fatalf("%+v does not come back", later)
		}
		if !kept.complete(parseGoal{depth: ParseEnvelope, keys: true}) || !bytes.Equal(kept.Envelope, now.Envelope) || !bytes.Equal(kept.keys, now.keys) {
			t.Errorf("of %q later\n%q %q, at once\n%q %q", raw, kept.Envelope, kept.keys, now.Envelope, now.keys)
		}
		if kept.complete(parseGoal{depth: ParseAll}) {
			t.Error("the body is known without having been read")
		}
	})
}
