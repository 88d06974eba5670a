package gfs2

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"one-clvm/internal/failpoint"
	"one-clvm/internal/run"
)

// Journals counts the journals of the file system on a device. It reads the device only.
func Journals(ctx context.Context, r run.Runner, device string) (int, error) {
	result, err := r.Run(ctx, run.Cmd{Path: "gfs2_edit", Args: []string{"-p", "journals", device}})
	if err != nil {
		return 0, fmt.Errorf("count journals: %w", err)
	}
	n := len(journalLine.FindAll(result.Stdout, -1))
	if n == 0 {
		return 0, fmt.Errorf("count journals: %w: gfs2_edit lists none on %s", ErrNotGFS2, device)
	}
	return n, nil
}

// journalLine is one of gfs2_edit -p journals: "journal0: 0x12    8MB dirty."
var journalLine = regexp.MustCompile(`(?m)^journal\d+:\s+0x[0-9a-f]+\s`)

// Sizes of a journal in MiB that mkfs.gfs2 and gfs2_jadd take; gfs2_jadd wants more than
// mkfs.gfs2, which takes 8.
const (
	MinJournal     = 32
	MaxJournal     = 1024
	minMkfsJournal = 8
)

// BlockSize of new file systems, bytes: the only one that is in use, a page.
const BlockSize = 4096

// Plan is a file system to be made.
type Plan struct {
	Device      string
	Table       Table
	Journals    int
	JournalSize int // MiB; 0: what mkfs.gfs2 takes for the size of the device
}

// Validate says what is wrong with a plan for a cluster of so many nodes.
func (p Plan) Validate(nodes int) error {
	if err := p.Table.Validate(); err != nil {
		return err
	}
	switch {
	case !strings.HasPrefix(p.Device, "/dev/"):
		return fmt.Errorf("device %q is not below /dev", p.Device)
	case p.Journals < nodes:
		return fmt.Errorf("%d journals are too few for %d nodes: each needs one", p.Journals, nodes)
	case p.JournalSize != 0 && (p.JournalSize < minMkfsJournal || p.JournalSize > MaxJournal):
		return fmt.Errorf("journals of %d MiB: mkfs.gfs2 takes %d to %d", p.JournalSize, minMkfsJournal, MaxJournal)
	}
	return nil
}

// Args are the arguments of mkfs.gfs2. -O: the question was asked by us.
func (p Plan) Args() []string {
	args := []string{"-O", "-p", LockDLM, "-t", p.Table.String(), "-j", strconv.Itoa(p.Journals), "-b", strconv.Itoa(BlockSize)}
	if p.JournalSize != 0 {
		args = append(args, "-J", strconv.Itoa(p.JournalSize))
	}
	return append(args, p.Device)
}

// Format makes the file system, and reads back what it made. What the device held is gone.
// A repeat of a Format that was cut off makes it anew.
func Format(ctx context.Context, r run.Runner, p Plan) (Superblock, error) {
	if err := Unused(p.Device); err != nil {
		return Superblock{}, err
	}
	if _, err := r.Run(ctx, run.Cmd{Path: "mkfs.gfs2", Args: p.Args(), Writer: true}); err != nil {
		return Superblock{}, fmt.Errorf("make GFS2 on %s: %w", p.Device, err)
	}
	failpoint.Hit("gfs2.made")
	s, err := Inspect(p.Device)
	if err != nil {
		return s, fmt.Errorf("GFS2 just made on %s: %w", p.Device, err)
	}
	if s.Table != p.Table || s.Protocol != LockDLM {
		return s, fmt.Errorf("mkfs.gfs2 reported success, and %s has lock table %s (%s) instead of %s", p.Device, s.Table, s.Protocol, p.Table)
	}
	return s, nil
}

// Inspect reads the superblock of a device. ErrNotGFS2.
func Inspect(device string) (_ Superblock, err error) {
	file, err := os.Open(device)
	if err != nil {
		return Superblock{}, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	s, err := ReadSuperblock(file)
	if err != nil {
		return s, fmt.Errorf("%s: %w", device, err)
	}
	return s, nil
}

// Unused makes sure that nothing on this node uses the device: a mount or a program that
// has it opened exclusively. ErrInUse. Other nodes are for their locks to tell.
func Unused(device string) error {
	fd, err := unix.Open(device, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%s: %w: it is mounted on this node, or another program has it; look with findmnt %s", device, ErrInUse, device)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", device, err)
	}
	return unix.Close(fd)
}

// AddJournals adds journals to a mounted file system, on one node while all have it mounted,
// and counts them afterwards. size is in MiB. Free space is needed for all of them. A crash
// leaves those that gfs2_jadd has made: count again before adding more.
func AddJournals(ctx context.Context, r run.Runner, point, device string, count, size int) (int, error) {
	before, err := Journals(ctx, r, device)
	if err != nil {
		return 0, err
	}
	_, err = r.Run(ctx, run.Cmd{Path: "gfs2_jadd", Args: []string{"-j", strconv.Itoa(count), "-J", strconv.Itoa(size), point}, Writer: true})
	if err != nil {
		return before, fmt.Errorf("add %d journals to %s: %w", count, point, err)
	}
	failpoint.Hit("gfs2.journals")
	after, err := Journals(ctx, r, device)
	if err == nil && after != before+count {
		err = fmt.Errorf("gfs2_jadd reported success, and %s has %d journals instead of %d", point, after, before+count)
	}
	return after, err
}

// ErrNotGrown means: the device has no space that the file system does not have already.
var ErrNotGrown = errors.New("the file system has not grown")

// Grow makes a mounted file system as large as its device, on one node while all have it
// mounted. It cannot be made smaller again. The same again goes on where a crash ended it, and
// is ErrNotGrown after the end.
//
// gfs2_grow ends with 0 also where there is no GFS2, and with 255 where nothing is to be
// done; so its words are what counts.
func Grow(ctx context.Context, r run.Runner, point string) error {
	result, err := r.Run(ctx, run.Cmd{Path: "gfs2_grow", Args: []string{point}, Writer: true})
	failpoint.Hit("gfs2.grown")
	said := string(result.Stdout) + string(result.Stderr)
	switch {
	case strings.Contains(said, "has not grown"):
		return fmt.Errorf("%s: %w: %s", point, ErrNotGrown, firstLine(said))
	case strings.Contains(said, "not a mounted gfs2"):
		return fmt.Errorf("%s: %w", point, ErrNotGFS2)
	case err != nil:
		return fmt.Errorf("grow %s: %w", point, err)
	case !strings.Contains(said, "will grow by"):
		return fmt.Errorf("grow %s: gfs2_grow ended without saying that it grew: %s", point, strings.Join(strings.Fields(said), " "))
	}
	return nil
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}
