package message

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sample is a message of the corpus.
type sample struct {
	name string
	text []byte
}

// dovecotCorpus is what is compared with Dovecot: the files of testdata, the fields
// and structures below, and generated nonsense made of the same pieces.
func dovecotCorpus(t testing.TB) []sample {
	var list []sample
	files, err := filepath.Glob("testdata/*.eml")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		// Dovecot counts line feeds as CRLF, which is what the store serves.
		text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
		list = append(list, sample{f, bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))})
	}
	add := func(name, text string) { list = append(list, sample{name, []byte(text)}) }
	for _, a := range addressFields {
		add("address "+a, "From: "+a+"\r\nSubject: x\r\n\r\nbody\r\n")
	}
	for _, f := range otherFields {
		add("field "+f, f+"\r\n\r\nbody\r\n")
	}
	for i, s := range structures {
		add(fmt.Sprintf("structure %d", i), strings.ReplaceAll(s, "\n", "\r\n"))
	}
	for _, n := range []int{MaxDepth - 1, MaxDepth, MaxDepth + 1, MaxDepth + 10} {
		add(fmt.Sprintf("%d multiparts in each other", n), nestedMultiparts(n))
		add(fmt.Sprintf("%d messages in each other", n), nestedMessages(n))
	}
	for _, n := range []int{MaxParts - 2, MaxParts - 1, MaxParts, MaxParts + 3} {
		add(fmt.Sprintf("%d parts", n), manyParts(n, "\r\nx\r\n"))
	}
	add("too many messages", manyParts(MaxParts/2+3, "Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\nx\r\n"))
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 1500 {
		add(fmt.Sprintf("random header %d", i), randomHeader(rnd))
	}
	for i := range 1500 {
		add(fmt.Sprintf("random structure %d", i), randomStructure(rnd))
	}
	return list
}

