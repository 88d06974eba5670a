// Package xen has all text of Xen's own clients, xl and, before Xen 4.5, xm: what they are
// called with and what they say.
package xen

import (
	"context"

	"one-clvm/cluster"
	"one-clvm/internal/run"
)

// The clients.
const (
	XL = "xl"
	XM = "xm" // needs xend
)

// Client asks the hypervisor of this node. It implements cluster.Hypervisor.
type Client struct {
	Runner  run.Runner
	Program string // XL or XM
}

// migrating are what xl calls a domain that arrives, and one that has left (xl.pod, xl_migrate.c):
// what is left of a migration that was cut off, and may run any moment.
var migrating = []string{"--incoming", "--migratedaway"}

// State is what the hypervisor says of a domain. The list of all is asked for: only a list
// without the domain means that it is not there, any failure that nothing is known.
func (c *Client) State(ctx context.Context, s cluster.Service) (state cluster.Domain, reason string) {
	all, err := c.List(ctx)
	if err != nil {
		return cluster.Unknown, err.Error()
	}
	for _, suffix := range migrating {
		if _, half := all[s.Name+suffix]; half {
			return cluster.Unknown, "a migration of it has not ended: " + c.Program + " list shows " + s.Name + suffix
		}
	}
	seen, listed := all[s.Name]
	if !listed {
		return cluster.Absent, ""
	}
	return seen.State, ""
}

// Commands carry out the steps that concern a domain on this node. A domain is started from
// the file of its definition.
func (c *Client) Commands(o cluster.Order, s cluster.Step, _ func() (string, error)) ([]cluster.Command, error) {
	name := o.Service.Name
	one := func(words ...string) ([]cluster.Command, error) {
		return []cluster.Command{{Program: c.Program, Args: words}}, nil
	}
	// The client is the toolstack: one that is killed leaves half a domain, paused.
	whole := func(words ...string) ([]cluster.Command, error) {
		return []cluster.Command{{Program: c.Program, Args: words, Whole: true}}, nil
	}
	xl := c.Program == XL
	switch s.Action {
	case cluster.Create:
		return whole("create", o.Service.Definition)
	case cluster.Ask:
		if xl { // the power button, for a guest without drivers of its own
			return one("shutdown", "-F", name)
		}
		return one("shutdown", name)
	case cluster.Destroy:
		return one("destroy", name)
	case cluster.Reboot:
		if xl {
			return one("reboot", "-F", name)
		}
		return one("reboot", name)
	case cluster.Save:
		return whole("save", name, s.File)
	case cluster.Restore:
		if xl { // the file names disks, too: the checked ones count
			return whole("restore", "-p", o.Service.Definition, s.File)
		}
		return whole("restore", s.File) // which xm of Xen 3 cannot leave paused
	case cluster.Resume:
		return whole("unpause", name)
	case cluster.Move:
		if xl {
			return whole("migrate", name, s.Node)
		}
		return whole("migrate", "-l", name, s.Node)
	}
	return c.hardware(o, s)
}
