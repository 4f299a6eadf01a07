package e2e_test

import (
	"crypto/tls"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"buzon/internal/e2e/stress"
)

// TestStress lets many connections and a program beside the server do everything
// at once in two mailboxes, and holds the server to what it promises each of them.
// BUZON_STRESS_SECONDS and BUZON_STRESS_CONNECTIONS make it longer and harder,
// BUZON_STRESS_SEED does the same again.
func TestStress(t *testing.T) {
	set := func(key string, otherwise uint64) uint64 {
		n, err := strconv.ParseUint(os.Getenv(key), 10, 64)
		if err != nil {
			return otherwise
		}
		return n
	}
	const account = "ana@a.test"
	h := start(t, hostConfig{
		Domains: []string{"a.test"}, Accounts: []string{account},
		Extra: "[limits]\nimap_sessions_per_user = 200\nimap_sessions_per_user_and_address = 200\nconnections_per_address = 200\n",
	})
	config := h.tls(t)
	cfg := stress.Config{
		Dial:        func() (net.Conn, error) { return tls.Dial("tcp", h.Addr("imaps"), config) },
		User:        account,
		Password:    password,
		Tree:        h.maildir(account),
		Connections: int(set("BUZON_STRESS_CONNECTIONS", 10)),
		Duration:    time.Duration(set("BUZON_STRESS_SECONDS", 10)) * time.Second,
		Seed:        set("BUZON_STRESS_SEED", uint64(time.Now().UnixNano())),
	}
	report, err := stress.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range report.Violations { // before all else, with the reason in the first line: that is what a summary shows
		t.Error(v)
	}
	t.Logf("seed %d: %d commands, %d changes by another program, %d messages in the end", cfg.Seed, report.Commands, report.Outside, report.Messages)
	if report.Outside == 0 {
		t.Error("the other program has done nothing")
	}
}
