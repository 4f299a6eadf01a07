package message

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime/quotedprintable"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

func TestDecodeHeader(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"plain", "plain"},
		{"=?utf-8?q?caf=C3=A9?=", "café"},
		{"=?UTF-8?B?Y2Fmw6k=?=", "café"},
		{"=?utf-8?B?Y2Fmw6k?=", "café"},
		{"=?utf-8*es?q?caf=C3=A9?=", "café"},
		{"a =?utf-8?q?b?= c", "a b c"},
		{"=?utf-8?q?a?= =?utf-8?q?b?=", "ab"},
		{"=?utf-8?q?a?=\t  =?utf-8?q?b?=", "ab"},
		{"=?utf-8?q?a?==?utf-8?q?b?=", "ab"},
		{"=?utf-8?q?a?= x =?utf-8?q?b?=", "a x b"},
		{"=?utf-8?q?a_b?=", "a b"},
		{"=?utf-8?q?a b?=", "a b"},
		{"=?utf-8?q?=E2=82?= =?utf-8?q?=AC?=", "€"},
		{"=?iso-8859-1?q?caf=E9?=", "café"},
		{"=?iso-8859-15?q?=A4?=", "€"},
		{"=?windows-1251?b?yOLg7Q==?=", "Иван"},
		{"=?koi8-r?b?6dfBzg==?=", "Иван"},
		{"=?shift_jis?b?lnuTeQ==?=", "本土"},
		{"=?big5?b?pKSk5Q==?=", "中文"},
		{"=?gb18030?b?1tDOxA==?=", "中文"},
		{"=?euc-kr?b?x9GxuQ==?=", "한국"},
		{"=?utf-7?q?caf+AOk-?=", "café"},
		{"=?utf-16be?b?AGMAYQBmAOk=?=", "café"},
		{"=?ibm850?q?caf=82?=", "café"},
		{"=?utf-8?q?a=0Db=00c?=", "a b c"},
		{"=?utf-8?q?=ff?=", "ÿ"},
		{"caf\xe9", "café"},
		{"caf\xc3\xa9", "café"},
		{"=?nope?q?x?=", "=?nope?q?x?="},
		{"=?utf-8?x?a?=", "=?utf-8?x?a?="},
		{"=?utf-8?q?a", "=?utf-8?q?a"},
		{"=?utf-8?q?a?", "=?utf-8?q?a?"},
		{"=?utf-8?q", "=?utf-8?q"},
		{"=?", "=?"},
		{"=? =?utf-8?q?a?=", "=? a"},
		{"=?=?utf-8?q?a?=", "=?a"},
		{"=??q?a?=", "=??q?a?="},
		{"=?utf-8?q?=4?= =4", "=4 =4"},
	} {
		if got := DecodeHeader(c.in); got != c.want {
			t.Errorf("DecodeHeader(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func FuzzDecodeHeader(f *testing.F) {
	f.Add("a =?utf-8?q?caf=C3=A9?= =?utf-7?q?+AOk-?= b")
	f.Add(strings.Repeat("=?utf-8?q?", 100))
	f.Fuzz(func(t *testing.T, s string) {
		got := DecodeHeader(s)
		if !utf8.ValidString(got) {
			t.Errorf("DecodeHeader(%q) = %q is not valid UTF-8", s, got)
		}
		if !strings.Contains(s, "=?") && utf8.ValidString(s) && got != s {
			t.Errorf("DecodeHeader(%q) = %q", s, got)
		}
		if len(got) > 6*len(s)+10 {
			t.Errorf("DecodeHeader(%q) grew to %d bytes", s, len(got))
		}
	})
}

func TestDecodeText(t *testing.T) {
	for _, c := range []struct{ encoding, charset, in, want string }{
		{"", "", "plain", "plain"},
		{"7bit", "us-ascii", "caf\xe9 caf\xc3\xa9", "café café"},
		{"8bit", "iso-8859-1", "caf\xe9", "café"},
		{"BASE64", "utf-8", "Y2Fm\r\nw6k=\r\n", "café"},
		{"base64", "utf-8", "Y2Fm!w6k", "café"},
		{"base64", "utf-8", "YQ==\r\nYg==", "ab"},
		{"base64", "utf-8", "Y", ""},
		{"base64", "utf-16le", "YQBiAA==", "ab"},
		{"quoted-printable", "utf-8", "caf=C3=A9 =\r\nx  \r\ny", "café x\r\ny"},
		{"quoted-printable", "utf-8", "a=zz b=4 c==", "a=zz b=4 c="},
		{"quoted-printable", "utf-8", "a= \t\r\nb=\nc", "abc"},
		{"quoted-printable", "utf-8", "a=3d=3D", "a=="},
		{"x-uuencode", "utf-8", "begin", "begin"},
		{"", "no-such", "caf\xc3\xa9", "café"},
		{"", "iso-2022-jp", "\x1b$B$3\x1b(B.", "こ."},
		{"", "utf-8", "\xe2\x82", "â‚"},
	} {
		for _, r := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in))} {
			got, err := io.ReadAll(DecodeText(r, c.encoding, c.charset))
			if err != nil || string(got) != c.want {
				t.Errorf("%s %s %q: %q, %v, want %q", c.encoding, c.charset, c.in, got, err, c.want)
			}
		}
	}
}

