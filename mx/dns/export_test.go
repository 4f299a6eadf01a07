package dns

import (
	"log/slog"
	"time"
)

// ServersOf returns the addresses that a resolv.conf leads to.
func ServersOf(path string) []string {
	s, _ := newServers(Config{ResolvConf: path}, time.Now, slog.New(slog.DiscardHandler))
	var list []string
	for _, server := range s.list() {
		list = append(list, server.address)
	}
	return list
}
