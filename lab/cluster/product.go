package cluster

import (
	"context"
	"path/filepath"
	"strings"

	"one-clvm/lab/profile"
	"one-clvm/test/build"
)

// Where the suite is on a node.
const (
	Program   = "/usr/libexec/one-clvm/tm-clvm"
	AgentConf = "/etc/one-clvm/agent.conf"
)

// agentConf is the nodes' configuration of the agent. Where two nodes share a group
// without a lock manager, the front-end is its only writer.
func agentConf(p profile.Profile) string {
	text := "ALLOWED_VGS=\"" + Group + "\"\nHOME_BASE=\"/var/lib/one/datastores\"\n"
	if p.Nodes > 1 && p.LockManager == profile.LockNone {
		text += "SINGLE_WRITER=\"True\"\n"
	}
	return text
}

// installProduct puts the suite of this checkout on every node, as a package would.
func (c *Cluster) installProduct(ctx context.Context, program string) error {
	c.program = program
	if program == "" {
		c.program = filepath.Join(c.Directory, "tm-clvm")
		if err := build.Program(ctx, c.program, "./cmd/tm-clvm"); err != nil {
			return err
		}
	}
	return c.each(func(n *Node) error { return c.installOn(ctx, n) })
}

func (c *Cluster) installOn(ctx context.Context, n *Node) error {
	root, err := build.Repository()
	if err != nil {
		return err
	}
	if err := n.PutFile(ctx, c.program, Program, 0o755); err != nil {
		return err
	}
	if err := n.PutFile(ctx, filepath.Join(root, "sudoers.d/one-clvm"), "/etc/sudoers.d/one-clvm", 0o440); err != nil {
		return err
	}
	return n.Put(ctx, AgentConf, strings.NewReader(agentConf(c.Profile)), 0o644, 0)
}
