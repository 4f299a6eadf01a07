package message

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

// attachment is a message with a base64 body of about n bytes.
func attachment(n int) []byte {
	line := strings.Repeat("QUJD", 19) + "\r\n"
	return []byte("From: Ana <ana@buzon.test>\r\nSubject: photo\r\n" + strings.ReplaceAll(mp("b0undary", "", "--b0undary\n\nhere it is\n--b0undary\nContent-Type: image/jpeg; name=a.jpg\nContent-Transfer-Encoding: base64\n\n"), "\n", "\r\n") +
		strings.Repeat(line, n/len(line)) + "--b0undary--\r\n")
}

func BenchmarkParse(b *testing.B) {
	dashes := []byte("Content-Type: multipart/mixed; boundary=xyz\r\n\r\n--xyz\r\n\r\n" + strings.Repeat("-- \r\n--x\r\n", 100_000))
	for _, c := range []struct {
		name string
		text []byte
	}{
		{"attachment 10 MB", attachment(10 << 20)},
		{"plain 10 MB", []byte("Subject: x\r\n\r\n" + strings.Repeat("The quick brown fox -- jumps over the lazy dog.\r\n", 200_000))},
		{"short lines with dashes", dashes},
		{"mail of 3 kB", []byte(typicalMail)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(bytes.NewReader(c.text), int64(len(c.text))); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEnvelope(b *testing.B) {
	r := strings.NewReader(typicalMail)
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ReadEnvelope(r, r.Size()); err != nil {
				b.Fatal(err)
			}
		}
	})
	p, err := Parse(r, r.Size())
	if err != nil {
		b.Fatal(err)
	}
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		var buf []byte
		for b.Loop() {
			buf = p.AppendEnvelope(buf[:0])
			buf = p.AppendBodyStructure(buf, true)
		}
	})
}

func BenchmarkHeaderFields(b *testing.B) {
	header := []byte(typicalMail[:strings.Index(typicalMail, "\r\n\r\n")+4])
	f := NewFieldFilter([]string{"From", "To", "Cc", "Subject", "Date", "Message-ID", "References", "Priority"}, false)
	b.SetBytes(int64(len(header)))
	b.ReportAllocs()
	var buf []byte
	for b.Loop() {
		buf = f.Append(buf[:0], header)
	}
}

func BenchmarkContains(b *testing.B) {
	text := bytes.Repeat([]byte("The quick brown fox jumps over the lazy dog.\r\n"), 100_000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if ok, err := Contains(bytes.NewReader(text), "nowhere to be found"); ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func BenchmarkDecodeText(b *testing.B) {
	text := bytes.Repeat([]byte(strings.Repeat("QUJD", 19)+"\r\n"), 50_000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := io.Copy(io.Discard, DecodeText(bytes.NewReader(text), "base64", "utf-8")); err != nil {
			b.Fatal(err)
		}
	}
}

var typicalMail = strings.ReplaceAll(`Return-Path: <list-bounces@lists.example.org>
Delivered-To: ana@buzon.test
Received: from mx.example.org (mx.example.org [192.0.2.7])
	by buzon.test (Buzon) with ESMTPS id 01HF2Z9K
	for <ana@buzon.test>; Mon, 20 Nov 2023 10:15:31 +0000
Received: from localhost (localhost [127.0.0.1])
	by mx.example.org (Postfix) with ESMTP id 4SZd1x0T4gz9t
	for <ana@buzon.test>; Mon, 20 Nov 2023 11:15:30 +0100 (CET)
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=mail;
	t=1700475330; h=from:from:reply-to:subject:subject:date:date:message-id:
	 to:to:cc:mime-version:mime-version:content-type:content-type;
	bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;
	b=dzdVyOfAKCdLXdJOc9G2q8LoXSlEniSbav+yuU4zGeeruD00lszZVoG4ZHRNiYzR
	 AbCdEfGhIjKlMnOpQrStUvWxYz0123456789abcdefghijklmnopqrstuvwxyzABCD
From: =?UTF-8?Q?Jos=C3=A9_Garc=C3=ADa?= <jose@example.org>
To: "Ana B." <ana@buzon.test>, Luis <luis@buzon.test>
Cc: team@lists.example.org
Subject: [team] Re: minutes of the meeting on Thursday, and what is to be
 done until then
Date: Mon, 20 Nov 2023 11:15:29 +0100
Message-ID: <20231120101529.GA12345@example.org>
In-Reply-To: <CAKx1=abc@mail.example.net>
References: <1@example.net> <CAKx1=abc@mail.example.net>
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary="=_3f2a9c"
List-Id: <team.lists.example.org>
List-Unsubscribe: <https://lists.example.org/u/team>

--=_3f2a9c
Content-Type: text/plain; charset=UTF-8; format=flowed
Content-Transfer-Encoding: quoted-printable

Hello Ana,

the minutes are on the page. Please look at point 3 =E2=80=93 it needs a word fr=
om you.

> On Sunday you wrote:
> what about Thursday?

--=20
Jos=C3=A9
--=_3f2a9c
Content-Type: text/html; charset=UTF-8
Content-Transfer-Encoding: quoted-printable

<html><head><style>p { color: black }</style></head><body><p>Hello Ana,</p>
<p>the minutes are on the page. Please look at point 3 &ndash; it needs a word fr=
om you.</p><blockquote>On Sunday you wrote: what about Thursday?</blockquote>
</body></html>
--=_3f2a9c--
`, "\n", "\r\n")
