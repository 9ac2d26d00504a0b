// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/queuescaler/queuescaler/hack/localcluster/internal/cluster"
)

// connect brings the loopback interface up and gives it the node's address. Services get a route, which their addresses need to be
// translated at all; there is no other, so that what is outside is unreachable at once.
func connect() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find the loopback interface: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("bring the loopback interface up: %w", err)
	}
	node := net.IPNet{IP: net.ParseIP(cluster.NodeAddress), Mask: net.CIDRMask(32, 32)}
	if err := netlink.AddrAdd(lo, &netlink.Addr{IPNet: &node}); err != nil {
		return fmt.Errorf("add the address %s: %w", cluster.NodeAddress, err)
	}
	services := netip.MustParsePrefix(cluster.ServiceRange)
	err = netlink.RouteAdd(&netlink.Route{
		LinkIndex: lo.Attrs().Index, Scope: netlink.SCOPE_LINK, Src: node.IP,
		Dst: &net.IPNet{IP: services.Addr().AsSlice(), Mask: net.CIDRMask(services.Bits(), 32)},
	})
	if err != nil {
		return fmt.Errorf("add a route to %s: %w", cluster.ServiceRange, err)
	}
	return nil
}
