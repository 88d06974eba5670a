package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"one-clvm/lab/image"
	"one-clvm/lab/profile"
)

// recordName is the file that lets another process find what it needs to act on a lab.
const recordName = "lab.json"

// labRecord is what a directory says about its lab. It is written last: a lab without one
// is not up.
type labRecord struct {
	Profile string
	Image   image.Image
	Keeper  int // the process that started it, and with which it ends
}

func (c *Cluster) writeRecord() error {
	data, err := json.Marshal(labRecord{Profile: c.Profile.Name, Image: c.image, Keeper: os.Getpid()})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.Directory, recordName), data, 0o600)
}

// ErrNotUp says that there is no lab in a directory.
var ErrNotUp = errors.New("no lab is up")

// Open is the lab that another process runs in that directory. It can do all but Stop.
func Open(directory string) (*Cluster, error) {
	data, err := os.ReadFile(filepath.Join(directory, recordName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNotUp
	}
	if err != nil {
		return nil, err
	}
	var r labRecord
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("%s in %s: %w", recordName, directory, err)
	}
	// Whoever gets the lock has found a lab whose process is gone.
	if lock, err := lockDirectory(directory); err == nil {
		return nil, errors.Join(ErrNotUp, lock.Close())
	}
	p, err := profile.Named(r.Profile)
	if err != nil {
		return nil, err
	}
	c := describe(p, r.Image, directory)
	c.keeper = r.Keeper
	return c, nil
}

// Keeper is the process that runs the lab.
func (c *Cluster) Keeper() int { return c.keeper }

// HangUp lets other processes use the nodes' ports, of which each serves one.
func (c *Cluster) HangUp() {
	for _, n := range c.Nodes {
		n.hangUp()
	}
}
