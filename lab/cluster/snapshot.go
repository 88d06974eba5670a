package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"one-clvm/internal/run"
	"one-clvm/lab/image"
	"one-clvm/lab/qemu"
)

// A snapshot is a directory: the memory of every node in a file that was mapped while it
// ran, the state of its devices as QEMU migrates it, and the disks.

// snapshot returns the directory of the snapshot of this cluster, from the cache or made
// now. The suite's own program is not in it.
func (c *Cluster) snapshot(ctx context.Context, progress io.Writer) (string, error) {
	name, err := c.snapshotName(ctx)
	if err != nil {
		return "", err
	}
	return image.Cached(ctx, name, progress, func(directory string) error {
		fmt.Fprintf(progress, "booting profile %s and keeping a snapshot of it (about half a minute, once)\n", c.Profile.Name)
		return record(ctx, c, directory)
	})
}

// snapshotName says all that the snapshot depends on: the image, what is done on it, and
// the emulator with its command line.
func (c *Cluster) snapshotName(ctx context.Context) (string, error) {
	version, err := run.Exec{}.Run(ctx, run.Cmd{Path: qemu.Program, Args: []string{"-version"}})
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintln(h, c.image.Hash(), string(version.Stdout), groupSize, homeSize)
	for _, n := range c.Nodes {
		arguments := strings.Join(n.spec.Arguments(), " ")
		fmt.Fprintln(h, strings.ReplaceAll(arguments, c.Directory, "DIRECTORY"))
	}
	writeSteps(h, c.Profile)
	return "snapshot-" + c.Profile.Name + "-" + hex.EncodeToString(h.Sum(nil))[:16], nil
}

// record boots a cluster like c, sets it up and leaves its snapshot in directory.
func record(ctx context.Context, like *Cluster, directory string) (err error) {
	c, err := newCluster(like.Profile, like.image)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	if err := c.boot(ctx, directory, true); err != nil {
		return err
	}
	if err := c.setUp(ctx); err != nil {
		return err
	}
	// The nodes' caches are part of the memory: what they hold back is written, and what
	// is only a copy of the disks given up.
	err = c.each(func(n *Node) error {
		if _, err := n.Output(ctx, "sync"); err != nil {
			return err
		}
		n.hangUp()
		return nil
	})
	if err != nil {
		return err
	}
	if err := c.each(func(n *Node) error { return n.spec.Stop(ctx) }); err != nil {
		return err
	}
	return c.each(func(n *Node) error { return n.spec.Save(ctx, stateFile(directory, n.Name)) })
}

func stateFile(directory, name string) string { return filepath.Join(directory, name+".state") }

// resume starts the nodes from a snapshot.
func (c *Cluster) resume(ctx context.Context, snapshot string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for i, d := range disks(snapshot) {
		if err := copySparse(d.File, disks(c.Directory)[i].File); err != nil {
			return err
		}
	}
	err := c.startMachines(func(s *qemu.Spec) error {
		s.MemoryShared, s.Incoming = false, true
		s.Memory = filepath.Join(snapshot, s.Name+".memory")
		_, err := os.Stat(s.Memory)
		return err
	})
	if err != nil {
		return err
	}
	if err := c.each(func(n *Node) error { return n.spec.Load(ctx, stateFile(snapshot, n.Name)) }); err != nil {
		return err
	}
	// At once: each finds the others alive.
	if err := c.each(func(n *Node) error { return n.spec.Continue(ctx) }); err != nil {
		return err
	}
	return c.each(func(n *Node) error { return n.ready(ctx) })
}
