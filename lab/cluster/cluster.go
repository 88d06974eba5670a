// Package cluster runs the lab: emulated nodes that share a SAN, as one of the profiles,
// with the faults that a test wants to see.
//
// A cluster starts from a snapshot of itself in the user's cache, as it was right after
// it had been set up; where there is none, one is made first. All its files are in one
// directory, all its processes die with the one that started it, and a directory that
// was left is removed when the next lab starts.
package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"one-clvm/lab/image"
	"one-clvm/lab/profile"
	"one-clvm/lab/qemu"
	"one-clvm/lab/wire"
)

// Group is the volume group on the SAN.
const Group = "vg-one"

// Home is the system datastore on every node.
const Home = "/var/lib/one/datastores/0"

// Options of Start.
type Options struct {
	Profile profile.Profile
	// Progress is told what takes long, and what is not as usual.
	Progress io.Writer
	// Fresh boots the nodes and sets the cluster up, whatever the cache holds.
	Fresh bool
	// Program is the tm-clvm to install; "" is built from this checkout.
	Program string
	// Bare leaves the suite out, and the SAN's disks empty: what an administrator begins with.
	Bare bool
}

// Cluster is a running lab.
type Cluster struct {
	Profile   profile.Profile
	Directory string // all its files
	Nodes     []*Node

	image  image.Image
	lock   *os.File
	fence  *fenceDevice
	links  []*os.File // the nodes' ends of the private cable
	keeper int

	program string // the tm-clvm that nodes get
}

const (
	memorySize = 1 << 30
	groupSize  = 32 << 30 // of the disk with the volume group; sparse
	homeSize   = 2 << 30
)

// disks of the SAN: the volume group's, and that of the shared home.
func disks(directory string) []qemu.Disk {
	return []qemu.Disk{
		{ID: "san0", File: filepath.Join(directory, "san0.raw")},
		{ID: "san1", File: filepath.Join(directory, "san1.raw")},
	}
}

// Start starts a cluster; Stop ends it.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	made, err := image.Make(ctx, o.Profile, o.Progress)
	if err != nil {
		return nil, err
	}
	c, err := newCluster(o.Profile, made)
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	if err := c.start(ctx, o); err != nil {
		return nil, errors.Join(fmt.Errorf("lab: profile %s: %w", o.Profile.Name, err), c.Stop())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context, o Options) error {
	if err := c.resumeOrBoot(ctx, o); err != nil {
		return err
	}
	if o.Bare {
		if err := c.do(ctx, clearing(c.Profile)); err != nil {
			return err
		}
	} else if err := c.installProduct(ctx, o.Program); err != nil {
		return fmt.Errorf("install the suite: %w", err)
	}
	if err := c.writeSSHConfig(ctx); err != nil {
		return err
	}
	return c.writeRecord()
}

func (c *Cluster) resumeOrBoot(ctx context.Context, o Options) error {
	if o.Fresh {
		return c.bootAndSetUp(ctx)
	}
	snapshot, err := c.snapshot(ctx, o.Progress)
	if err != nil {
		return fmt.Errorf("make a snapshot: %w", err)
	}
	return c.resumeFrom(ctx, snapshot, o.Progress)
}

// resumeFrom resumes the snapshot. One that was made on another machine may not fit this
// one: then the nodes boot.
func (c *Cluster) resumeFrom(ctx context.Context, snapshot string, progress io.Writer) error {
	err := c.resume(ctx, snapshot)
	if err == nil || ctx.Err() != nil {
		return err
	}
	fmt.Fprintf(progress, "WARNING: the snapshot %s cannot be resumed here, booting instead: %v\n", snapshot, err)
	c.powerOff()
	return c.bootAndSetUp(ctx)
}

