package mx

import (
	"context"
	"net"
	"net/netip"
)

// dialer connects from the first of sources that is of the family of the
// address, or from whichever the system chooses.
func dialer(sources []netip.Addr) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		var d net.Dialer
		if to, err := netip.ParseAddrPort(address); err == nil {
			for _, from := range sources {
				if from.Is4() == to.Addr().Is4() {
					d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
					break
				}
			}
		}
		return d.DialContext(ctx, network, address)
	}
}
