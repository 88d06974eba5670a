// Package lvm2 is the real LVM2 behind the interface of package lvm: argument vectors
// in, JSON reports out.
//
// How it talks to LVM:
//
//   - Reads name the volume group, so that no global lock is taken, and ask for
//     explicit fields. A volume is absent only when a clean report lists the group
//     without it; an exit status alone proves nothing.
//   - Changes go one at a time for a group. They are never killed: a deadline makes the
//     outcome unknown. After each one the report is read again and compared; a success
//     that changed nothing is ErrNoEffect.
//   - No call looks for physical volumes inside volumes: what is there was written by
//     guests.
//   - Only what a second try can heal is tried again: a volume group's lock held by
//     another host, a checksum read in the middle of another host's write.
//
// It needs LVM 2.02.158 or newer, the first with JSON reports.
package lvm2

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"one-clvm/internal/run"
	"one-clvm/lvm"
)

// ErrNoEffect says that LVM reported success, and the report shows that nothing, or
// something else, happened.
var ErrNoEffect = errors.New("LVM reported success without the effect")

// ErrNoLockManager says that the volume group is shared, and that its lock manager does
// not serve it on this node.
var ErrNoLockManager = errors.New("the volume group's lock manager is not running on this node")

// ErrGroupBusy says that another node holds the lock of the whole volume group, or the
// global one: it changes metadata. It says nothing about a volume.
var ErrGroupBusy = errors.New("another node is changing the volume group")

// ErrNotShareable says that a volume of this type can only be active exclusively.
var ErrNotShareable = errors.New("the volume cannot be active on two nodes")

// Options of a Group. The zero value is right outside of tests.
type Options struct {
	// Others are further volume groups on the node that hold guests' disks. LVM before
	// 2.02.182 must be told their names to keep out of those disks.
	Others []string
	// Sleep waits between two tries; it returns early with an error when ctx ends.
	Sleep func(ctx context.Context, d time.Duration) error
	// SlowAfter is when a command that still runs is told about (OnWait).
	SlowAfter time.Duration
}

// Group is a volume group of the real LVM2. It is safe for concurrent use.
type Group struct {
	name    string
	others  []string
	runner  run.Runner
	sleep   func(context.Context, time.Duration) error
	slow    time.Duration
	told    func(reason string)
	version versionCache
	filter  filterCache

	permission lvm.Permission
	mayChange  bool // permission was given; guarded by writers
}

var (
	_ lvm.Unlocked = (*Group)(nil)
	_ lvm.Waiter   = (*Group)(nil)
)

// New is the volume group vg, reached through r. Nothing runs before a method is
// called; a name that LVM would not allow is refused then.
func New(vg string, r run.Runner, opt Options) *Group {
	if opt.Sleep == nil {
		opt.Sleep = sleep
	}
	if opt.SlowAfter == 0 {
		opt.SlowAfter = slowAfter
	}
	return &Group{name: vg, others: opt.Others, runner: r, sleep: opt.Sleep, slow: opt.SlowAfter}
}

// Name implements lvm.Group.
func (g *Group) Name() string { return g.name }

// Info implements lvm.Group.
func (g *Group) Info(ctx context.Context) (lvm.GroupInfo, error) {
	if err := lvm.ValidateGroupName(g.name); err != nil {
		return lvm.GroupInfo{}, g.failed("read", "", err)
	}
	info, err := g.readInfo(ctx)
	return info, g.failed("read", "", err)
}

// Report implements lvm.Group. It costs one lvs, in an lvmlockd group one lvmlockctl
// more, in an empty group one vgs more; the first call also asks for LVM's version.
func (g *Group) Report(ctx context.Context) (lvm.GroupInfo, []lvm.Volume, error) {
	if err := lvm.ValidateGroupName(g.name); err != nil {
		return lvm.GroupInfo{}, nil, g.failed("read", "", err)
	}
	now, err := g.read(ctx)
	return now.info, now.volumes, g.failed("read", "", err)
}

// Volumes implements lvm.Group. It costs what Report costs.
func (g *Group) Volumes(ctx context.Context) ([]lvm.Volume, error) {
	_, volumes, err := g.Report(ctx)
	return volumes, err
}