// newCluster has its directory, its nodes' specifications and a fence device; nothing
// runs.
func newCluster(p profile.Profile, made image.Image) (*Cluster, error) {
	directory, lock, err := newDirectory()
	if err != nil {
		return nil, err
	}
	c := describe(p, made, directory)
	c.lock = lock
	if err := c.startFenceDevice(); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// describe is a cluster in that directory, whoever runs it.
func describe(p profile.Profile, made image.Image, directory string) *Cluster {
	c := &Cluster{Profile: p, Directory: directory, image: made}
	for i := 1; i <= p.Nodes; i++ {
		name := fmt.Sprintf("node%d", i)
		c.Nodes = append(c.Nodes, &Node{Name: name, Index: i, spec: qemu.Spec{
			Name: name, Directory: directory, Index: i,
			Kernel: made.Kernel(), Initramfs: made.Initramfs(), RootFS: made.RootFS(),
			CommandLine: []string{fmt.Sprintf("lab.node=%d", i), "lab.profile=" + p.Name},
			MemorySize:  memorySize,
			Disks:       disks(directory),
			Ports: []qemu.Port{
				{Name: wire.PortName, Socket: filepath.Join(directory, name+".control"), Listen: true},
				{Name: wire.FencePort, Socket: fenceSocket(directory, name)},
			},
		}})
	}
	return c
}

// bootAndSetUp makes the cluster from nothing, in its own directory.
func (c *Cluster) bootAndSetUp(ctx context.Context) error {
	if err := c.boot(ctx, c.Directory, false); err != nil {
		return err
	}
	return c.setUp(ctx)
}

// boot starts the nodes with empty disks and memory in that directory.
func (c *Cluster) boot(ctx context.Context, directory string, keepMemory bool) error {
	for i, d := range disks(directory) {
		if err := emptyFile(d.File, []int64{groupSize, homeSize}[i]); err != nil {
			return err
		}
	}
	err := c.startMachines(func(s *qemu.Spec) error {
		s.Disks = disks(directory)
		s.Memory = filepath.Join(directory, s.Name+".memory")
		s.MemoryShared, s.Incoming = keepMemory, false
		return emptyFile(s.Memory, memorySize)
	})
	if err != nil {
		return err
	}
	return c.each(func(n *Node) error { return n.ready(ctx) })
}

func emptyFile(path string, size int64) error {
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	return os.Truncate(path, size)
}

// startMachines starts all nodes, with the changes that prepare makes.
func (c *Cluster) startMachines(prepare func(*qemu.Spec) error) error {
	if c.links == nil && len(c.Nodes) > 1 {
		var err error
		if c.links, err = privateLinks(); err != nil {
			return fmt.Errorf("private link: %w", err)
		}
	}
	for i, n := range c.Nodes {
		if c.links != nil {
			n.spec.Private = c.links[i]
		}
		if err := prepare(&n.spec); err != nil {
			return err
		}
		var err error
		if n.machine, err = qemu.Start(n.spec); err != nil {
			return err
		}
	}
	return nil
}

// privateLinks are the ends of the cable between two nodes: datagram sockets on loopback,
// connected with each other. Unlike a socket pair they drop what a frozen node does not
// take.
func privateLinks() ([]*os.File, error) {
	var ends []*os.File
	var addresses []unix.Sockaddr
	for range 2 {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return nil, err
		}
		ends = append(ends, os.NewFile(uintptr(fd), "private link"))
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			return nil, err
		}
		address, err := unix.Getsockname(fd)
		if err != nil {
			return nil, err
		}
		addresses = append(addresses, address)
	}
	for i, end := range ends {
		if err := unix.Connect(int(end.Fd()), addresses[1-i]); err != nil {
			return nil, err
		}
	}
	return ends, nil
}

// each does the same on all nodes at once.
func (c *Cluster) each(do func(*Node) error) error {
	var group errgroup.Group
	for _, n := range c.Nodes {
		group.Go(func() error { return do(n) })
	}
	return group.Wait()
}

// powerOff ends all nodes that this process started.
func (c *Cluster) powerOff() {
	for _, n := range c.Nodes {
		n.hangUp()
		if n.machine != nil {
			n.machine.Kill()
			n.machine = nil
		}
	}
}

// Stop ends the cluster and removes all that it left.
func (c *Cluster) Stop() error {
	c.powerOff()
	if c.fence != nil {
		c.fence.close()
	}
	for _, link := range c.links {
		_ = link.Close() // a socket
	}
	return errors.Join(os.RemoveAll(c.Directory), c.lock.Close())
}

// Image is what the nodes boot from.
func (c *Cluster) Image() image.Image { return c.image }

// Node is the node of that name.
func (c *Cluster) Node(name string) (*Node, error) {
	for _, n := range c.Nodes {
		if n.Name == name {
			return n, nil
		}
	}
	return nil, fmt.Errorf("profile %s has no node %q", c.Profile.Name, cmp.Or(name, "(none)"))
}
