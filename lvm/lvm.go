// Package lvm knows volumes: their names, their sizes, their tags, and what can be
// done to them. It holds the vocabulary and the interface; the two implementations
// are [one-clvm/lvm/lvm2] (the real LVM2) and [one-clvm/lvm/filevg] (a volume
// group in sparse files, for machines without a SAN). Both pass one conformance
// suite, [one-clvm/lvm/lvmtest].
//
// Nothing outside this tree sees LVM's text: what comes out is typed, and errors are
// the sentinels below.
package lvm

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Sentinels: what went wrong, decided by re-reading the volume group's report, never
// by an exit status alone. Test with errors.Is.
var (
	// ErrNotFound: a clean report of the volume group does not list the volume.
	ErrNotFound = errors.New("volume not found")
	// ErrNoGroup: the volume group does not exist or is not visible on this node.
	ErrNoGroup = errors.New("volume group not found")
	// ErrExists: a volume of that name is already in the volume group.
	ErrExists = errors.New("volume already exists")
	// ErrNoSpace: the volume group has too few free extents.
	ErrNoSpace = errors.New("volume group has too little free space")
	// ErrInUse: the volume is open on this node (mounted, or a VM runs on it).
	ErrInUse = errors.New("volume is in use")
	// ErrLocked: another node holds the volume in a conflicting mode.
	ErrLocked = errors.New("volume is locked by another node")
	// ErrUnlocked: the group has no lock manager, and nothing else shows that this node is
	// the only one that changes it.
	ErrUnlocked = errors.New("volume group has no lock manager")
	// ErrUnknownOutcome: a deadline passed while a command that writes LVM metadata
	// was still running. It was not killed; the volume group may or may not change.
	ErrUnknownOutcome = errors.New("outcome unknown")
	// ErrBadName: a name outside the grammar of names.go, or one that LVM reserves.
	ErrBadName = errors.New("bad volume name")
	// ErrBadSize: not a size in LVM's syntax, or a size LVM would refuse.
	ErrBadSize = errors.New("bad size")
	// ErrBadTag: a tag with a character that LVM does not allow.
	ErrBadTag = errors.New("bad tag")
	// ErrNotLarger: Extend was asked for less than the volume already has.
	ErrNotLarger = errors.New("new size is smaller than the volume")
	// ErrSnapshots: the volume has snapshots, and the operation is not possible with them.
	ErrSnapshots = errors.New("volume has snapshots")
	// ErrInvalid: a snapshot ran out of space; its content is lost.
	ErrInvalid = errors.New("snapshot is invalid")
	// ErrNotExclusive: the operation needs the volume active exclusively on this node.
	ErrNotExclusive = errors.New("volume is not active exclusively on this node")
)

// Error says which operation on which volume failed, so that it can be repeated by hand.
type Error struct {
	Op     string // "create", "remove", "extend", …
	Group  string
	Volume string // empty for an operation on the group
	Err    error
}

