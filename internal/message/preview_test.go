package message

import (
	"strings"
	"testing"
)

func TestPreview(t *testing.T) {
	html := "Content-Type: text/html\n\n"
	for _, c := range []struct {
		in, want string
		max      int
	}{
		{"\nHello\n  World\n", "Hello World", 100},
		{"\nHello World\n", "Hello W", 7},
		{"\nHello World\n", "Hello", 6},
		{"\n> quoted\nmine\n", "mine", 100},
		{"\n> quoted\n>> more\n", "quoted more", 100},
		{"\nmine\n-- \nAna\n", "mine", 100},
		{"\n\u200b\ufeffa\u00adb\x07c\n", "abc", 100},
		{"\n日本語テキスト\n", "日本語", 3},
		{html + "<p>Hello <b>W</b>orld</p>", "Hello World", 100},
		{html + "<p>one</p><p>two<br>three", "one two three", 100},
		{html + "<style>x</style><script>if (a<b) {}</script><title>t</title>y", "y", 100},
		{html + "a &lt;b&gt; &amp;amp; &#x43;", "a <b> &amp; C", 100},
		{html + "<blockquote>old</blockquote>new", "new", 100},
		{html + "<blockquote>old &amp; older</blockquote>", "old & older", 100},
		{html + "<!-- c -->x<!--", "x", 100},
		{html + "<p", "", 100},
		{mp("x", "", "--x\nContent-Type: image/png\n\nPNG\n--x\n\ntext\n--x--\n"), "text", 100},
		{mp("x", "", "--x\nContent-Disposition: attachment\n\nno\n--x\n\ntext\n--x--\n"), "text", 100},
		{mp("x", "", "--x\n\n\n \n--x\nContent-Type: text/html\n\n<p>html</p>\n--x--\n"), "html", 100},
		{mp("x", "", "--x\nContent-Type: message/rfc822\n\nSubject: s\n\nforwarded\n--x--\n"), "forwarded", 100},
		{"Content-Type: application/pdf\n\nx", "", 100},
		{"Content-Transfer-Encoding: base64\nContent-Type: text/plain; charset=iso-8859-1\n\nY2Fm6Q==\n", "café", 100},
	} {
		text := []byte(c.in)
		got, err := Preview(strings.NewReader(c.in), parse(t, text), c.max)
		if err != nil || got != c.want {
			t.Errorf("%q: Preview %q, %v, want %q", c.in, got, err, c.want)
		}
	}
}

func BenchmarkPreview(b *testing.B) {
	r := strings.NewReader(typicalMail)
	p, err := Parse(r, r.Size())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Preview(r, p, 200); err != nil {
			b.Fatal(err)
		}
	}
}