// Volume implements lvm.Group.
func (g *Group) Volume(ctx context.Context, name string) (lvm.Volume, error) {
	if err := lvm.ValidateNames(g.name, name); err != nil {
		return lvm.Volume{}, g.failed("read", name, err)
	}
	now, err := g.read(ctx)
	if err != nil {
		return lvm.Volume{}, g.failed("read", name, err)
	}
	volume, err := now.find(name)
	return volume, g.failed("read", name, err)
}

// failed wraps err with the operation, its object and what to do next; nil stays nil.
func (g *Group) failed(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &lvm.Error{Op: op, Group: g.name, Volume: name, Err: g.advised(err)}
}

// state is one clean report of the group.
type state struct {
	info    lvm.GroupInfo
	volumes []lvm.Volume
	// elsewhere are the volumes that only other nodes have active, and how. Only clvmd's
	// report tells.
	elsewhere map[string]lvm.Mode
}

func (s state) find(name string) (lvm.Volume, error) {
	for _, volume := range s.volumes {
		if volume.Name == name {
			return volume, nil
		}
	}
	return lvm.Volume{}, lvm.ErrNotFound
}

func (s state) has(name string) bool {
	_, err := s.find(name)
	return err == nil
}

// read takes a clean report. Every line carries the group's own fields, too; only an
// empty group must be asked for with vgs, which also tells it from an invisible one: a
// shared group on a host without lvmlockd is an empty report with status 0.
func (g *Group) read(ctx context.Context) (state, error) {
	rows, err := g.report(ctx, "lvs", "lv", slices.Concat(volumeFields, groupFields))
	if err != nil {
		return state{}, err
	}
	if len(rows) == 0 {
		info, err := g.readInfo(ctx)
		return state{info: info}, err
	}
	now := state{elsewhere: map[string]lvm.Mode{}}
	if now.info, err = groupInfo(g.name, rows[0]); err != nil {
		return state{}, err
	}
	held, err := g.locks(ctx, now.info)
	if err != nil {
		return state{}, err
	}
	lockOf := lockOwners(rows)
	for _, row := range rows {
		volume, err := volumeOf(g.name, row, now.info.LockManager, held[lockOf[row["lv_name"]]])
		if err != nil {
			return state{}, err
		}
		now.volumes = append(now.volumes, volume)
		if mode := clvmdElsewhere(row["lv_active"]); mode != lvm.Off {
			now.elsewhere[volume.Name] = mode
		}
	}
	slices.SortFunc(now.volumes, func(a, b lvm.Volume) int { return strings.Compare(a.Name, b.Name) })
	return now, nil
}

func (g *Group) readInfo(ctx context.Context) (lvm.GroupInfo, error) {
	rows, err := g.report(ctx, "vgs", "vg", groupFields)
	if err != nil {
		return lvm.GroupInfo{}, err
	}
	if len(rows) == 0 {
		return lvm.GroupInfo{}, fmt.Errorf("%w: vgs %s lists nothing; a shared group stays hidden while lvmlockd is not configured", lvm.ErrNoGroup, g.name)
	}
	return groupInfo(g.name, rows[0])
}

func reportArgs(fields []string) []string {
	return []string{"--reportformat", "json", "--units", "b", "--nosuffix", "-o", strings.Join(fields, ",")}
}

// report runs one reporting command on the group and gives its rows. It is clean only
// with status 0; the only failures that say something certain are those of the whole
// group: it does not exist, or its locks cannot be had.
func (g *Group) report(ctx context.Context, program, section string, fields []string) ([]row, error) {
	result, err := g.lvm(ctx, run.Cmd{Path: program, Args: append(reportArgs(fields), g.name)})
	if err != nil {
		if hint := hintOf(err); slices.Contains([]error{lvm.ErrNoGroup, ErrNoLockManager, ErrGroupBusy}, hint) {
			return nil, fmt.Errorf("%w: %w", hint, err)
		}
		return nil, err
	}
	rows, err := parseReport(result.Stdout, section, fields)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", program, g.name, err)
	}
	return rows, nil
}
