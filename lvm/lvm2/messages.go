package lvm2

import (
	"errors"
	"regexp"

	"one-clvm/internal/run"
	"one-clvm/lvm"
)

// messages are LVM's texts on stderr and what they hint at. LVM's exit status 5 means
// any failure, and texts change between versions, so a hint is borne out by a fresh
// report wherever a report can show it (see explain).
var messages = []struct {
	text *regexp.Regexp
	hint error
}{
	{regexp.MustCompile(`(?i)logical volume "[^"]*" already exists in volume group`), lvm.ErrExists},
	{regexp.MustCompile(`has insufficient free space|Insufficient free space:|Insufficient suitable allocatable extents`), lvm.ErrNoSpace},
	{regexp.MustCompile(`contains a filesystem in use|Logical volume \S+ in use|is used by another device`), lvm.ErrInUse},
	{regexp.MustCompile(`LV locked by other host|lock failed: held by other host|LV is already locked with incompatible mode|busy on another node|Error locking on node`), lvm.ErrLocked},
	{regexp.MustCompile(`Failed to find logical volume|Existing logical volume "[^"]*" not found|Logical volume \S+ not found in volume group`), lvm.ErrNotFound},
	{regexp.MustCompile(`lockspace is inactive|requires lvmlockd|check that lvmlockd is running|due to failed lock|Skipping clustered volume group|cluster locking initiali[sz]ation failed|clvmd not running`), ErrNoLockManager},
	{regexp.MustCompile(`Volume group "[^"]*" not found`), lvm.ErrNoGroup},
}

// passing are the texts of failures that a second try can heal: the group's or the
// global lock is held for a moment, or metadata was read while another host wrote it.
var passing = regexp.MustCompile(`lock failed: (held by other host|lock start in progress)|(?i:checksum)`)

// hintOf is the sentinel that a failed command's text hints at, nil without one.
func hintOf(err error) error {
	text := stderrOf(err)
	for _, message := range messages {
		if message.text.MatchString(text) {
			return message.hint
		}
	}
	return nil
}

// transient says whether trying again can help. Only a program that ended by itself
// counts: one that was not started, killed or left running is another matter.
func transient(err error) bool {
	var failed *run.Error
	return errors.As(err, &failed) && failed.Status > 0 && passing.MatchString(failed.Stderr)
}

func stderrOf(err error) string {
	var failed *run.Error
	if !errors.As(err, &failed) {
		return ""
	}
	return failed.Stderr
}
