package durable

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls that are made for every message of a large STORE, COPY or EXPUNGE
// take their names from the stack: unix copies each into garbage.

// cName is a file name as the kernel reads it.
type cName [unix.NAME_MAX + 1]byte

// set reports whether the name fits; the kernel refuses one that does not.
func (c *cName) set(name string) bool {
	if len(name) >= len(c) {
		return false
	}
	c[copy(c[:], name)] = 0
	return true
}

// renameat2 renames a file unless that would replace another.
func renameat2(fromDir int, from string, toDir int, to string) error {
	return twoNames(unix.SYS_RENAMEAT2, fromDir, from, toDir, to, unix.RENAME_NOREPLACE)
}

func linkat(fromDir int, from string, toDir int, to string) error {
	return twoNames(unix.SYS_LINKAT, fromDir, from, toDir, to, 0)
}

func twoNames(call uintptr, fromDir int, from string, toDir int, to string, flags uintptr) error {
	var a, b cName
	if !a.set(from) || !b.set(to) {
		return unix.ENAMETOOLONG
	}
	_, _, err := unix.Syscall6(call, uintptr(fromDir), uintptr(unsafe.Pointer(&a)), uintptr(toDir), uintptr(unsafe.Pointer(&b)), flags, 0)
	return errorOf(err)
}

func unlinkat(dir int, name string, flags uintptr) error {
	var a cName
	if !a.set(name) {
		return unix.ENAMETOOLONG
	}
	_, _, err := unix.Syscall(unix.SYS_UNLINKAT, uintptr(dir), uintptr(unsafe.Pointer(&a)), flags)
	return errorOf(err)
}

// errorOf makes an error number an error; 0 is none.
func errorOf(err unix.Errno) error {
	if err != 0 {
		return err
	}
	return nil
}
