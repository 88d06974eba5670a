package clustertest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
)

// subject fills in what a verb on the hardware is about, as its file says it:
//
//	attach_disk vdb=/dev/vg-one/lv-one-42-1    (detach_disk, prereconfigure, reconfigure the same)
//	attach_nic 02:00:c0:a8:00:01               (detach_nic the same)
//	resize_disk vda=/dev/vg-one/lv-one-42-0 2048
//	resize CPUS MIB
func (w *world) subject(order *cluster.Order, words []string) {
	number := func(i int) int64 {
		n, err := strconv.ParseInt(words[i], 10, 64)
		require.NoError(w.t, err)
		return n
	}
	d := &order.Device
	switch order.Verb {
	case cluster.VerbResize:
		order.CPUs, order.MemoryMiB = int(number(0)), number(1)
		order.Service.CPUs, order.Service.MemoryMiB = max(order.CPUs, order.Service.CPUs), max(order.MemoryMiB, order.Service.MemoryMiB)
	case cluster.VerbAttachNIC, cluster.VerbDetachNIC:
		d.MAC, d.Type, d.Document = words[0], "bridge", "<interface/>"
	default:
		d.Target, d.Path, _ = strings.Cut(words[0], "=")
		d.Document = "<disk/>"
		if order.Verb == cluster.VerbResizeDisk {
			order.SizeMiB = number(1)
		}
	}
}

// hardware is what the domain has at this look: a line of the file each, with the words
// TARGET=PATH, MAC addresses, cpus=MOST and memory=MIB, or cpus=NOW/MOST and memory=NOW/MIB.
func (w *world) hardware(context.Context) (cluster.Hardware, error) {
	lines := strings.Split(strings.TrimSpace(w.read("hardware")), "\n")
	line := lines[min(w.looks, len(lines))-1]
	if strings.HasPrefix(line, "error:") {
		return cluster.Hardware{}, errors.New(line)
	}
	h := cluster.Hardware{Disks: map[string]string{}}
	for _, word := range strings.Fields(line) {
		name, value, found := strings.Cut(word, "=")
		var err error
		switch {
		case !found:
			h.NICs = append(h.NICs, word)
		case name == "cpus":
			err = ofMost(value, &h.CPUsNow, &h.CPUs)
		case name == "memory":
			err = ofMost(value, &h.MemoryMiBNow, &h.MemoryMiB)
		default:
			h.Disks[name] = value
		}
		require.NoError(w.t, err)
	}
	return h, nil
}

// ofMost reads NOW/MOST, or MOST alone.
func ofMost[N int | int64](text string, now, most *N) error {
	before, after, both := strings.Cut(text, "/")
	if !both {
		before, after = "0", text
	}
	_, err := fmt.Sscan(before+" "+after, now, most)
	return err
}
