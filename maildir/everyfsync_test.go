package maildir

import (
	"fmt"
	"maps"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"buzon/internal/durable/crashfs"
)

// TestEveryFsyncMatters leaves out one fsync after the other, and sees the power-cut
// test fail each time: what could be left out unnoticed is either not needed or not
// tested. `make test-store` runs it.
func TestEveryFsyncMatters(t *testing.T) {
	if !long() {
		t.Skip("make test-store runs it")
	}
	callers := map[string][]scenario{}
	for _, sc := range scenarios {
		seen := map[string]bool{}
		if _, err := runCut(t, sc, 1<<30, crashfs.Everything, 0, func(site string) bool {
			seen[site] = true
			return false
		}); err != nil {
			t.Fatalf("%s: %v", sc.name, err)
		}
		for site := range seen {
			callers[site] = append(callers[site], sc)
		}
	}
	for _, site := range slices.Sorted(maps.Keys(callers)) {
		t.Run(site, func(t *testing.T) {
			failure := withoutFsync(t, site, callers[site])
			switch reason, spare := spareFsyncs[site]; {
			case failure == "" && !spare:
				t.Errorf("%s can be left out, and no power cut shows it", site)
			case failure != "" && spare:
				t.Errorf("is needed (%s), though it is said: %s", failure, reason)
			case failure != "":
				fmt.Printf("without fsync %s: %s\n", site, failure)
			}
		})
	}
	for site := range spareFsyncs {
		if len(callers[site]) == 0 {
			t.Errorf("no scenario has an fsync %s", site)
		}
	}
}

// spareFsyncs can be left out, and why they are there.
var spareFsyncs = map[string]string{
	"dovecot-uidvalidity in nextUIDValidity < Mailbox.newList": "the marker's name says the same; the contents are for Dovecot",
	"dovecot-uidvalidity in nextUIDValidity < User.build":      "as above",
	"root/ in nextUIDValidity < Mailbox.newList":               "the clock has gone on by the next use of the counter, unless it is set back",
	"root/ in nextUIDValidity < User.build":                    "the new folder's name is made durable in the same directory",
	"maildirfolder in User.fill < User.build":                  "an empty file has nothing to lose",
	"index/ in index.openLog < Mailbox.openIndex":              "the log's name was made durable with its snapshot, unless others removed it",
	"root/ in User.clearRenameNote < User.renameFolders":       "what we do to folders next makes it durable; what others do does not",
	"root/ in User.editSubscriptions < User.makeDefaults":      "INBOX's list is made in the same directory next",
	"root/ in openOrMake < openFolderDirs":                     "INBOX's list is made in the same directory next",
}

// withoutFsync says how the power-cut test fails when an fsync is left out; "" when
// it does not.
func withoutFsync(t *testing.T, site string, all []scenario) string {
	for _, sc := range all {
		for after := 0; ; after++ {
			finished := false
			for sample := range 2 * len(crashfs.Modes) {
				done, err := runCut(t, sc, after, crashfs.Modes[sample%len(crashfs.Modes)], uint64(sample), func(s string) bool { return s == site })
				if err != nil {
					first, _, _ := strings.Cut(err.Error(), "\n")
					return fmt.Sprintf("%s, cut %d: %s", sc.name, after, first)
				}
				finished = done
			}
			if finished {
				break
			}
		}
	}
	return ""
}

var (
	pathTo   = regexp.MustCompile(`^.*/Maildir/`)
	inState  = regexp.MustCompile(`^/state/[^/]+/[^/]+/[0-9a-f]{32}/`)
	variable = regexp.MustCompile(`(\.[0-9a-f]{12}|\.[0-9a-f]+)?$`)
)

// fsyncSite names an fsync by the functions of ours that want it, and by what it is of.
func fsyncSite(name string) string {
	var target string
	switch {
	case inState.MatchString(name):
		target = "index/" + variable.ReplaceAllString(inState.ReplaceAllString(name, ""), "")
	case pathTo.MatchString(name):
		rest := pathTo.ReplaceAllString(name, "")
		dir, file := "", rest
		if i := strings.LastIndexByte(rest, '/'); i >= 0 {
			dir, file = rest[:i], rest[i+1:]
		}
		last := dir[strings.LastIndexByte(dir, '/')+1:]
		switch {
		case file == "" && last == "":
			target = "root/"
		case file == "" && (last == "cur" || last == "new" || last == "tmp"):
			target = last + "/"
		case file == "":
			target = "folder/"
		case last == "tmp" && strings.Contains(file, "."):
			target = "message"
		default:
			target = strings.TrimPrefix(variable.ReplaceAllString(file, ""), ".")
		}
	default:
		target = "above/"
	}
	var pcs [40]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	var chain []string
	for len(chain) < 2 {
		frame, more := frames.Next()
		if fn, ok := strings.CutPrefix(frame.Function, "buzon/maildir."); ok {
			if strings.HasSuffix(frame.File, "_test.go") {
				if len(chain) > 0 {
					break
				}
			} else {
				chain = append(chain, strings.NewReplacer("(*", "", ")", "").Replace(fn))
			}
		}
		if !more {
			break
		}
	}
	if len(chain) == 0 {
		return "" // the test's own
	}
	return target + " in " + strings.Join(chain, " < ")
}

// guarded has fsyncs answered without being done where lie says so.
func guarded(lie func(site string) bool) func(name string) bool {
	if lie == nil {
		return nil
	}
	var mu sync.Mutex
	return func(name string) bool {
		mu.Lock()
		defer mu.Unlock()
		site := fsyncSite(name)
		return site != "" && lie(site)
	}
}
