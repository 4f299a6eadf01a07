package imapd

import (
	"strings"
	"testing"
)

// A signed URL is its rump, the mechanism and the token; the rump alone means the same.
func FuzzSignedURL(f *testing.F) {
	f.Add("imap://ana@buzon.test/INBOX/;UID=20/;SECTION=1.2;EXPIRE=2026-01-02T03:04:05Z;URLAUTH=user+luis:internal:abcd")
	f.Add("imap://ana;AUTH=*@h:143/a%2Fb;UIDVALIDITY=3/;UID=1;URLAUTH=anonymous")
	f.Fuzz(func(t *testing.T, text string) {
		u, err := parseSignedURL(text)
		if err != nil {
			t.Skip()
		}
		if u.token == "" && u.rump != text || u.token != "" && !strings.HasPrefix(text, u.rump+":") {
			t.Errorf("%q has the rump %q and the token %q", text, u.rump, u.token)
		}
		if u.message.mailbox == "" || u.message.uid == 0 || u.owner == "" {
			t.Errorf("%q is %+v", text, u)
		}
		again, err := parseSignedURL(u.rump)
		u.token = ""
		if err != nil || again != u {
			t.Errorf("%q is %+v, its rump %+v, %v", text, u, again, err)
		}
	})
}