func (e *Error) Error() string {
	name := e.Group
	if e.Volume != "" {
		name += "/" + e.Volume
	}
	return fmt.Sprintf("%s %s: %v", e.Op, name, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Mode is how a volume is active on this node. Plain activation does not exist here:
// whoever activates says whether others may, too.
type Mode int

// The modes. Shared is for the window of a live migration only.
const (
	Off Mode = iota
	Exclusive
	Shared
)

func (m Mode) String() string {
	switch m {
	case Off:
		return "off"
	case Exclusive:
		return "exclusive"
	case Shared:
		return "shared"
	}
	return fmt.Sprintf("mode(%d)", int(m))
}

// Volume is one logical volume as its group's report shows it.
type Volume struct {
	Group   string
	Name    string
	UUID    string
	Size    int64 // bytes, whole extents; of a snapshot that of its content
	Tags    Tags
	Mode    Mode      // on this node
	Open    bool      // somebody on this node has the device open
	Path    string    // device path; it exists only while the volume is active
	Created time.Time // zero where the report does not tell
	Origin  string    // of a snapshot: the volume that it was taken of
	Invalid bool      // a snapshot that ran out of space; known only while it is active
}

// IsSnapshot tells the snapshot of a disk or an image from a disk; a disk that was made as a
// snapshot of its image (TagClone) is one.
func (v Volume) IsSnapshot() bool {
	return v.Tags.Get(TagClone) == "" && (v.Origin != "" || v.Tags.Get(TagSnapshot) != "")
}

// NoLockManager is the LockManager of a group that nothing keeps other nodes out of.
const NoLockManager = "none"

// GroupInfo is a volume group in numbers. All sizes in bytes.
type GroupInfo struct {
	Name        string
	Size        int64
	Free        int64
	ExtentSize  int64
	LockManager string // "clvmd", "dlm", "sanlock", or NoLockManager
	Tags        Tags
}

// CreateRequest asks for a new volume.
type CreateRequest struct {
	Name string
	Size int64 // bytes, rounded up to whole extents
	Tags Tags  // set by the very command that creates the volume: it is never ownerless
}

// SnapshotRequest asks for a snapshot of a volume.
type SnapshotRequest struct {
	Name   string
	Origin string
	// Space for what changes, in bytes, rounded up to whole extents; 0 means enough for
	// every block of the origin, so that the snapshot never becomes invalid.
	Space int64
	Tags  Tags // set by the very command that creates the snapshot
}

// SnapshotChunk is the unit in bytes in which a snapshot keeps blocks of its origin. A
// whole chunk of the origin that differs from the snapshot's takes no more space when it
// is written.
const SnapshotChunk = 64 << 10

// Group is a volume group on this node.
//
// A snapshot is a volume, too, with the content that its origin had. It is active, and
// locked, with its origin and never by itself: Activate of a snapshot is ErrSnapshots.
//
// Every method that changes something re-reads the report afterwards: success
// without the effect is an error. A context's deadline or cancellation changes the
// answer of a changing method (ErrUnknownOutcome); it never kills the command.
// Errors are *Error and wrap one of the sentinels where one fits.
type Group interface {
	// Name is the volume group's name.
	Name() string
	// Info reports the group's numbers. ErrNoGroup.
	Info(ctx context.Context) (GroupInfo, error)
	// Report is Info and Volumes by one report. ErrNoGroup.
	Report(ctx context.Context) (GroupInfo, []Volume, error)
	// Volumes lists all volumes of the group, by one report, sorted by name.
	Volumes(ctx context.Context) ([]Volume, error)
	// Volume finds one by name. ErrNotFound only after a clean report without it.
	Volume(ctx context.Context, name string) (Volume, error)
	// Create makes a volume, active exclusively on this node. Its content is whatever
	// the extents held before: zeroing is the caller's (see Zero). ErrExists,
	// ErrNoSpace, ErrBadName, ErrBadSize, ErrBadTag; nothing is left on an error.
	Create(ctx context.Context, req CreateRequest) (Volume, error)
	// Snapshot makes a snapshot of a volume that is active exclusively on this node and
	// may be in use where the group can do that (else ErrInUse). Its content is that of
	// one instant. ErrNotExclusive, ErrNotFound, ErrExists, ErrNoSpace, ErrBadName,
	// ErrBadTag; ErrSnapshots for the snapshot of a snapshot.
	Snapshot(ctx context.Context, req SnapshotRequest) (Volume, error)
	// Remove deactivates the volume on this node and removes it; of a snapshot, the
	// origin stays as it is. ErrNotFound, ErrInUse, ErrLocked, ErrSnapshots.
	Remove(ctx context.Context, name string) error
	// Rename changes the name and keeps everything else. ErrExists, ErrNotFound.
	Rename(ctx context.Context, name, to string) error
	// Extend grows the volume to at least size bytes (whole extents). The same size is
	// success; less is ErrNotLarger. The new space is not zeroed. ErrNoSpace;
	// ErrSnapshots for a snapshot, and for an origin in use. An origin that is active is
	// not for a moment.
	Extend(ctx context.Context, name string, size int64) (Volume, error)
	// Activate brings the volume into the mode on this node; being in it already is
	// success. Off of an open volume, or of one with an open snapshot, is ErrInUse; a
	// conflict with another node ErrLocked; Shared of a volume with snapshots
	// ErrSnapshots.
	Activate(ctx context.Context, name string, mode Mode) (Volume, error)
	// Tag adds and removes tags in one step; adding one that is there, or removing one
	// that is not, is fine, and one that is both added and removed is removed. It works
	// whoever holds the volume.
	Tag(ctx context.Context, name string, add, del Tags) (Volume, error)
	// TagGroup does the same to the group's own tags.
	TagGroup(ctx context.Context, add, del Tags) (GroupInfo, error)
}

// PhysicalVolume is a disk that LVM on a node sees.
type PhysicalVolume struct {
	UUID  string
	Path  string // on this node
	Group string // empty: in none
}

// Permission decides whether a group without a lock manager may be changed, by who else
// may see its disks. It is asked before each change.
type Permission func(ctx context.Context, disks []PhysicalVolume) error

// Unlocked is a Group that may have no lock manager. Without a permission such a group
// refuses every change (ErrUnlocked); one with a lock manager asks nobody.
type Unlocked interface {
	Group
	// Permit sets the permission.
	Permit(Permission)
}

// Waiter is a Group whose operations may have to wait for other nodes.
type Waiter interface {
	Group
	// OnWait sets what is told the reason while an operation waits.
	OnWait(told func(reason string))
}
