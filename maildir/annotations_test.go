package maildir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// What is annotated survives a restart and stands in the folder as text; lines that other programs
// or people wrote are kept.
func TestAnnotationsAreKept(t *testing.T) {
	h := newHarness(t).open()
	ctx := h.ctx()
	if err := h.user.Create(ctx, "plan", ""); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(h.root, ".plan", annotationsFile)
	if err := os.WriteFile(file, []byte("# by hand\n*\t/comment\tby hand\nnonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	set := Annotation{Owner: "ana@example.org", Name: "/comment", Value: "two\r\nlines\x00\t\x01"}
	changed, err := h.user.Annotate(ctx, "plan", []AnnotationChange{{Annotation: set}, {Annotation: Annotation{Name: "/none"}, Remove: true}})
	if err != nil || len(changed) != 1 {
		t.Fatal(changed, err)
	}
	h.close()
	h.open()
	notes, err := h.user.Annotations(ctx, "plan")
	if want := []Annotation{{"", "/comment", "by hand"}, set}; err != nil || !reflect.DeepEqual(notes, want) {
		t.Errorf("annotations %q, %v", notes, err)
	}
	text, err := os.ReadFile(file)
	if want := "# by hand\nnonsense\n*\t/comment\tby hand\nana@example.org\t/comment\ttwo\x01r\x01nlines\x010\x01t\x011\n"; err != nil || string(text) != want {
		t.Errorf("file %q, %v", text, err)
	}
}

// A change that is too much changes nothing at all.
func TestAnnotationLimits(t *testing.T) {
	h := newHarness(t).open()
	var many []AnnotationChange
	for i := range maxAnnotations + 1 {
		many = append(many, AnnotationChange{Annotation: Annotation{Name: fmt.Sprint("/", i), Value: "x"}})
	}
	big := AnnotationChange{Annotation: Annotation{Name: "/big", Value: strings.Repeat("x", MaxAnnotationValue+1)}}
	var sum []AnnotationChange
	for i := range 20 {
		sum = append(sum, AnnotationChange{Annotation: Annotation{Owner: fmt.Sprint(i), Name: "/big", Value: strings.Repeat("x", MaxAnnotationValue)}})
	}
	for _, changes := range [][]AnnotationChange{many, {big}, sum} {
		if _, err := h.user.Annotate(h.ctx(), "INBOX", changes); !errors.Is(err, ErrLimit) {
			t.Errorf("%d changes: %v", len(changes), err)
		}
	}
	if notes, err := h.user.Annotations(h.ctx(), "INBOX"); err != nil || len(notes) != 0 {
		t.Errorf("annotations %v, %v", notes, err)
	}
	if _, err := h.user.Annotate(h.ctx(), "INBOX", many[:maxAnnotations]); err != nil {
		t.Errorf("as many as there may be: %v", err)
	}
	if _, err := h.user.Annotate(h.ctx(), "nonesuch", many[:1]); !errors.Is(err, ErrNotFound) {
		t.Errorf("mailbox that is not there: %v", err)
	}
}

// What is read from the file is written as a file that is read the same.
func FuzzAnnotations(f *testing.F) {
	f.Add([]byte("# comment\n*\t/comment\tshared\nana@example.org\t/x\ta\x01tb\x010\n"))
	f.Add([]byte("\t\t\n*\t/\t\n*\tx\ty\n\x01\t/\x01\t\x01\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		notes, rest := parseAnnotations(data)
		again, restAgain := parseAnnotations(formatAnnotations(notes, rest))
		if len(notes) != len(again) || len(notes) > 0 && !reflect.DeepEqual(notes, again) || len(rest) > 0 && !reflect.DeepEqual(rest, restAgain) {
			t.Errorf("%q %q became %q %q", notes, rest, again, restAgain)
		}
	})
}