var addressFields = []string{
	`a@b`, `a@b, c@d`, `<a@b>`, `Ana <a@b>`, `"Ana B." <a@b>`, `Ana B. <a@b>`, `a@b (Ana)`, `a@b (Ana (x) B)`, `(Ana) a@b`,
	`Ana (x) <a@b>`, ``, ` `, `,`, `,,a@b,,`, `a`, `a b`, `a b c@d`, `"a"`, `"a b"`, `"a"@b`, `""@b`, `"" <a@b>`, `" " <a@b>`,
	`<>`, `Ana <>`, `<a>`, `<a@>`, `<@b>`, `<@b:c@d>`, `<@a,@b:c@d>`, `<@a b:c@d>`, `<@a:>`, `Ana <a@b`, `Ana <a@b> x`, `Ana <a@b> <c@d>`,
	`<a@b>, <c@d>`, `a@b c@d`, `a@b; c@d`, `g:;`, `g: a@b;`, `g: a@b, c@d;`, `g: a@b, c@d; , e@f`, `g: a@b`, `g: Ana <a@b>, ;`, `g:, a@b;`,
	`:;`, `"g h": a@b;`, `g: h: a@b;;`, `undisclosed-recipients:;`, `g:`, `g: (c);`, `a@b,`, `a@b, (c`, `a@b, "c`, `a@b (c`, `(`, `((()))`, `"`,
	`\`, `"a\"b" <c@d>`, `"a\\b" <c@d>`, `a\b@c`, `a@[1.2.3.4]`, `a@[1.2.3.4`, `a@[x\`, `<a@[x\`, `a@[IPv6:::1]`, `a@[x\]y]`, `a . b @ c . d`, `a.@b`, `.a@b`, `a..b@c`,
	`a@b.`, `a@.b`, `a@b..c`, `"a".b@c`, `a."b"@c`, `=?utf-8?q?Ana?= <a@b>`, `=?utf-8?b?QQ==?= (comment) <a@b.c>`, "J\xf6rg <a@b>", "J\xc3\xb6rg@x.de", `a@b\c`,
	"Ana\tB <a@b>", "Ana  B <a@b>", `"Ana  B" <a@b>`, `'Ana' <a@b>`, `[Ana] <a@b>`, `Ana [x] <a@b>`, `Ana, B <a@b>`, `a@b@c`, `a%b@c`, `a@b>`, `<a@b>>`, `<<a@b>>`,
	`Ana <a@b> (c)`, `Ana <a@b (c)>`, `(c) <a@b>`, `a@b (c) (d)`, `a (c) @ (d) b`, `a@b (a\)b)`, `a@b (a\\b)`, `mailto:a@b`, `a@b "Ana"`, `Ana a@b`, `"Ana" a@b`,
	`"a@b" <c@d>`, `a@b <c@d>`, "a\x01b@c", "a@b\r", "Ana \"B\" <c@d>", `a"b"c <d@e>`, `"a""b" <d@e>`, `?@?`, `a/b=c@d`, `a@-`, `a,b@c`, `<a,b@c>`, `<"a b"@c>`,
	"a@b,\r\n c@d", "Ana\r\n B <a@b>", "\"Ana\r\n B\" <a@b>", "a@b (x\r\n y)", "\r\n a@b", "Ana \r\n\t <a@b>", "a\x00b@c", "\"a\x00b\" <c@d>",
	`g: a@b, h: c@d;, e@f;`, `a@b, g: c@d; e@f`, `g : a@b ;`, `a b: c@d;`, `g: <a@b>;x`, `"` + `a, b@c`, `"a" "b" <c@d>`, `a.b <c@d>`, `. <c@d>`, `.. <c@d>`, `Ana <c@d>;`, `a@b (` + "c\xc3\xa9" + `)`,
	`<a@b>(Ana)`, `<a@b> Ana`, `Ana <"a"@b>`, `<@a:@b:c@d>`, `<@[1.2.3.4]:c@d>`, `<@a@b:c@d>`, `a@b(c),d@e(f)`, `user`, `user,`, `user, other`, `user (Name)`, `"user" (Name)`, `a b (Name)`,
}

var otherFields = []string{
	"Subject: hello", "Subject:", "Subject: ", "Subject:  ", "Subject:hello", "Subject: \t hello  world \t", "Subject: a\r\n b", "Subject: a\r\n\tb", "Subject: a \r\n  b", "Subject:\r\n a", "Subject: a\r\n b\r\n c",
	"Subject : a", "Subject\t: a", " Subject: a", "subject: a", "SUBJECT: a", "Subject: a\r\nSubject: b", "Subject: a\"b\\c", "Subject: a\"\"\"\"\"\"c", "Subject: \xe9", "Subject: \xc3\xa9", "Subject: a\x00b", "Subject: a\rb",
	"Subject: {3}", "Subject: NIL", "Subject: (a)", "Subject: a\x7fb\x01", "Subject: a\r\n ", "Subject: a\r\n \r\n b",
	"Date: Mon, 1 Jan 2024 00:00:00 +0000", "Date:", "Date:  ", "Date: a\r\n b", "Date: a\r\n\tb", "Date:\r\n a", "Date: a  b ", "Date: a\tb", "Date: a\rb", "Date: a\x00b", "Date: \"x\"", "Date: \xff",
	"Message-ID: <a@b>", "Message-Id: <a@b> ", "Message-ID:\r\n <a@b>", "Message-ID: a b", "Message-ID:", "Message-ID: <a@b>\r\nMessage-ID: <c@d>", "Message-ID:\t<a@b>",
	"In-Reply-To: <a@b> <c@d>", "In-Reply-To: <a@b>\r\n <c@d>", "In-Reply-To: Your message of \"Mon\"", "In-Reply-To:",
	"From: a@b\r\nFrom: c@d", "From: a@b\r\nFrom:", "From:\r\nFrom: a@b", "From: a@b\r\nSender: c@d", "From: a@b\r\nReply-To: c@d", "From: a@b\r\nSender:", "Sender: c@d", "To: a@b\r\nCc: c@d\r\nBcc: e@f", "To: a@b\r\nTo: c@d", "Reply-To: ,",
	"Content-Type: text/plain", "Content-Type: TEXT/Plain", "Content-Type: text", "Content-Type: text/", "Content-Type: /plain", "Content-Type: /", "Content-Type:", "Content-Type: ;charset=x", "Content-Type: text/plain;", "Content-Type: text/plain; charset=utf-8",
	"Content-Type: text/plain; charset=\"utf-8\"", "Content-Type: text/plain; charset = utf-8", "Content-Type: text/plain; charset", "Content-Type: text/plain; charset=", "Content-Type: text/plain; =utf-8", "Content-Type: text/plain; charset=\"utf-8", "Content-Type: text/plain; charset=utf-8; charset=x",
	"Content-Type: text/plain charset=utf-8", "Content-Type: text/plain, charset=utf-8", "Content-Type: text/plain; format=flowed; delsp=yes", "Content-Type: text / plain ; a = b", "Content-Type: (c) text (c) / (c) plain (c) ; (c) a (c) = (c) b (c)", "Content-Type: text/plain; (", "Content-Type: text/plain (", "Content-Type: (",
	"Content-Type: image/png; name=a.png", "Content-Type: image/png; name=\"a b.png\"", "Content-Type: image/png; name=a b.png", "Content-Type: image/png; name==?utf-8?b?QQ==?=", "Content-Type: image/png; name=\"=?utf-8?b?QQ==?=\"", "Content-Type: image/png; name=\"a\\\"b\"", "Content-Type: image/png; name=\xe9.png", "Content-Type: image/png; name=\"\xe9.png\"",
	"Content-Type: image/png; name*=utf-8''a%20b", "Content-Type: image/png; name*0=a; name*1=b", "Content-Type: image/png; name*1=b; name*0=a", "Content-Type: image/png; name*0*=utf-8''a; name*1*=b", "Content-Type: image/png; name*0*=utf-8''a; name*1=b%", "Content-Type: image/png; name*0=a%; name*1*=b", "Content-Type: image/png; name*0=a; name*2=b", "Content-Type: image/png; name*0*=a; name*2*=b",
	"Content-Type: image/png; name*=a; name=b", "Content-Type: image/png; name*x=a", "Content-Type: image/png; name**=a", "Content-Type: image/png; name*0**=a", "Content-Type: image/png; *=a", "Content-Type: image/png; *0=a", "Content-Type: image/png; name*99999999=a", "Content-Type: image/png; name*0=a; name*0=b", "Content-Type: image/png; b*0=a; a*0=b; z=1", "Content-Type: image/png; NAME*0=a; name*1=b", "Content-Type: image/png; name*00=a; name*01=b",
	"Content-Type: image/png; name=\"a\r\n b\"", "Content-Type: image/png;\r\n name=a", "Content-Type: image/png; name=a;\r\n\tsize=1", "Content-Type: image/png; name=a/b", "Content-Type: image/png; name=<a>", "Content-Type: image/png; name=a;b;c=d", "Content-Type: image/png; name=a;;c=d", "Content-Type: image/png;; name=a", "Content-Type: image/png; name=\"a\" b; c=d", "Content-Type: image/png; a=\"\"; b=c", "Content-Type: image/png; a=; b=c", "Content-Type: image/png; a=[x]; b=c",
	"Content-Type: text/plain\r\nContent-Type: text/html", "Content-Type:\r\nContent-Type: text/html", "Content-Type: text/plain; charset=x\r\nMIME-Version: 1.0", "Content-Type : text/html", "Content-Type: \"text\"/plain", "Content-Type: text/plain/x; a=b", "Content-Type: text/plain.x; a=b", "Content-Type: te xt/plain", "Content-Type: text/pl ain; a=b", "Content-Type: t\xe9xt/plain; a=b", "Content-Type: text/plain; a=b\x00c", "Content-Type: te\x00xt/plain", "Content-Type: X-foo; a=b", "Content-Type: multipart/", "Content-Type: multipart/mixed", "Content-Type: multipart/mixed; boundary=", "Content-Type: multipart/mixed; boundary=x", "Content-Type: multipart/; boundary=x", "Content-Type: multipart /mixed; boundary=x", "Content-Type: message/rfc822", "Content-Type: message", "Content-Type: Message/RFC822; a=b", "Content-Type: message/global", "Content-Type: message/partial; id=x", "Content-Type: message/external-body; access-type=x", "Content-Type: message/delivery-status", "Content-Type: text/rfc822-headers",
	"Content-Transfer-Encoding: base64", "MIME-Version: 1.0\r\nContent-Transfer-Encoding: BASE64", "MIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit (c)", "MIME-Version: 1.0\r\nContent-Transfer-Encoding:", "MIME-Version: 1.0\r\nContent-Transfer-Encoding: base64;", "MIME-Version: 1.0\r\nContent-Transfer-Encoding: \"base64\"", "MIME-Version: 1.0\r\nContent-Transfer-Encoding: base64 x", "MIME-Version: 1.0\r\nContent-Transfer-Encoding: x\r\nContent-Transfer-Encoding: y", "MIME-Version: 1.0\r\nContent-Transfer-Encoding: (\r\nContent-Transfer-Encoding: y", "MIME-Version: 1.0\r\nContent-Transfer-Encoding: 8\xe9", "MIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n",
	"Mime-Version : 1.0\r\nContent-ID: <a@b>", "MIME-Version: 1.0\r\nContent-ID: <a@b>", "MIME-Version: 1.0\r\nContent-ID:", "MIME-Version: 1.0\r\nContent-ID:  a  b ", "MIME-Version: 1.0\r\nContent-ID: a\r\n\tb", "MIME-Version: 1.0\r\nContent-ID: a\r\nContent-ID: b", "MIME-Version: 1.0\r\nContent-ID: a\rb", "MIME-Version: 1.0\r\nContent-ID: a\x00b", "MIME-Version: 1.0\r\nContent-Description: caf\xc3\xa9 \"x\"", "MIME-Version: 1.0\r\nContent-Description: a\r\n  b", "MIME-Version: 1.0\r\nContent-MD5: Q2hlY2s=", "MIME-Version: 1.0\r\nContent-Location: http://x/\r\n y",
	"MIME-Version: 1.0\r\nContent-Disposition: attachment", "MIME-Version: 1.0\r\nContent-Disposition: attachment; filename=a.txt", "MIME-Version: 1.0\r\nContent-Disposition: ATTACHMENT; filename=\"a b\"; size=1", "MIME-Version: 1.0\r\nContent-Disposition:", "MIME-Version: 1.0\r\nContent-Disposition: ;filename=x", "MIME-Version: 1.0\r\nContent-Disposition: inline x; a=b", "MIME-Version: 1.0\r\nContent-Disposition: inline\r\nContent-Disposition: attachment; a=b\r\nContent-Disposition: x; c=d", "MIME-Version: 1.0\r\nContent-Disposition: (", "MIME-Version: 1.0\r\nContent-Disposition: attachment; filename*0*=utf-8''%e2; filename*1*=%82%ac", "MIME-Version: 1.0\r\nContent-Disposition: inline\r\nContent-Disposition: (",
	"MIME-Version: 1.0\r\nContent-Language: en", "MIME-Version: 1.0\r\nContent-Language: en, de", "MIME-Version: 1.0\r\nContent-Language: en,de (c), fr", "MIME-Version: 1.0\r\nContent-Language:", "MIME-Version: 1.0\r\nContent-Language: ,en", "MIME-Version: 1.0\r\nContent-Language: en de", "MIME-Version: 1.0\r\nContent-Language: en,", "MIME-Version: 1.0\r\nContent-Language: en,,de", "MIME-Version: 1.0\r\nContent-Language: en (", "MIME-Version: 1.0\r\nContent-Language: en\r\nContent-Language: de", "MIME-Version: 1.0\r\nContent-Language: \"en\"", "MIME-Version: 1.0\r\nContent-Language: e.n, de",
	"MIME-Version: 1.0\r\nContent-: x", "MIME-Version: 1.0\r\nContent-Foo: x", "Content-Type: text/plain; " + strings.Repeat("a=b; ", 200), "X: " + strings.Repeat("y", 9000) + "\r\nSubject: z", "Subject: " + strings.Repeat("long ", 3000), "no colon here\r\nSubject: x", "From foo@bar Mon Jan  1 12:00:00 2024\r\nSubject: x", ": x\r\nSubject: y", "Subject: x\r\n: y", ">From x\r\nSubject: y", " folded first\r\nSubject: y", "\tSubject: x\r\nSubject: y",
}

// structures are whole messages, written with LF.
var structures = []string{
	"", "\n", "\n\n", "x", "x\n", "Subject: x", "Subject: x\n", "Subject: x\n\n", "\nbody", "\nbody\n", " body\n", "From x y\nSubject: z\n\nb\n", "Subject: x\n\n\n\n", "Subject: x\n\nno newline at end",
	mp("x", "", "--x\n\na\n--x\n\nb\n--x--\n"),
	mp("x", "", "--x\n\na\n--x\n\nb\n--x--"),
	mp("x", "", "--x\n\na\n--x\n\nb\n"),
	mp("x", "", "--x\n\na\n--x\n\nb"),
	mp("x", "", "--x"), mp("x", "", "--x\n"), mp("x", "", "--x--"), mp("x", "", "--x--\n"), mp("x", "", ""), mp("x", "", "\n"), mp("x", "", "no parts\n"),
	mp("x", "", "preamble\n--x\n\na\n--x--\nepilogue\n--x\n\nb\n"),
	mp("x", "", "--x \n\na\n--x\t \n\nb\n--x-- \n"),
	mp("x", "", "--xy\n\na\n--x-\n\nb\n--x--y\n"),
	mp("x", "", " --x\n\na\n--x\n\nb\n--x--\n"),
	mp("x", "", "--x\na\n--x--\n"), mp("x", "", "--x\nA: b\n--x--\n"), mp("x", "", "--x\n--x\n--x--\n"), mp("x", "", "--x\n\n--x\n\n\n--x--\n"), mp("x", "", "--x\n\n\n\n--x--\n"),
	mp("x", "", "--x\nContent-Type: text/html\n--x\nContent-Type: text/html\n\n--x--\n"),
	mp("x", "", "--x\nContent-Type: text/plain\n folded\n--x\n\nb\n--x--\n"),
	mp("", "", "--\n\na\n--\n\nb\n----\n"), mp("", "", "--x\n\na\n--y\n\nb\n----\n"), mp("--", "", "----\n\na\n----\n\nb\n------\n"), mp("x--", "", "--x--\n\na\n--x--\n\nb\n--x----\n"), mp("x ", "", "--x\n\na\n--x \n\nb\n--x --\n"),
	mp(strings.Repeat("b", 70), "", "--"+strings.Repeat("b", 70)+"\n\na\n--"+strings.Repeat("b", 70)+"--\n"),
	mp("x", "", "--x\n"+mp("y", "", "--y\n\na\n--y\n\nb\n--y--\n")+"--x\n\nc\n--x--\n"),
	mp("x", "", "--x\n"+mp("y", "", "--y\n\na\n--y\n\nb\n--y--\n")+"\n--x\n\nc\n--x--\n"),
	mp("x", "", "--x\n"+mp("y", "", "--y\n\na\n--y\n\nb\n")+"--x\n\nc\n--x--\n"),
	mp("x", "", "--x\n"+mp("x", "", "--x\n\na\n--x\n\nb\n--x--\n")+"--x\n\nc\n--x--\n"),
	mp("x", "", "--x\n"+mp("xy", "", "--xy\n\na\n--xy\n\nb\n--xy--\n")+"--x\n\nc\n--x--\n"),
	mp("xy", "", "--xy\n"+mp("x", "", "--x\n\na\n--x\n\nb\n--x--\n")+"--xy\n\nc\n--xy--\n"),
	mp("xy", "", "--xy\n"+mp("x", "", "--x\n\na\n--xyz\n\nb\n--x--\n")+"--xy\n\nc\n--xy--\n"),
	mp("x", "", "--x\n"+mp("x--", "", "--x--\n\na\n--x----\n")+"--x\n\nc\n--x--\n"),
	mp("x", "", "--x\nContent-Type: multipart/mixed; boundary=y\n--x\n\nb\n--x--\n"),
	mp("x", "", "--x\nContent-Type: multipart/mixed\n\n--y\n\n--x\n\nb\n--x--\n"),
	mp("x", "", "--x\nContent-Type: multipart/mixed; boundary=y\n\n--x\n\nb\n--x--\n"),
	mp("x", "", "--x\nContent-Type: message/rfc822\n\nSubject: in\n\nbody\n--x--\n"),
	mp("x", "", "--x\nContent-Type: message/rfc822\n\nSubject: in\n\nbody\n\n--x--\n"),
	mp("x", "", "--x\nContent-Type: message/rfc822\n\nSubject: in\n\n--x--\n"),
	mp("x", "", "--x\nContent-Type: message/rfc822\n\nSubject: in\n--x--\n"),
	mp("x", "", "--x\nContent-Type: message/rfc822\n\n--x--\n"), mp("x", "", "--x\nContent-Type: message/rfc822\n\n\n--x--\n"), mp("x", "", "--x\nContent-Type: message/rfc822\n\n\n\n--x--\n"),
	mp("x", "", "--x\nContent-Type: message/rfc822\n--x--\n"), mp("x", "", "--x\nContent-Type: message/rfc822"), mp("x", "", "--x\nContent-Type: message/rfc822\n"), mp("x", "", "--x\nContent-Type: message/rfc822\n\n"),
	mp("x", "", "--x\nContent-Type: message/rfc822\n\n"+mp("y", "From: a@b\n", "--y\n\na\n--y--\n")+"--x\n\nb\n--x--\n"),
	mp("x", "", "--x\nContent-Type: message/rfc822\n\n"+mp("y", "From: a@b\n", "--y\n\na\n--y--\n")+"\n--x\n\nb\n--x--\n"),
	mp("x", "", "--x\nContent-Type: message/rfc822\n\n"+mp("y", "From: a@b\n", "--y\n\na\n")+"--x\n\nb\n--x--\n"),
	mp("x", "", "--x\nContent-Type: message/rfc822\n\n"+mp("x", "From: a@b\n", "--x\n\na\n--x--\n")+"--x\n\nb\n--x--\n"),
	mp("x", "", "--x\nContent-Type: message/rfc822\n\nContent-Type: message/rfc822\n\nContent-Type: message/rfc822\n\nSubject: deep\n\nb\n--x--\n"),
	mp("x", "", "--x\nContent-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nU3ViamVjdDogeA==\n--x--\n"),
	"Content-Type: message/rfc822\n\nSubject: in\n\nbody\n", "Content-Type: message/rfc822\n\n", "Content-Type: message/rfc822\n", "Content-Type: message/rfc822", "Content-Type: message/rfc822\nSubject: out\n\nContent-Type: message/rfc822\n\nSubject: in\n\nbody",
	strings.Replace(mp("x", "", "--x\n\nSubject: in\n\nbody\n--x\nContent-Type: text/plain\n\nplain\n--x--\n"), "mixed", "digest", 1),
	strings.Replace(mp("x", "", "--x\nContent-ID: <x>\n\nSubject: in\n\nbody\n--x\nContent-Type:\n\nplain\n--x--\n"), "mixed", "digest", 1),
	strings.Replace(mp("x", "", "--x\nMIME-Version: 1.0\n\nSubject: in\n\nbody\n--x--\n"), "mixed", "DIGEST", 1),
	strings.Replace(mp("x", "", "--x\n"+strings.Replace(mp("y", "", "--y\n\nSubject: a\n\nb\n--y\n\nSubject: b\n--y--\n"), "mixed", "digest", 1)+"--x--\n"), "mixed", "digest", 1),
	"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\nContent-Type: text/plain\n\n--x\n\na\n--x--\n",
	"Content-Type: multipart/mixed; boundary*0=x; boundary*1=y\n\n--xy\n\na\n--xy--\n", "Content-Type: multipart/mixed; boundary*=us-ascii''x\n\n--x\n\na\n--x--\n", "Content-Type: multipart/mixed; boundary=x; boundary=y\n\n--x\n\na\n--y\n\nb\n--x--\n",
	"Content-Type: multipart/mixed; boundary=\"x\n y\"\n\n--x y\n\na\n--x y--\n", "Content-Type: multipart/mixed;\n\tboundary=\"=_x?y:z\"\n\n--=_x?y:z\n\na\n--=_x?y:z--\n", "Content-Type: multipart/alternative; boundary=x (c)\n\n--x\n\na\n--x--\n", "Content-Type: multipart/mixed (c); boundary=x\n\n--x\n\na\n--x--\n", "Content-Type: multipart/mixed; boundary=a b\n\n--a b\n\na\n--a\n\nb\n--a--\n",
	"Content-Type: multipart/related; type=\"text/html\"; start=\"<a>\"; boundary=x\nContent-Language: en\nContent-Location: http://x\nContent-Disposition: inline; a=b\nContent-ID: <z>\n\n--x\nContent-Type: text/html\nContent-ID: <a>\nContent-Description: d\nContent-Transfer-Encoding: 8bit\nContent-MD5: m\nContent-Disposition: inline\nContent-Language: de, fr\nContent-Location: l\n\na\n--x--\n",
	"Content-Type: multipart/report; report-type=delivery-status; boundary=x\n\n--x\n\nfailed\n--x\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\nFinal-Recipient: rfc822; a@b\n\n--x\nContent-Type: text/rfc822-headers\n\nSubject: x\n\n--x--\n",
	"Content-Type: text/plain\n\n--x\n\na\n--x--\n", "Subject: a\n\nb\n\n--x\n", "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n", "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x", "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n--x\n\na\n--x--\n",
}

// mp is a multipart with the given boundary.
func mp(boundary, fields, body string) string {
	return fields + "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"" + boundary + "\"\n\n" + body
}

func nestedMultiparts(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d.\r\n\r\n--b%d.\r\n", i, i)
	}
	b.WriteString("\r\nleaf\r\n")
	return b.String()
}

