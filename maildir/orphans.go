package maildir

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"buzon/internal/durable"
)

// Nobody tells us when another program removes a folder, whose index is elsewhere.
// So when a user's tree is opened, once a day, indexes that no folder has are noted
// in the file "orphans" beside them:
//
//	when it was written, in seconds since 1970, LF, then one GUID a line
//
// and those that had been noted the last time are removed. A folder that comes back
// within a day, or while the tree is open, still finds its index; one that comes
// later is scanned.
const (
	orphansFile = "orphans"
	orphanAge   = 24 * time.Hour
	// maxOrphansFile is far more than maxFolders GUIDs.
	maxOrphansFile = 1 << 20
)

// sweepIndexes notes the indexes without a folder, and removes those that were noted
// a day ago. Whatever goes wrong costs disk space only.
func (u *User) sweepIndexes() {
	if u.state == nil {
		return
	}
	now := u.store.now()
	noted, when := u.readOrphans()
	if age := now.Sub(when); age >= 0 && age < orphanAge {
		return
	}
	orphans, err := u.orphans()
	if err != nil {
		u.store.log.Warn("indexes without a folder are kept", "user", u.id, "err", err)
		return
	}
	removed := 0
	orphans = slices.DeleteFunc(orphans, func(guid string) bool {
		if !slices.Contains(noted, guid) {
			return false
		}
		removeTree(u.state, guid)
		removed++
		return true
	})
	if removed > 0 {
		u.store.log.Debug("indexes of removed folders swept", "user", u.id, "count", removed)
	}
	u.writeOrphans(orphans, now)
}

// orphans returns the GUIDs of the indexes that no folder has.
func (u *User) orphans() ([]string, error) {
	var indexes []string
	err := u.state.Scan(func(e durable.Entry) error {
		if guid := string(e.Name); validGUID(guid) {
			indexes = append(indexes, guid)
		}
		return nil
	})
	if err != nil || len(indexes) == 0 {
		return nil, err
	}
	folders, err := u.folders()
	if err != nil {
		return nil, err
	}
	inUse := map[string]bool{}
	for _, f := range append([]folder{{name: inbox}}, folders...) {
		guid, err := u.identity(f.dir)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		inUse[guid] = true
	}
	return slices.DeleteFunc(indexes, func(guid string) bool { return inUse[guid] }), nil
}

// identity returns a folder's GUID; "" when it has no uidlist yet. A list that is
// there and does not say it is an error: whose index is its folder's nobody knows.
func (u *User) identity(dir string) (string, error) {
	folder, err := u.openFolder(dir)
	if err != nil {
		return "", err
	}
	if dir != "" {
		defer folder.Close()
	}
	if _, err := folder.Stat(uidlistFile); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if guid := readGUID(folder); guid != "" {
		return guid, nil
	}
	return "", errors.New("its uidlist has no GUID")
}

func (u *User) readOrphans() (guids []string, when time.Time) {
	data, _, err := readSmallFile(u.state, orphansFile, maxOrphansFile)
	if err != nil {
		return nil, time.Time{}
	}
	first, rest, _ := strings.Cut(string(data), "\n")
	seconds, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return nil, time.Time{}
	}
	return strings.Fields(rest), time.Unix(seconds, 0)
}

// writeOrphans needs no fsync: what is lost is found again.
func (u *User) writeOrphans(guids []string, now time.Time) {
	_ = u.state.Remove(orphansFile)
	f, err := u.state.Create(orphansFile, 0o600)
	if err != nil {
		return
	}
	_, _ = f.Write([]byte(strconv.FormatInt(now.Unix(), 10) + "\n" + strings.Join(guids, "\n") + "\n"))
	_ = f.Close()
}
