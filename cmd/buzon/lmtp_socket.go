package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"

	"buzon/internal/tomlfile"
)

// maxSocketPath is what a socket address has room for, in bytes.
const maxSocketPath = 107

// isSocketPath tells the path of a socket from an address with a port.
func isSocketPath(address string) bool { return strings.HasPrefix(address, "/") }

// listenAt opens one address of a service.
func listenAt(cfg *config, service, address string) (net.Listener, error) {
	if service == "lmtp" && isSocketPath(address) {
		return listenSocket(address, cfg.Listen.LMTPMode, cfg.Listen.LMTPGroup)
	}
	return net.Listen("tcp", address)
}

// listenSocket opens the Unix socket at path, for the programs that mode and
// group let in. A socket that nobody listens at any more, as a crash leaves
// it, makes way; everything else that is there stays.
func listenSocket(path, mode, group string) (net.Listener, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := giveSocket(path, mode, group); err != nil {
		ln.Close()
		return nil, err
	}
	return ln, nil
}

func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there and is not a socket: remove it, or choose another path", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		conn.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s: %w", path, syscall.EADDRINUSE)
	}
	return os.Remove(path)
}

// giveSocket says who may connect. Until here the umask lets in nobody but us.
func giveSocket(path, mode, group string) error {
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			return fmt.Errorf("listen.lmtp_group: %w", err)
		}
		gid, err := strconv.Atoi(g.Gid)
		if err != nil {
			return err
		}
		if err := os.Chown(path, -1, gid); err != nil {
			return fmt.Errorf("%w; the user that runs buzon must be in the group %s", err, group)
		}
	}
	bits, err := strconv.ParseUint(mode, 8, 32)
	if err != nil {
		return err
	}
	return os.Chmod(path, fs.FileMode(bits))
}

// checkLMTP wants sockets, or addresses that only this machine has: whoever
// can connect is believed whatever he says.
func checkLMTP(f *tomlfile.File, c *config) {
	key := []string{"listen", "lmtp"}
	for _, address := range c.Listen.LMTP {
		if isSocketPath(address) {
			if len(address) > maxSocketPath {
				f.Problem(key, "%q is longer than the %d bytes of a socket's path", address, maxSocketPath)
			}
			continue
		}
		if at, err := netip.ParseAddrPort(address); err != nil || !at.Addr().IsLoopback() {
			f.Problem(key, "%q is neither the absolute path of a socket nor a loopback address: write it like \"/run/buzon/lmtp\" or \"127.0.0.1:24\"", address)
		}
	}
	if bits, err := strconv.ParseUint(c.Listen.LMTPMode, 8, 32); err != nil || bits > 0o777 || bits&0o600 != 0o600 {
		f.Problem([]string{"listen", "lmtp_mode"}, "%q is not the mode of a socket: write it like \"0660\"", c.Listen.LMTPMode)
	}
}