func nestedMessages(n int) string {
	return strings.Repeat("Content-Type: message/rfc822\r\n\r\n", n) + "Subject: x\r\n\r\nleaf\r\n"
}

func manyParts(n int, part string) string {
	return "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n"+part, n) + "--b--\r\n"
}

func pick(rnd *rand.Rand, list ...string) string { return list[rnd.IntN(len(list))] }

// randomHeader makes fields out of tokens that parsers stumble over.
func randomHeader(rnd *rand.Rand) string {
	var b strings.Builder
	for range 1 + rnd.IntN(4) {
		b.WriteString(pick(rnd, "From", "To", "Cc", "Sender", "Reply-To", "Subject", "Date", "Message-ID", "Content-Type", "Content-Type", "Content-Disposition",
			"Content-Language", "Content-ID", "Content-Transfer-Encoding", "MIME-Version"))
		b.WriteString(": ")
		nasty := rnd.IntN(2) == 0 // folding inside quotes is tried elsewhere
		for range rnd.IntN(12) {
			if nasty {
				b.WriteString(pick(rnd, "\"", "(", ")", "\\", "a", "@", "<", ">", ",", ";", " ", "b", "\"q\"", "(c)"))
				continue
			}
			b.WriteString(pick(rnd, "a", "b", "Ana", "x@y", "@", "<", ">", ",", ";", ":", ")", ".", "=", "*", "*0", "*1", "*0*", "[", "]", "/", " ", " ", "\t", "\r\n ", "\r\n\t",
				"text", "text/plain", "; a=b", "; c*0=d", "; c*1=e", "; charset=", "g:", ";", "\xe9", "{3}", "<a@b>", "Ana <a@b>", "\"q\" <c@d>", "(c)", "?", "-", "'"))
		}
		b.WriteString("\r\n")
	}
	b.WriteString("\r\nbody\r\n")
	return b.String()
}

// randomStructure makes a message out of lines that begin, end and break parts.
func randomStructure(rnd *rand.Rand) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Content-Type: multipart/%s; boundary=x\r\n\r\n", pick(rnd, "mixed", "mixed", "digest"))
	for range 2 + rnd.IntN(20) {
		b.WriteString(pick(rnd, "--x", "--x", "--x", "--x--", "--y", "--y", "--y--", "--xy", "--xy", "--xy--", "--z", "", "", "", "", "text", "-- ", "--", "-",
			"Subject: s", "From: a@b", "MIME-Version: 1.0", "Content-Type: text/html", "Content-Type: message/rfc822", "Content-Type: message/rfc822",
			"Content-Type: multipart/mixed; boundary=y", "Content-Type: multipart/mixed; boundary=xy", "Content-Type: multipart/digest; boundary=z", "Content-Type: multipart/mixed; boundary=x",
			"Content-Type: multipart/mixed", "Content-ID: <i>", " folded", ": x"))
		if rnd.IntN(40) > 0 {
			b.WriteString("\r\n")
		}
	}
	return b.String()
}
