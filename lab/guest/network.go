package main

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// startNetwork gives the interfaces their addresses: eth0 leads to the lab and nowhere
// else, eth1 to the other nodes.
func startNetwork(o options) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("network: %w", err)
	}
	defer unix.Close(socket) // nothing was written
	for _, i := range []struct{ name, address string }{
		{"lo", "127.0.0.1/8"}, {"eth0", "10.0.2.15/24"}, {"eth1", fmt.Sprintf("10.77.0.%d/24", o.node)},
	} {
		if err := startInterface(socket, i.name, netip.MustParsePrefix(i.address)); err != nil {
			return fmt.Errorf("interface %s: %w", i.name, err)
		}
	}
	return nil
}

func startInterface(socket int, name string, address netip.Prefix) error {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	ip := address.Addr().As4()
	mask := uint32(0xffffffff) << (32 - address.Bits())
	for _, set := range []struct {
		operation uint
		value     [4]byte
	}{
		{unix.SIOCSIFADDR, ip},
		{unix.SIOCSIFNETMASK, [4]byte{byte(mask >> 24), byte(mask >> 16), byte(mask >> 8), byte(mask)}},
	} {
		if err := request.SetInet4Addr(set.value[:]); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(socket, set.operation, request); err != nil {
			return err
		}
	}
	if err := unix.IoctlIfreq(socket, unix.SIOCGIFFLAGS, request); err != nil {
		return err
	}
	request.SetUint16(request.Uint16() | unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request)
}
