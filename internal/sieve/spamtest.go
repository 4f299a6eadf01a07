package sieve

import (
	"slices"
	"strconv"
)

// spamTest compiles the test of RFC 5235 2: "0" is not tested, "1" to "10"
// from innocent to certain, or with :percent "0" to "100".
func (c *compiler) spamTest(n node) (check, error) {
	p := c.params(n, tagsOf(matching, map[string]tagRule{"percent": {extension: "spamtestplus"}}), 1, 1)
	p.need("spamtest")
	m, percent := p.matcher(0), p.has("percent")
	return func(r *run) (bool, error) {
		score := max(0, min(r.env.Spam.Percent, 100))
		switch {
		case m.how == "count": // whether it was tested
			if !r.env.Spam.Tested {
				return m.any(r, slices.Values[[]string](nil))
			}
		case !r.env.Spam.Tested:
			score = 0
		case !percent:
			score = 1 + (score*9+50)/100
		}
		return m.any(r, slices.Values([]string{strconv.Itoa(score)}))
	}, p.err
}
