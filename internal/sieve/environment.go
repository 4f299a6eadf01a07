package sieve

import (
	"slices"
	"strings"
)

// environment compiles the test of RFC 5183 4. An item that has no value
// matches nothing.
func (c *compiler) environment(n node) (check, error) {
	p := c.params(n, matching, 2, 2)
	p.need("environment")
	name, m := p.text(0), p.matcher(1)
	return func(r *run) (bool, error) {
		_, domain, _ := strings.Cut(r.env.Host, ".")
		items := map[string]string{
			"domain": domain, "host": r.env.Host, "location": "MDA", "name": "buzon", "phase": "during",
			"remote-host": r.env.RemoteHost, "remote-ip": r.env.RemoteIP,
		}
		value, known := items[strings.ToLower(name.value(r))]
		if !known || value == "" {
			return m.any(r, slices.Values[[]string](nil))
		}
		return m.any(r, slices.Values([]string{value}))
	}, p.err
}
