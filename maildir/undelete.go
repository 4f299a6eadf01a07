package maildir

import "buzon/internal/durable"

func (u *User) unlinkOrKeep(dir durable.Dir, name string) error { return dir.Remove(name) }
func (u *User) keepFolder(dir string)                           {}
