package cluster

import (
	"context"
	"fmt"
	"path/filepath"

	"one-clvm/lab/profile"
	"one-clvm/lab/qemu"
)

// Boot gives a node that is off power again, and lets it join the others. Its memory is
// empty, its files are those of the image.
func (c *Cluster) Boot(ctx context.Context, n *Node) error {
	n.hangUp()
	n.spec.MemoryShared, n.spec.Incoming = false, false
	n.spec.Memory = filepath.Join(c.Directory, n.Name+".memory")
	if err := emptyFile(n.spec.Memory, memorySize); err != nil {
		return err
	}
	var err error
	if n.machine, err = qemu.Start(n.spec); err != nil {
		return err
	}
	if err := n.ready(ctx); err != nil {
		return err
	}
	for _, argv := range joining(c.Profile) {
		if _, err := n.Output(ctx, argv...); err != nil {
			return fmt.Errorf("%s joins: %w", n.Name, err)
		}
	}
	if err := c.installOn(ctx, n); err != nil {
		return err
	}
	return c.writeSSHConfig(ctx)
}

// joining is what a node does at every start, once its services are up.
func joining(p profile.Profile) [][]string {
	var list [][]string
	if p.LockManager != profile.LockNone {
		list = append(list, []string{"vgchange", "-qq", "--lockstart", Group})
	}
	if p.SharedHome {
		list = append(list, mountHome)
	}
	return list
}
