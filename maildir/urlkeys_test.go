package maildir

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Keys survive a restart, nobody else may read them, and those that are reset are gone for good.
func TestURLKeys(t *testing.T) {
	h := newHarness(t).open()
	ctx := h.ctx()
	if has, err := h.store.HasURLKeys("ana@example.org"); has || err != nil {
		t.Errorf("keys before the first: %v, %v", has, err)
	}
	one, other := h.inbox.ID(), strings.Repeat("ab", 16)
	if key, err := h.user.URLKey(ctx, one, false); key != nil || err != nil {
		t.Errorf("key %x, %v", key, err)
	}
	first, err := h.user.URLKey(ctx, one, true)
	if err != nil || len(first) != urlKeySize {
		t.Fatalf("key %x, %v", first, err)
	}
	second, err := h.user.URLKey(ctx, other, true)
	if err != nil || bytes.Equal(first, second) {
		t.Errorf("second key %x, %v", second, err)
	}
	in, err := os.Stat(filepath.Join(h.root, urlKeysFile))
	if err != nil || in.Mode().Perm() != 0o600 {
		t.Errorf("file %v, %v", in, err)
	}
	h.close()
	h.open()
	if key, err := h.user.URLKey(ctx, one, true); err != nil || !bytes.Equal(key, first) {
		t.Errorf("key after a restart %x, %v", key, err)
	}
	if err := h.user.ResetURLKey(ctx, one); err != nil {
		t.Fatal(err)
	}
	if key, _ := h.user.URLKey(ctx, one, false); key != nil {
		t.Errorf("key after RESETKEY %x", key)
	}
	if key, _ := h.user.URLKey(ctx, other, false); !bytes.Equal(key, second) {
		t.Errorf("the other key %x", key)
	}
	if err := h.user.ResetURLKey(ctx, ""); err != nil {
		t.Fatal(err)
	}
	if key, _ := h.user.URLKey(ctx, other, false); key != nil {
		t.Errorf("key after the reset of all %x", key)
	}
	if has, err := h.store.HasURLKeys("nobody@example.org"); has || err != nil {
		t.Errorf("keys of nobody: %v, %v", has, err)
	}
}

// What is read is written the same, and lines that are no keys are none.
func FuzzURLKeys(f *testing.F) {
	f.Add([]byte(strings.Repeat("ab", 16) + "\t" + strings.Repeat("01", 32) + "\nx\ty\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys := parseURLKeys(data)
		if again := formatURLKeys(parseURLKeys(formatURLKeys(keys))); !bytes.Equal(again, formatURLKeys(keys)) {
			t.Errorf("%q became %q", formatURLKeys(keys), again)
		}
	})
}
