package smtp_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"buzon/internal/smtp"
)

func TestReplyIsSafe(t *testing.T) {
	r := smtp.NewReply(550, [3]int{5, 1, 1}, "no\r\nsuch\ruser\x00\x1b[31m\xff")
	if r.Text != "no\nsuch?user??[31m?" {
		t.Errorf("text is %q", r.Text)
	}
	if got := r.Error(); got != "550 5.1.1 no such?user??[31m?" {
		t.Errorf("error is %q", got)
	}
	if got := len(smtp.NewReply(550, [3]int{}, strings.Repeat("ñ", 9999)).Text); got > 4096 {
		t.Errorf("text has %d bytes", got)
	}
	if got := smtp.NewReply(421, [3]int{}, "x").Status(); got != "4.0.0" {
		t.Errorf("status is %s", got)
	}
}

func TestReplyFor(t *testing.T) {
	cause := errors.New("disk on fire")
	if got := smtp.ReplyFor(fmt.Errorf("deliver: %w: %w", smtp.DiskFull, cause)); got != smtp.DiskFull {
		t.Errorf("got %v", got)
	}
	if got := smtp.ReplyFor(cause); got != smtp.TryLater {
		t.Errorf("got %v", got)
	}
}

func TestResult(t *testing.T) {
	for _, tt := range []struct {
		code                  int
		done, temporary, perm bool
	}{{0, false, true, false}, {250, true, false, false}, {354, false, true, false}, {451, false, true, false}, {550, false, false, true}} {
		var r smtp.Result
		if tt.code != 0 {
			r.Reply = smtp.NewReply(tt.code, [3]int{}, "")
		}
		if r.Done() != tt.done || r.Temporary() != tt.temporary || r.Permanent() != tt.perm {
			t.Errorf("%d: done %v, temporary %v, permanent %v", tt.code, r.Done(), r.Temporary(), r.Permanent())
		}
	}
}
