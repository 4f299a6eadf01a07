package lda_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"buzon/internal/account"
	"buzon/smtpd/lda"
)

// judge is a Classifier that says what it is told to.
type judge struct {
	opinion lda.Opinion
	err     error
	asked   int
	filed   []string
}

func (j *judge) Classify(account.ID, io.ReaderAt, int64) (lda.Opinion, error) {
	j.asked++
	return j.opinion, j.err
}

func (j *judge) Filed(_ account.ID, content io.ReaderAt, size int64) error {
	text := make([]byte, size)
	if _, err := content.ReadAt(text, 0); err != nil && err != io.EOF {
		return err
	}
	j.filed = append(j.filed, string(text))
	return nil
}

func TestClassifier(t *testing.T) {
	const top = "Return-Path: <\"x y\"@remote.test>\r\nDelivered-To: ana@buzon.test\r\n"
	ana := []lda.Recipient{rcpt("ana@buzon.test", "ana@buzon.test")}
	for name, test := range map[string]struct {
		judge     judge
		filter    string
		change    func(*lda.Message)
		into, top string
		log       string
	}{
		"junk":          {judge: judge{opinion: lda.Opinion{Known: true, Percent: 97, Junk: true}}, into: ".Junk/new", top: top + "X-Junk-Score: 97\r\n", log: "junk=97"},
		"good":          {judge: judge{opinion: lda.Opinion{Known: true, Percent: 3}}, into: "new", top: top + "X-Junk-Score: 3\r\n", log: "junk=3"},
		"knows nothing": {into: "new", top: top},
		"fails":         {judge: judge{err: errors.New("no disk")}, into: "new", top: top, log: "message is not classified"},
		"our own mail":  {judge: judge{opinion: lda.Opinion{Known: true, Percent: 97, Junk: true}}, change: func(m *lda.Message) { m.Stranger = false }, into: "new", top: top},
		"others know better": {judge: judge{opinion: lda.Opinion{Known: true, Percent: 97, Junk: true}},
			change: func(m *lda.Message) { m.Spam.Tested = true }, into: "new", top: top},
		"junk for others": {judge: judge{opinion: lda.Opinion{Known: true, Percent: 3}}, change: func(m *lda.Message) { m.Junk = true }, into: ".Junk/new", top: top + "X-Junk-Score: 3\r\n"},
		"the filter knows": {judge: judge{opinion: lda.Opinion{Known: true, Percent: 60}}, into: ".Junk/new", top: top + "X-Junk-Score: 60\r\n",
			filter: `require ["spamtestplus", "relational", "fileinto"]; if spamtest :percent :value "ge" "50" { fileinto "Junk"; }`},
		"the filter decides": {judge: judge{opinion: lda.Opinion{Known: true, Percent: 97, Junk: true}}, into: ".Archive/new", top: top + "X-Junk-Score: 97\r\n",
			filter: `require "fileinto"; fileinto "Archive";`},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			o.classify(&test.judge)
			if test.filter != "" {
				o.filter("ana", test.filter)
			}
			m := letter(text)
			m.Stranger = true
			if test.change != nil {
				test.change(&m)
			}
			o.must(o.Deliver(t.Context(), m, ana))
			want := test.top + "Received: by us\r\n" + text
			if got := o.files("ana", test.into); len(got) != 1 || got[0] != want {
				t.Errorf("in %s: %q", test.into, got)
			}
			if !strings.Contains(o.log.String(), test.log) {
				t.Errorf("log: %s", &o.log)
			}
			if strings.HasPrefix(test.into, ".Junk") != (len(test.judge.filed) == 1) || len(test.judge.filed) == 1 && test.judge.filed[0] != want {
				t.Errorf("filed: %q", test.judge.filed)
			}
			if asked := test.judge.asked; asked != 1 && m.Stranger && !m.Spam.Tested || asked != 0 && !m.Stranger {
				t.Errorf("asked %d times", asked)
			}
		})
	}
}
