package dns

import (
	"context"
	"slices"

	mdns "github.com/miekg/dns"
)

// SRV says where a service is. RFC 2782.
type SRV struct {
	Priority, Weight, Port uint16
	Target                 string // lower case, no final dot; "." where there is no such service
}

// SRV returns the SRV records of "_service._proto.domain", best priority first.
func (c *Client) SRV(ctx context.Context, name string) ([]SRV, Answer, error) {
	records, a, err := c.lookup(ctx, name, mdns.TypeSRV)
	if err != nil {
		return nil, a, err
	}
	var list []SRV
	for _, rr := range records {
		srv := rr.(*mdns.SRV)
		target, ok := answerName(srv.Target)
		if srv.Target == "." {
			target, ok = ".", true
		}
		if ok {
			list = append(list, SRV{srv.Priority, srv.Weight, srv.Port, target})
		}
	}
	slices.SortStableFunc(list, func(a, b SRV) int { return int(a.Priority) - int(b.Priority) })
	return list, a, nil
}

// CAA says who may issue certificates for a name. RFC 8659.
type CAA struct {
	Tag   string // "issue", "issuewild", "iodef", …
	Value string // as written: foreign bytes
}

// CAA returns the CAA records of a name itself, not those above it.
func (c *Client) CAA(ctx context.Context, name string) ([]CAA, Answer, error) {
	records, a, err := c.lookup(ctx, name, mdns.TypeCAA)
	if err != nil {
		return nil, a, err
	}
	list := make([]CAA, 0, len(records))
	for _, rr := range records {
		caa := rr.(*mdns.CAA)
		list = append(list, CAA{caa.Tag, unescape(caa.Value)})
	}
	return list, a, nil
}
