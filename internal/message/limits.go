package message

// Limits on what is looked at in one message. They bound work and memory, not what
// is kept: what lies beyond is still part of the message.
const (
	MaxDepth        = 100       // nested parts, as Dovecot
	MaxParts        = 10_000    // as Dovecot
	MaxBoundary     = 200       // bytes of a boundary that are compared; RFC 2046 allows 70
	MaxParams       = 128       // parameters of one field
	MaxHeaderBytes  = 1 << 20   // default of ReadHeader
	MaxHeaderFields = 2000      // default of ReadHeader
	MaxFieldBytes   = 100 << 10 // default of ReadHeader
	MaxAddresses    = 10_000    // of one field
	MaxMessageIDs   = 1000      // of one field
)
