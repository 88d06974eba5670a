package xen

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"one-clvm/cluster"
	"one-clvm/internal/run"
)

// ErrNotByXM means: xm cannot do it, or only by a number that nobody knows.
var ErrNotByXM = errors.New("xm cannot do this to a running VM: power it off first")

// Inspect is what the running domain has: the tables of its disks and interfaces, and of each
// disk what it is, which only the store knows.
func (c *Client) Inspect(ctx context.Context, s cluster.Service) (cluster.Hardware, error) {
	h := cluster.Hardware{Disks: map[string]string{}}
	disks, err := c.table(ctx, "block-list", s.Name)
	if err != nil {
		return h, err
	}
	var keys, targets []string
	for _, row := range disks {
		number, err := strconv.Atoi(row[0])
		if err != nil || diskName(number) == "" {
			return h, fmt.Errorf("%s block-list: %q is no number of a disk", c.Program, row[0])
		}
		targets, keys = append(targets, diskName(number)), append(keys, row[len(row)-1]+"/params")
	}
	if len(keys) > 0 {
		res, err := c.Runner.Run(ctx, run.Cmd{Path: "xenstore-read", Args: keys, Reads: true})
		if err != nil {
			return h, err
		}
		paths := strings.Split(strings.TrimSuffix(string(res.Stdout), "\n"), "\n")
		if len(paths) != len(keys) {
			return h, fmt.Errorf("xenstore-read: %d answers to %d questions", len(paths), len(keys))
		}
		for i, path := range paths {
			h.Disks[targets[i]] = source(path) // a file has its driver before it
		}
	}
	nics, err := c.table(ctx, "network-list", s.Name)
	for _, row := range nics {
		h.NICs = append(h.NICs, strings.ToLower(row[2])) // number, backend, address
	}
	return h, err
}

// table is what a program says of the devices of a kind, without the header. Where there are
// none some versions print no header, either.
func (c *Client) table(ctx context.Context, word, name string) ([][]string, error) {
	res, err := c.Runner.Run(ctx, run.Cmd{Path: c.Program, Args: []string{word, name}, Reads: true})
	if err != nil {
		return nil, err
	}
	var rows [][]string
	for line := range strings.Lines(string(res.Stdout)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] == "Vdev" || fields[0] == "Idx" {
			continue
		}
		if len(fields) < 7 {
			return nil, fmt.Errorf("%s %s: %q has %d columns", c.Program, word, strings.TrimSpace(line), len(fields))
		}
		rows = append(rows, fields)
	}
	return rows, nil
}

// The numbers of disks: a major number, eight bits of minor; beyond that a bit that says so.
const (
	majorXVD, majorSD = 202, 8
	extended          = 1 << 28
)

// diskName is a disk's target by its number, "" for none of Xen's.
func diskName(number int) string {
	major, minor := number>>8, number&0xff
	switch {
	case number < 0:
		return ""
	case number >= extended && number < extended<<1:
		return named("xvd", (number-extended)>>8, number&0xff)
	case major == majorXVD:
		return named("xvd", minor>>4, minor&15)
	case major == majorSD:
		return named("sd", minor>>4, minor&15)
	}
	if i := slices.Index([]int{3, 22, 33, 34}, major); i >= 0 { // of IDE, two disks each
		return named("hd", 2*i+minor>>6, minor&63)
	}
	return ""
}

func named(kind string, disk, partition int) string {
	letters := ""
	for n := disk; n >= 0; n = n/26 - 1 {
		letters = string(rune('a'+n%26)) + letters
	}
	if partition > 0 {
		letters += strconv.Itoa(partition)
	}
	return kind + letters
}

// source is the device or file of a disk's entry in a VM's file: DRIVER:PATH,TARGET,MODE.
func source(entry string) string {
	first, _, _ := strings.Cut(entry, ",")
	return first[strings.LastIndexByte(first, ':')+1:]
}

// hardware are the commands of the steps that change what a running domain has. The document
// of a device is its entry in the VM's file: words with commas in between. That a volume has
// grown the guest learns by itself.
func (c *Client) hardware(o cluster.Order, s cluster.Step) ([]cluster.Command, error) {
	name, d := o.Service.Name, o.Device
	var out []cluster.Command
	add := func(words ...string) {
		out = append(out, cluster.Command{Program: c.Program, Args: words})
	}
	switch s.Action {
	case cluster.Attach:
		word := "block-attach"
		if d.MAC != "" {
			word = "network-attach"
		}
		add(append([]string{word, name}, strings.Split(d.Document, ",")...)...)
	case cluster.Detach:
		if d.MAC == "" {
			add("block-detach", name, d.Target)
			break
		}
		if c.Program == XM { // which knows it by a number only
			return nil, ErrNotByXM
		}
		add("network-detach", name, d.MAC)
	case cluster.Eject, cluster.Insert:
		if c.Program == XM {
			return nil, ErrNotByXM
		}
		if s.Action == cluster.Eject {
			add("cd-eject", name, d.Target)
		} else {
			add("cd-insert", name, d.Target, d.Path)
		}
	case cluster.Resize:
		if s.MemoryMiB > 0 { // of which the guest's balloon driver takes its time
			add("mem-set", name, strconv.FormatInt(s.MemoryMiB, 10))
		}
		if s.CPUs > 0 {
			add("vcpu-set", name, strconv.Itoa(s.CPUs))
		}
	}
	return out, nil
}
