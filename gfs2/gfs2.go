// Package gfs2 knows the shared file system that holds the VMs' homes: how it is made and
// grown, and whether it is healthy on a node. Which volume it is on is not its business: it
// is given a device or the directory where it is mounted.
package gfs2

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// Sentinels. Test with errors.Is.
var (
	// ErrNotGFS2: there is no GFS2 on the device, or not at that directory.
	ErrNotGFS2 = errors.New("not a GFS2")
	// ErrInUse: the device is mounted, or something else has it open.
	ErrInUse = errors.New("device is in use")
	// ErrBadTable: not a lock table, CLUSTER:NAME.
	ErrBadTable = errors.New("bad lock table")
)

// Limits of mkfs.gfs2.
const (
	maxCluster = 32
	maxName    = 30
)

// LockDLM is the lock protocol of a file system that several nodes mount.
const LockDLM = "lock_dlm"

// Table is a lock table: which cluster may mount the file system, and its name there, which
// is that of its lock space as well.
type Table struct {
	Cluster string `json:"cluster"`
	Name    string `json:"name"`
}

func (t Table) String() string { return t.Cluster + ":" + t.Name }

var wordPattern = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// Validate says what is wrong with a table that is to be written. ErrBadTable.
func (t Table) Validate() error {
	switch {
	case !wordPattern.MatchString(t.Cluster) || len(t.Cluster) > maxCluster:
		return fmt.Errorf("%w: cluster %q: up to %d letters, digits, - and _", ErrBadTable, t.Cluster, maxCluster)
	case !wordPattern.MatchString(t.Name) || len(t.Name) > maxName:
		return fmt.Errorf("%w: name %q: up to %d letters, digits, - and _", ErrBadTable, t.Name, maxName)
	}
	return nil
}

// ParseTable reads CLUSTER:NAME.
func ParseTable(text string) (Table, error) {
	cluster, name, found := strings.Cut(text, ":")
	if !found {
		return Table{}, fmt.Errorf("%w: %q has no colon", ErrBadTable, text)
	}
	return Table{cluster, name}, nil
}

// Superblock is what the file system says of itself.
type Superblock struct {
	Protocol  string `json:"protocol"` // LockDLM or lock_nolock
	Table     Table  `json:"table"`
	BlockSize int    `json:"block_size"` // bytes
	UUID      string `json:"uuid"`
}

// Places in a superblock, from include/uapi/linux/gfs2_ondisk.h; numbers are big endian.
const (
	superblockAt   = 64 << 10
	superblockSize = 512
	magic          = 0x01161970
	typeSuperblock = 1

	atType      = 4
	atBlockSize = 36
	atProtocol  = 96
	atTable     = 160
	nameSize    = 64
	atUUID      = 256
	uuidSize    = 16
)

// ReadSuperblock reads it from a device. ErrNotGFS2.
func ReadSuperblock(device io.ReaderAt) (Superblock, error) {
	b := make([]byte, superblockSize)
	if _, err := device.ReadAt(b, superblockAt); errors.Is(err, io.EOF) {
		return Superblock{}, fmt.Errorf("%w: the device is too small", ErrNotGFS2)
	} else if err != nil {
		return Superblock{}, fmt.Errorf("superblock: %w", err)
	}
	if binary.BigEndian.Uint32(b) != magic || binary.BigEndian.Uint32(b[atType:]) != typeSuperblock {
		return Superblock{}, ErrNotGFS2
	}
	s := Superblock{
		Protocol:  text(b[atProtocol : atProtocol+nameSize]),
		BlockSize: int(binary.BigEndian.Uint32(b[atBlockSize:])),
	}
	id := hex.EncodeToString(b[atUUID : atUUID+uuidSize])
	s.UUID = strings.Join([]string{id[:8], id[8:12], id[12:16], id[16:20], id[20:]}, "-")
	if table := text(b[atTable : atTable+nameSize]); table != "" { // lock_nolock may have none
		var err error
		if s.Table, err = ParseTable(table); err != nil {
			return Superblock{}, err
		}
	}
	return s, nil
}

// text ends at the first zero.
func text(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}
