package sieve

// Limits on scripts and on what they may cost. RFC 5228 2.10.5 and the
// extensions name what must be allowed at least.
const (
	MaxScript    = 256 << 10 // bytes of source
	maxTokens    = 50_000
	maxNesting   = 32   // of blocks, and of tests; RFC 5228 wants 15
	maxPattern   = 4096 // bytes of a :matches or :regex key
	maxVariables = 256  // RFC 5229 6 wants 128
	maxName      = 64   // bytes of a variable's name; RFC 5229 6 wants 32
	maxValue     = 8192 // bytes of a variable's value; RFC 5229 6 wants 4000
	MaxRedirects = 5
	maxFilings   = 32
	maxFlags     = 64      // flags of one message
	maxEdits     = 128     // fields that addheader adds
	maxBody      = 1 << 20 // bytes of text that one body test looks at
	maxParts     = 1000    // parts of the message that one body test looks at
	maxReason    = 64 << 10
	// maxWork bounds a run: bytes that matches look at, times what looking at one
	// costs, and steps, each counted as stepWork. It is about a second.
	maxWork  = 128 << 20
	stepWork = 64
)
