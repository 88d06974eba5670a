package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"one-clvm/internal/failpoint"
	"one-clvm/lvm"
)

// A verb that makes a disk of an image has the image active meanwhile. Which one, is noted on
// this node before: if the verb dies, the removal of the disk ends that, too. The notes are
// beside the locks: like activation, they end with the node.

// readingNote is the note's file; of no disk, the beginning of those of all.
func (c *session) readingNote(disk string) string {
	return filepath.Join(c.Config.LockDir, "reading+"+lockName(c.req.Home)+"+"+disk)
}

// beginReading notes the image that the request's disk is made of. An image that another one
// is made of has no disk.
func (c *session) beginReading(g lvm.Group, image string) error {
	if c.req.Home == "" {
		return nil
	}
	if err := os.WriteFile(c.readingNote(strconv.Itoa(c.req.Disk)), []byte(g.Name()+" "+image), 0o600); err != nil {
		return fmt.Errorf("note that image %s is read: %w", image, err)
	}
	failpoint.Hit("reading.noted")
	return nil
}

// endReading: the image is active no more, or the disk that is a snapshot of it tells why.
func (c *session) endReading() error {
	if c.req.Home == "" {
		return nil
	}
	err := forgetReading(c.readingNote(strconv.Itoa(c.req.Disk)))
	failpoint.Hit("reading.ended")
	return err
}

func forgetReading(note string) error {
	if err := os.Remove(note); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// leaveRead deactivates the images that verbs on the request's disks were reading when they
// died, unless somebody else uses them here.
func (c *session) leaveRead(ctx context.Context) error {
	if c.req.Home == "" {
		return nil
	}
	notes, err := os.ReadDir(c.Config.LockDir)
	if err != nil {
		return fmt.Errorf("images that were read: %w", err)
	}
	for _, n := range notes {
		note := filepath.Join(c.Config.LockDir, n.Name())
		disk, found := strings.CutPrefix(note, c.readingNote(""))
		if !found || c.req.Disk != AllDisks && disk != strconv.Itoa(c.req.Disk) {
			continue
		}
		if err := c.leaveNoted(ctx, note); err != nil {
			return err
		}
	}
	return nil
}

func (c *session) leaveNoted(ctx context.Context, note string) error {
	text, err := os.ReadFile(note)
	if err != nil {
		return fmt.Errorf("image that was read: %w", err)
	}
	if group, image, whole := strings.Cut(string(text), " "); whole { // else nothing was activated
		g, err := c.open(group)
		if err == nil {
			err = c.leaveImage(ctx, g, image)
		}
		if err != nil && !errors.Is(err, lvm.ErrNotFound) {
			return err
		}
		c.log("info", "volume %s is left, which a verb that died was reading", image)
	}
	return forgetReading(note)
}
