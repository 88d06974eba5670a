package lvm2

import (
	"errors"
	"strings"

	"one-clvm/internal/lazyregexp"
	"one-clvm/internal/run"
	"one-clvm/lvm"
)

// message is a text that LVM prints on stderr, what it hints at, and what a person
// should do next. In next, VG stands for the group's name.
type message struct {
	text lazyregexp.Regexp
	hint error
	next string
}

// Sentences that several messages share.
const (
	startLockspace = "run vgchange --lockstart VG on this node, then see that lvmlockctl -i lists VG (the command exits 0 even without lvmlockd)"
	startDaemon    = "start lvmlockd on this node, then run vgchange --lockstart VG"
	enableDaemon   = "set use_lvmlockd=1 in this node's lvm.conf, start lvmlockd, then run vgchange --lockstart VG"
	checkLeases    = "this node cannot read or write its lock leases: check its path to the SAN (multipath -ll) and sanlock client status"
	waitForChange  = "an LVM command of another node holds the lock; if it does not end, find it with lvmlockctl -i on the other nodes"
)

// messages are LVM's texts, the more certain ones first: a message is often followed by
// one that only says that something failed. LVM's exit status 5 means any failure, and
// texts change between versions, so a hint is borne out by a fresh report wherever a
// report can show it (see explain).
var messages = []message{
	{lazyregexp.New(`(?i)logical volume "[^"]*" already exists in volume group`), lvm.ErrExists, ""},
	{lazyregexp.New(`has insufficient free space|Insufficient free space:|Insufficient suitable allocatable extents`), lvm.ErrNoSpace, ""},
	{lazyregexp.New(`contains a filesystem in use|Logical volume \S+ in use|is used by another device`), lvm.ErrInUse, ""},
	{lazyregexp.New(`Failed to find logical volume|Existing logical volume "[^"]*" not found|Logical volume \S+ not found in volume group`), lvm.ErrNotFound, ""},

	// A volume's lock. Who holds it is asked from the lock manager.
	{lazyregexp.New(`LV locked by other host|busy on another node|must be inactive on all hosts`), lvm.ErrLocked, ""},
	{lazyregexp.New(`LV is already locked with incompatible mode`), lvm.ErrLocked,
		"this node holds it shared, as during a migration: end that with POSTMIGRATE or FAILMIGRATE"},
	{lazyregexp.New(`Shared activation not compatible with LV type:? snapshot`), lvm.ErrSnapshots,
		"remove its snapshots, or migrate the VM cold"},
	{lazyregexp.New(`Shared activation not compatible with LV type`), ErrNotShareable,
		"migrate the VM cold"},

	// lvmlockd and its lockspaces.
	{lazyregexp.New(`lock failed: storage (failed|errors) for sanlock leases`), ErrNoLockManager, checkLeases},
	{lazyregexp.New(`lockspace is inactive|lock start in progress`), ErrNoLockManager, startLockspace},
	{lazyregexp.New(`VG \S+ lock failed: removed`), lvm.ErrNoGroup,
		"another node has removed or renamed VG; run vgs on that node"},
	{lazyregexp.New(`lock failed: held by other host`), ErrGroupBusy, waitForChange},
	{lazyregexp.New(`check that global lockspace is started`), ErrNoLockManager,
		"the global lock is in the first shared volume group that was made: run vgchange --lockstart for that one, too"},
	{lazyregexp.New(`start failed: lock manager (\S+) is not running`), ErrNoLockManager,
		"start the cluster on this node (dlm: corosync and dlm_controld; sanlock: wdmd and sanlock), then run vgchange --lockstart VG"},
	{lazyregexp.New(`start failed: invalid sanlock host_id`), ErrNoLockManager,
		"give this node a number of its own (local/host_id in lvmlocal.conf), then run vgchange --lockstart VG"},
	{lazyregexp.New(`requires lvmlockd|lvmlockd is not enabled`), ErrNoLockManager, enableDaemon},
	// Before the texts of a daemon that is down: those are warnings for every group.
	{lazyregexp.New(`Volume group "[^"]*" not found`), lvm.ErrNoGroup, ""},
	{lazyregexp.New(`check that lvmlockd is running|lvmlockd process is not running|Failed to detect a running lock manager`), ErrNoLockManager, startDaemon},
	{lazyregexp.New(`stop failed: LVs must first be deactivated`), lvm.ErrInUse,
		"deactivate the volumes of VG on this node first (lvs VG shows them)"},
	{lazyregexp.New(`lock failed: error -?\d+`), ErrNoLockManager,
		"the log of lvmlockd on this node says why (journalctl -u lvmlockd)"},
	{lazyregexp.New(`due to failed lock`), ErrNoLockManager, startLockspace},
	{lazyregexp.New(`The clustered option is deprecated`), nil, "clvmd ended with LVM 2.02: use vgcreate --shared"},

	// clvmd.
	{lazyregexp.New(`clvmd not running on node`), ErrNoLockManager, "start clvmd on that node, or have the cluster fence it"},
	{lazyregexp.New(`Skipping clustered volume group|cluster locking initiali[sz]ation failed`), ErrNoLockManager, "start the cluster and clvmd on this node"},
	{lazyregexp.New(`Error locking on node`), ErrNoLockManager, "the log of clvmd on that node says why"},
}

// passing are the texts of failures that a second try can heal: the group's or the
// global lock is held for a moment, or metadata was read while another host wrote it.
var passing = lazyregexp.New(`lock failed: (held by other host|lock start in progress)|(?i:checksum)`)

// meaning finds the message of a failed command; its zero value when none is known.
func meaning(err error) message {
	text := stderrOf(err)
	for _, m := range messages {
		if m.text.MatchString(text) {
			return m
		}
	}
	return message{}
}

// hintOf is the sentinel that a failed command's text hints at, nil without one.
func hintOf(err error) error { return meaning(err).hint }

// advised appends what to do next, if the message tells.
func (g *Group) advised(err error) error {
	next := meaning(err).next
	if next == "" {
		return err
	}
	return &advisedError{err, strings.ReplaceAll(next, "VG", g.name)}
}

// advisedError is an error with the next step behind it.
type advisedError struct {
	error
	next string
}

func (e *advisedError) Error() string { return e.error.Error() + "; " + e.next }

func (e *advisedError) Unwrap() error { return e.error }

// transient says whether trying again can help. Only a program that ended by itself
// counts: one that was not started, killed or left running is another matter.
func transient(err error) bool {
	var failed *run.Error
	return errors.As(err, &failed) && failed.Status > 0 && passing.MatchString(failed.Stderr)
}

// addressInUse is -EADDRINUSE as an exit status.
const addressInUse = 256 - 98

// oneAtATime says that another lvmlockctl -i runs on this node: the socket on which it
// waits for the answer has one name for all. It ends without a word then.
func oneAtATime(c run.Cmd, err error) bool {
	var failed *run.Error
	return c.Path == lockctl && errors.As(err, &failed) && failed.Status == addressInUse
}

func stderrOf(err error) string {
	var failed *run.Error
	if !errors.As(err, &failed) {
		return ""
	}
	return failed.Stderr
}
