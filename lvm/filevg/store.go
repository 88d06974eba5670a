package filevg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"one-clvm/lvm"
)

// load reads the metadata and checks that pv belongs to it.
func (g *Group) load() (metadata, error) {
	f, err := os.Open(g.path(metadataFile))
	if errors.Is(err, fs.ErrNotExist) {
		return metadata{}, fmt.Errorf("%w: %w", lvm.ErrNoGroup, err)
	}
	if err != nil {
		return metadata{}, err
	}
	defer f.Close()
	m, err := parseMetadata(f)
	if err != nil {
		return metadata{}, fmt.Errorf("%s: %w", f.Name(), err)
	}
	pv, err := os.Stat(g.path(pvFile))
	if err != nil {
		return metadata{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if want := m.ExtentSize * m.ExtentCount; pv.Size() != want {
		return metadata{}, fmt.Errorf("%w: %s has %d bytes, %s says %d", ErrDamaged, g.path(pvFile), pv.Size(), f.Name(), want)
	}
	return m, nil
}

// store replaces the metadata: after a crash at any instruction it is the old one or
// the new one, and when store has returned it is the new one.
func (g *Group) store(m metadata) error {
	data, err := m.encode()
	if err != nil {
		return err
	}
	// The directory itself for the temporary file: the default is to try $TMPDIR.
	err = renameio.WriteFile(g.path(metadataFile), data, 0o644, renameio.WithTempDir(g.dir))
	if err != nil {
		return err
	}
	return syncDir(g.dir)
}

// isTemporary tells the files of a store that was killed.
func isTemporary(name string) bool { return strings.HasPrefix(name, "."+metadataFile) }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// initialize makes the files of a new group. The metadata comes last: a crash before
// leaves no group, and the next Create goes on from there.
func (g *Group) initialize(m metadata) error {
	lock, err := os.OpenFile(g.path(lockFile), os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	unlock, err := g.lock(context.Background(), unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer unlock()
	if err := g.checkVirgin(); err != nil {
		return err
	}
	if err := g.makePV(m.ExtentSize * m.ExtentCount); err != nil {
		return err
	}
	if err := os.MkdirAll(g.path(devDir), 0o755); err != nil {
		return err
	}
	if err := g.store(m); err != nil {
		return err
	}
	return syncDir(filepath.Dir(g.dir))
}

// checkVirgin refuses a directory that holds anything but what an interrupted Create leaves.
func (g *Group) checkVirgin() error {
	entries, err := os.ReadDir(g.dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		switch {
		case name == lockFile || name == devDir || isTemporary(name):
		case name == pvFile && g.pvIsEmpty():
		default:
			return fmt.Errorf("%w: %s; choose another directory or remove what is there", fs.ErrExist, g.path(name))
		}
	}
	return nil
}

// pvIsEmpty says whether nothing was ever written to pv.
func (g *Group) pvIsEmpty() bool {
	f, err := os.Open(g.path(pvFile))
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = unix.Seek(int(f.Fd()), 0, unix.SEEK_DATA)
	return errors.Is(err, unix.ENXIO)
}

func (g *Group) makePV(size int64) error {
	f, err := os.OpenFile(g.path(pvFile), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Sync(), f.Close())
}
