package imapd

import (
	"time"

	"buzon/imapd/wire"
)

// What one connection may cost. Dovecot's figures, where it has some, are the measure: clients live
// with them.
const (
	handshakeTimeout = 10 * time.Second // TLS; half-open handshakes must not pile up
	commandTimeout   = time.Minute      // from a command's first byte to its last, literals apart
	writeTimeout     = 5 * time.Minute  // of one buffer: a client that does not read holds 32 KiB for so long
	minimumRate      = 500              // bytes per second of a literal, beyond commandTimeout
	sweepInterval    = 30 * time.Second // a changed password ends sessions within a minute

	unknownBeforeLogin = 3  // unknown commands: what speaks here is no mail client
	errorsInARow       = 20 // after login: a client in a loop
	longestTag         = 128

	fetchBatch = 256 // messages that are marked as read, or parsed, at once
)

// Before login nobody is owed memory.
var limitsBeforeLogin = wire.Limits{Line: 8 << 10, Literal: 4096, Sum: 16 << 10, Items: 50, Depth: 1, Drain: 64 << 10}

// limitsAfterLogin: lines hold sets of thousands of UIDs. drain is what may be thrown away to stay
// in step when a client sends more than it may.
func limitsAfterLogin(messageSize int64) wire.Limits {
	return wire.Limits{Line: 64 << 10, Literal: 128 << 10, Sum: 1 << 20, Items: 10_000, Depth: 50, Drain: 4*messageSize + 1<<20}
}