func TestDecodeTransfer(t *testing.T) {
	for _, c := range []struct {
		encoding, in, want string
		err                error
	}{
		{"base64", "YWJj\r\nZA==\r\n", "abcd", nil},
		{"base64", "", "", nil},
		{"base64", "YWJjZA", "abc", ErrBadEncoding},
		{"base64", "YWJjZ", "abc", ErrBadEncoding},
		{"base64", "YW=Jj", "a", ErrBadEncoding},
		{"base64", "YWJj!", "abc", ErrBadEncoding},
		{"base64", "=", "", ErrBadEncoding},
		{"quoted-printable", "a=\r\nb=3D \r\n", "ab=\r\n", nil},
		{"quoted-printable", "a=zz", "a", ErrBadEncoding},
		{"quoted-printable", "a=3", "a", ErrBadEncoding},
		{"quoted-printable", "a=", "a", nil},
		{"binary", "a\x00b", "a\x00b", nil},
	} {
		r, known := DecodeTransfer(strings.NewReader(c.in), c.encoding)
		got, err := io.ReadAll(r)
		if !known || string(got) != c.want || err != c.err {
			t.Errorf("%s %q: %q, %v, want %q, %v", c.encoding, c.in, got, err, c.want, c.err)
		}
	}
	if _, known := DecodeTransfer(strings.NewReader("x"), "x-uuencode"); known {
		t.Error("x-uuencode is known")
	}
}

// FuzzTransfer wants decoding to undo encoding, damage to be bounded, and the size of
// the pieces that are read to change nothing.
func FuzzTransfer(f *testing.F) {
	f.Add([]byte("Y2Fm\r\nw6k=="))
	f.Add([]byte("caf=C3=A9 =\r\n x  \r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var qp bytes.Buffer
		w := quotedprintable.NewWriter(&qp)
		w.Binary = true
		w.Write(data)
		w.Close()
		for encoding, encoded := range map[string]string{
			"base64":           base64.StdEncoding.EncodeToString(data),
			"quoted-printable": qp.String(),
		} {
			r, _ := DecodeTransfer(strings.NewReader(encoded), encoding)
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s %q: %q, %v, want %q", encoding, encoded, got, err, data)
			}
			r, _ = decodeTransfer(bytes.NewReader(data), encoding, false)
			whole, err := io.ReadAll(r)
			if err != nil || len(whole) > len(data) {
				t.Errorf("%s %q: %q, %v", encoding, data, whole, err)
			}
			r, _ = decodeTransfer(iotest.OneByteReader(bytes.NewReader(data)), encoding, false)
			if pieces, err := io.ReadAll(r); err != nil || !bytes.Equal(pieces, whole) {
				t.Errorf("%s %q: %q in pieces, %q whole, %v", encoding, data, pieces, whole, err)
			}
		}
	})
}

// FuzzDecodeText wants valid UTF-8 out of any charset.
func FuzzDecodeText(f *testing.F) {
	for _, charset := range []string{"utf-8", "utf-7", "utf-16", "iso-2022-jp", "shift_jis", "gb18030", "big5", "hz-gb-2312", "euc-kr", "koi8-r", "x-nope"} {
		f.Add([]byte("caf\xe9 +AOk- \x1b$B$3 ~{<:~}"), charset)
	}
	f.Fuzz(func(t *testing.T, data []byte, charset string) {
		got, err := io.ReadAll(DecodeText(bytes.NewReader(data), "", charset))
		if err != nil || !utf8.Valid(got) {
			t.Errorf("%q in %q: %q, %v", data, charset, got, err)
		}
		pieces, err := io.ReadAll(DecodeText(iotest.OneByteReader(bytes.NewReader(data)), "", charset))
		if err != nil || !bytes.Equal(pieces, got) {
			t.Errorf("%q in %q: %q in pieces, %q whole, %v", data, charset, pieces, got, err)
		}
	})
}

func TestDecodeCharset(t *testing.T) {
	for _, c := range []struct {
		in, charset, want string
		ok                bool
	}{
		{"caf\xe9", "ISO-8859-1", "café", true},
		{"café", "utf-8", "café", true},
		{"caf\xe9", "utf-8", "caf\xe9", false},
		{"x", "no-such", "", false},
	} {
		if got, ok := DecodeCharset(c.in, c.charset); got != c.want || ok != c.ok {
			t.Errorf("DecodeCharset(%q, %s) = %q, %t", c.in, c.charset, got, ok)
		}
	}
	for _, name := range strings.Fields("us-ascii utf-8 UTF8 iso-8859-1 latin1 iso-8859-16 windows-1252 cp1252 koi8-u macintosh gb2312 gbk gb18030 hz-gb-2312 big5 euc-jp iso-2022-jp shift_jis ks_c_5601-1987 euc-kr tis-620 iso-8859-8-i utf-16 utf-16le utf-7 cp850 ibm866 windows-874") {
		if !KnownCharset(name) {
			t.Errorf("charset %s is not known", name)
		}
	}
}
