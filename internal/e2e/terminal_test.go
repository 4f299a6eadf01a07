package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"buzon/internal/e2e/child"
)

// terminal is a screen with a program on it that a user works with.
type terminal struct {
	t       testing.TB
	dir     string
	env     []string
	socket  string
	command string
}

// onTerminal starts a program that wants a screen and keys, in dir.
func onTerminal(t testing.TB, dir, command string) *terminal {
	t.Helper()
	x := &terminal{t, dir, append(os.Environ(), "HOME="+t.TempDir(), "TERM=screen", "LC_ALL=C.UTF-8"), filepath.Join(t.TempDir(), "tmux"), command}
	if out, err := x.tmux("new-session", "-d", "-x", "100", "-y", "24", command); err != nil {
		t.Fatalf("tmux: %v %s", err, out)
	}
	// Its server is nobody's child; it ends by itself with its last session.
	t.Cleanup(func() { x.tmux("kill-server") })
	return x
}

func (x *terminal) tmux(args ...string) (string, error) {
	cmd := child.Command(x.t, patience, "tmux", append([]string{"-S", x.socket, "-f", os.DevNull}, args...)...)
	cmd.Env, cmd.Dir = x.env, x.dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// keys types; words such as Enter are keys.
func (x *terminal) keys(keys ...string) {
	x.t.Helper()
	if out, err := x.tmux(append([]string{"send-keys"}, keys...)...); err != nil {
		x.t.Fatalf("tmux: %v %s", err, out)
	}
}

// shows waits for a text on the screen.
func (x *terminal) shows(text string) {
	x.t.Helper()
	x.screen(func(screen string) error {
		if !strings.Contains(screen, text) {
			return errors.New("no " + text)
		}
		return nil
	})
}

// hides waits until a text is not on the screen any more.
func (x *terminal) hides(text string) {
	x.t.Helper()
	x.screen(func(screen string) error {
		if strings.Contains(screen, text) {
			return errors.New(text + " is still")
		}
		return nil
	})
}

// screen waits until what is on the screen is as it should be.
func (x *terminal) screen(check func(screen string) error) {
	x.t.Helper()
	eventually(x.t, 2*patience, func() error {
		screen, err := x.tmux("capture-pane", "-p")
		if err == nil {
			err = check(screen)
		}
		if err != nil {
			return fmt.Errorf("%w on the screen of %s:\n%s", err, x.command, screen)
		}
		return nil
	})
}

// ends waits for the program's end.
func (x *terminal) ends() {
	x.t.Helper()
	eventually(x.t, 2*patience, func() error {
		screen, err := x.tmux("capture-pane", "-p")
		if err != nil {
			return nil
		}
		return fmt.Errorf("%s does not end; its screen:\n%s", x.command, screen)
	})
}
