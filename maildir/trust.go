package maildir

// A snapshot is read from end to end before it is served: a flipped byte must cost
// a scan and nothing else. For a million messages that is 140 MB. But whatever
// changes a file changes its times, so a snapshot that this run of the kernel has
// seen sound, or that we wrote in it, is still sound when its times are the same.
// The last record of the log says which it was. After a power cut the disk may
// hold less than was written, and everything is read again.

// trust returns what decides whether a snapshot must be read before it is served:
// not one that words name, nor one that was just written. It remembers the stamp
// for the closing words.
func (x *index) trust(words *closingStamps, written bool) func(fileStamp) bool {
	return func(is fileStamp) bool {
		known := written || words != nil && words.snapshot == is && is != fileStamp{}
		if x.checked = is; x.mayHide(is) {
			x.checked = fileStamp{}
		}
		return known
	}
}

// mayHide reports that a change right after a stamp might not show in it. Where
// times are fine is known of the file system that the mail is on.
func (x *index) mayHide(is fileStamp) bool {
	u := x.mailbox.user
	granule := coarseGranule
	if root, err := u.root.Self(); err == nil && root.Dev == is.Dev {
		granule = u.granule
	}
	return x.dir.Remote() || granule > 0 && is.Ctime > u.store.now().Add(-granule).UnixNano()
}
