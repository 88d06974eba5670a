package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"one-clvm/lab/profile"
)

// step of setting a cluster up: programs that run at the same time, one on each node.
// nil is a node that waits. The steps are part of a snapshot's name.
type step [][]string

// Devices of the SAN on every node.
const (
	GroupDevice = "/dev/sda"
	homeDevice  = "/dev/sdb"
)

// mountHome mounts the system datastore.
var mountHome = []string{"mount", "-t", "gfs2", "-o", "noatime", homeDevice, Home}

// first is a step of node1 alone.
func first(argv ...string) step { return step{argv} }

// steps make the volume group and the home of a profile on empty disks.
func steps(p profile.Profile) []step {
	var list []step
	switch p.LockManager {
	case profile.LockNone:
		list = append(list, first("vgcreate", "-qq", "-y", Group, GroupDevice))
	default:
		list = append(list, first("vgcreate", "-qq", "-y", "--shared", "--lock-type", p.LockManager, Group, GroupDevice))
		if p.Nodes > 1 {
			list = append(list, step{nil, {"vgchange", "-qq", "--lockstart", Group}})
		}
	}
	if p.SharedHome {
		// A node that looked at the disk before it had a file system, as udev does, keeps what it
		// saw in its page cache: "not a GFS2 filesystem".
		list = append(list,
			first("mkfs.gfs2", "-q", "-O", "-p", "lock_dlm", "-t", "lab:home", "-j", fmt.Sprint(p.Nodes), "-J", "8", homeDevice),
			first(mountHome...),
			first("chown", "oneadmin:oneadmin", Home))
		for node := 1; node < p.Nodes; node++ {
			list = append(list,
				append(make(step, node), []string{"blockdev", "--flushbufs", homeDevice}),
				append(make(step, node), mountHome))
		}
	}
	if p.Pacemaker {
		// Not before all nodes are there: it would fence one that is still starting.
		list = append(list, first("crm_attribute", "--type", "crm_config", "--name", "stonith-enabled", "--update", "true"),
			first("crm_resource", "--wait", "--timeout", "300s"))
	}
	return list
}

// clearing takes back what steps did: the disks are as they were bought, and the cluster runs.
func clearing(p profile.Profile) []step {
	everywhere := func(argv ...string) step { return slices.Repeat(step{argv}, p.Nodes) }
	var list []step
	if p.SharedHome {
		list = append(list, everywhere("umount", Home))
	}
	if p.LockManager != profile.LockNone && p.Nodes > 1 {
		list = append(list, append(step{nil}, everywhere("vgchange", "-qq", "--lockstop", Group)[1:]...))
	}
	return append(list, first("vgremove", "-qq", "-y", Group), first("wipefs", "-qa", GroupDevice, homeDevice), everywhere("blockdev", "--flushbufs", homeDevice))
}

func (c *Cluster) setUp(ctx context.Context) error { return c.do(ctx, steps(c.Profile)) }

func (c *Cluster) do(ctx context.Context, list []step) error {
	for _, s := range list {
		var group errgroup.Group
		for i, argv := range s {
			if argv == nil {
				continue
			}
			group.Go(func() error {
				_, err := c.Nodes[i].Output(ctx, argv...)
				if err != nil {
					words, dmesgErr := c.Nodes[i].Output(ctx, "dmesg")
					lines := strings.Split(strings.TrimSpace(words), "\n")
					return errors.Join(err, fmt.Errorf("its kernel says: %s", strings.Join(lines[max(0, len(lines)-10):], "; ")), dmesgErr)
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return fmt.Errorf("set the cluster up: %w", err)
		}
	}
	return nil
}

// writeSteps writes what setUp does, for a hash.
func writeSteps(w io.Writer, p profile.Profile) {
	for _, s := range steps(p) {
		for _, argv := range s {
			fmt.Fprintln(w, strings.Join(argv, " "))
		}
	}
}
