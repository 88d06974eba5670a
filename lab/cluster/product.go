package cluster

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"one-clvm/lab/profile"
	"one-clvm/test/build"
)

// Where the suite is on a node.
const (
	Program   = "/usr/libexec/one-clvm/tm-clvm"
	Driver    = "/usr/libexec/one-clvm/vmm-rhcs" // of VMs, in the profiles with Pacemaker
	AgentConf = "/etc/one-clvm/agent.conf"
	// Remotes is the nodes' copy of the drivers' scripts, which oned makes and calls.
	Remotes = "/var/tmp/one"
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
		c.program = filepath.Join(c.Directory, filepath.Base(Program))
		if err := build.Program(ctx, c.program, "./cmd/tm-clvm"); err != nil {
			return err
		}
	}
	if c.Profile.Pacemaker {
		if err := build.Program(ctx, c.driver(), "./cmd/vmm-rhcs"); err != nil {
			return err
		}
	}
	return c.each(func(n *Node) error { return c.installOn(ctx, n) })
}

// driver is the program of VMs, as it was built.
func (c *Cluster) driver() string { return filepath.Join(c.Directory, filepath.Base(Driver)) }

func (c *Cluster) installOn(ctx context.Context, n *Node) error {
	root, err := build.Repository()
	if err != nil {
		return err
	}
	files := []file{{c.program, Program, 0o755, 0}, {filepath.Join(root, "sudoers.d/one-clvm"), "/etc/sudoers.d/one-clvm", 0o440, 0}}
	if c.Profile.Pacemaker {
		more, err := c.driverFiles(root)
		if err != nil {
			return err
		}
		files = append(files, more...)
	}
	for _, f := range files {
		if err := n.putFile(ctx, f); err != nil {
			return err
		}
	}
	if c.Profile.Pacemaker { // for the rules' sake
		if _, err := n.Output(ctx, "udevadm", "control", "--reload"); err != nil {
			return err
		}
	}
	return n.Put(ctx, AgentConf, strings.NewReader(agentConf(c.Profile)), 0o644, 0)
}

// udevRules are tested on the lab: their package cannot be one of the lab's.
const udevRules = "90-one-clvm.rules"

// file of this machine for a node.
type file struct {
	from, to string
	mode     os.FileMode
	owner    int
}

// driverFiles are what a node needs beyond the volumes to run VMs.
func (c *Cluster) driverFiles(root string) ([]file, error) {
	scripts, err := filepath.Glob(filepath.Join(root, "remotes/vmm/rhcs/*"))
	if err != nil {
		return nil, err
	}
	files := []file{
		{c.driver(), Driver, 0o755, 0},
		{filepath.Join(root, "sudoers.d/one-clvm-vmm"), "/etc/sudoers.d/one-clvm-vmm", 0o440, 0},
		{filepath.Join(root, "ocf/VirtualDomain"), "/usr/lib/ocf/resource.d/one-clvm/VirtualDomain", 0o755, 0},
		{filepath.Join(root, "udev", udevRules), "/etc/udev/rules.d/" + udevRules, 0o644, 0},
	}
	for _, script := range scripts {
		files = append(files, file{script, Remotes + "/vmm/rhcs/" + filepath.Base(script), 0o755, OneadminID})
	}
	return files, nil
}
