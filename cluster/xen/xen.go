// Package xen has all text of Xen's own clients, xl and, before Xen 4.5, xm: what they are
// called with and what they say.
package xen

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

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

// State is what the hypervisor says of a domain. The list of all is asked for: only a list
// without the domain means that it is not there, any failure that nothing is known.
func (c *Client) State(ctx context.Context, s cluster.Service) (state cluster.Domain, reason string) {
	res, err := c.Runner.Run(ctx, run.Cmd{Path: c.Program, Args: []string{"list"}})
	if err != nil {
		return cluster.Unknown, err.Error()
	}
	all, err := parseList(string(res.Stdout))
	if err != nil {
		return cluster.Unknown, err.Error()
	}
	state, listed := all[s.Name]
	if !listed {
		return cluster.Absent, ""
	}
	return state, ""
}

// dom0 is the node itself.
const dom0 = "Domain-0"

// parseList reads the table of all domains: name, id, memory, processors, state, seconds. A
// name has no blanks. xm also lists domains that it only knows, without an id.
func parseList(text string) (map[string]cluster.Domain, error) {
	rows := strings.Split(text, "\n")
	header := slices.IndexFunc(rows, func(row string) bool { return strings.HasPrefix(strings.Join(strings.Fields(row), " "), "Name ID Mem") })
	if header < 0 {
		return nil, errors.New("the list of domains has no header")
	}
	all := map[string]cluster.Domain{}
	for _, row := range rows[header+1:] {
		switch fields := strings.Fields(row); {
		case len(fields) == 0 || fields[0] == dom0:
		case len(fields) == 5:
			all[fields[0]] = cluster.Absent
		case len(fields) == 6:
			all[fields[0]] = parseState(fields[4])
		default:
			return nil, fmt.Errorf("list of domains: %q has %d columns", row, len(fields))
		}
	}
	return all, nil
}

// parseState reads the letters of a state: running, blocked, paused, shutdown, crashed, dying.
// None of them is a domain that just now does not run on a processor.
func parseState(letters string) cluster.Domain {
	if len(letters) != 6 || strings.Trim(letters, "rbpscd-") != "" {
		return cluster.Unknown
	}
	switch {
	case strings.Contains(letters, "c"):
		return cluster.Crashed
	case strings.ContainsAny(letters, "sd"):
		return cluster.Dying
	case strings.Contains(letters, "p"):
		return cluster.Paused
	}
	return cluster.Active
}

// Commands carry out the steps that concern a domain on this node. A domain is started from
// the file of its definition.
func (c *Client) Commands(o cluster.Order, s cluster.Step, _ func() (string, error)) ([]cluster.Command, error) {
	name := o.Service.Name
	one := func(words ...string) ([]cluster.Command, error) {
		return []cluster.Command{{Program: c.Program, Args: words}}, nil
	}
	xl := c.Program == XL
	switch s.Action {
	case cluster.Create:
		return one("create", o.Service.Definition)
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
		return one("save", name, s.File)
	case cluster.Restore:
		if xl { // the file names disks, too: the checked ones count
			return one("restore", o.Service.Definition, s.File)
		}
		return one("restore", s.File)
	case cluster.Move:
		if xl {
			return one("migrate", name, s.Node)
		}
		return one("migrate", "-l", name, s.Node)
	}
	return nil, nil
}
