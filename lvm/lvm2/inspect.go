package lvm2

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"one-clvm/internal/run"
	"one-clvm/lvm"
)

// Inspection is what LVM on a node says of itself, asked without any lock: it must answer
// when the lock manager does not.
type Inspection struct {
	Version  string            `json:"version"`
	Settings map[string]string `json:"settings"` // by name, without the section
	Groups   []GroupState      `json:"groups"`
	// Physical are all disks that LVM sees as the node's own configuration tells it, without
	// what the suite adds: one that is a volume itself was made by a guest.
	Physical []lvm.PhysicalVolume `json:"physical"`
	Volumes  []StoredVolume       `json:"volumes"`
	// Lockspaces are the groups that lvmlockd serves here; nil if it does not answer.
	Lockspaces []string `json:"lockspaces"`
	// Locks are the locks that this node holds, by the volume's UUID, under lvmlockd.
	Locks map[string]lvm.Mode `json:"locks,omitempty"`
}

// Group of that name, if the node sees it.
func (i Inspection) Group(name string) (GroupState, bool) {
	for _, g := range i.Groups {
		if g.Name == name {
			return g, true
		}
	}
	return GroupState{}, false
}

// GroupState is a volume group in numbers; all sizes in bytes.
type GroupState struct {
	Name         string `json:"name"`
	UUID         string `json:"uuid"`
	LockManager  string `json:"lock_manager"` // as in lvm.GroupInfo
	LockArgs     string `json:"lock_args,omitempty"`
	Size         int64  `json:"size"`
	Free         int64  `json:"free"`
	MetadataSize int64  `json:"metadata_size"` // of the smallest area in use
	MetadataFree int64  `json:"metadata_free"`
	Missing      int    `json:"missing"` // disks
}

// StoredVolume is a volume as the metadata on disk has it.
type StoredVolume struct {
	Group  string   `json:"group"`
	Name   string   `json:"name"`
	UUID   string   `json:"uuid"`
	Size   int64    `json:"size"`
	Tags   lvm.Tags `json:"tags,omitempty"`
	Origin string   `json:"origin,omitempty"`
}

// Path is where the volume's device is while it is active.
func (v StoredVolume) Path() string { return "/dev/" + v.Group + "/" + v.Name }

// inspectedSettings of lvm.conf.
var inspectedSettings = []string{
	"devices/scan_lvs", "devices/global_filter", "devices/filter", "devices/use_devicesfile",
	"global/use_lvmlockd", "global/locking_type", "global/event_activation", "activation/auto_activation_volume_list",
}

var (
	stateFields    = []string{"vg_name", "vg_uuid", "vg_attr", "vg_lock_type", "vg_lock_args", "vg_size", "vg_free", "vg_mda_size", "vg_mda_free", "vg_missing_pv_count"}
	storedFields   = []string{"vg_name", "lv_name", "lv_uuid", "lv_size", "lv_tags", "origin"}
	inspectedDisks = append([]string{"pv_size"}, diskFields...)
)

// Inspect asks for all of it. The groups are those that hold guests' disks. What could not
// be asked is in the error, and the rest is filled in all the same.
func Inspect(ctx context.Context, r run.Runner, groups []string) (Inspection, error) {
	if len(groups) == 0 {
		return Inspection{}, fmt.Errorf("inspect LVM: %w: no volume group is allowed on this node", lvm.ErrNoGroup)
	}
	g := New(groups[0], r, Options{Others: groups[1:]})
	var i Inspection
	return i, errors.Join(i.readVersion(ctx, g), i.readSettings(ctx, g), i.readGroups(ctx, g, groups), i.readDisks(ctx, g), i.readVolumes(ctx, g, groups), i.readLocks(ctx, g))
}

func (i *Inspection) readVersion(ctx context.Context, g *Group) error {
	v, err := g.version.get(ctx, g)
	i.Version = fmt.Sprintf("%d.%02d.%02d", v[0], v[1], v[2])
	return err
}

// readSettings: a setting that is not known to this version, or not set, is left out. LVM
// prints the others and says 5.
func (i *Inspection) readSettings(ctx context.Context, g *Group) error {
	result, err := g.once(ctx, run.Cmd{Path: "lvmconfig", Args: append([]string{"--typeconfig", "full"}, inspectedSettings...)})
	var failed *run.Error
	unset := errors.As(err, &failed) && failed.Status == statusFailed
	if err != nil && !unset {
		return err
	}
	i.Settings = parseSettings(result.Stdout)
	return nil
}

// parseSettings reads what lvmconfig prints: scan_lvs=0, a line each, without sections.
func parseSettings(output []byte) map[string]string {
	settings := map[string]string{}
	for line := range strings.Lines(string(output)) {
		name, value, found := strings.Cut(strings.TrimSpace(line), "=")
		if found {
			settings[name] = value
		}
	}
	return settings
}

// withoutLocks are options of reports that take no lock and see all groups.
func withoutLocks(fields []string) []string {
	return append(reportArgs(fields), "--readonly", "--foreign", "--shared")
}

func (i *Inspection) readGroups(ctx context.Context, g *Group, names []string) error {
	rows, err := g.inspect(ctx, "vgs", "vg", stateFields)
	if err != nil {
		return err
	}
	for _, r := range rows {
		s := GroupState{Name: r["vg_name"], UUID: r["vg_uuid"], LockArgs: r["vg_lock_args"]}
		if !isOneOf(s.Name, names) {
			continue
		}
		for field, target := range map[string]*int64{"vg_size": &s.Size, "vg_free": &s.Free, "vg_mda_size": &s.MetadataSize, "vg_mda_free": &s.MetadataFree} {
			if *target, err = r.bytes(field); err != nil {
				return err
			}
		}
		if s.LockManager, err = lockManager(r["vg_attr"], r["vg_lock_type"]); err != nil {
			return err
		}
		if s.Missing, err = strconv.Atoi(r["vg_missing_pv_count"]); err != nil {
			return &ReportError{Field: "vg_missing_pv_count", Value: r["vg_missing_pv_count"], Cause: "not a number"}
		}
		i.Groups = append(i.Groups, s)
	}
	return nil
}

func isOneOf(name string, names []string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}

// readDisks asks as any other program on the node would: without the suite's own options.
func (i *Inspection) readDisks(ctx context.Context, g *Group) error {
	result, err := g.retry(ctx, run.Cmd{Path: "pvs", Args: withoutLocks(inspectedDisks)})
	if err != nil {
		return fmt.Errorf("list physical volumes: %w", err)
	}
	rows, err := parseReport(result.Stdout, "pv", inspectedDisks)
	if err != nil {
		return fmt.Errorf("list physical volumes: %w", err)
	}
	for _, r := range rows {
		i.Physical = append(i.Physical, lvm.PhysicalVolume{UUID: r["pv_uuid"], Path: r["pv_name"], Group: r["vg_name"]})
	}
	return nil
}

func (i *Inspection) readVolumes(ctx context.Context, g *Group, names []string) error {
	rows, err := g.inspect(ctx, "lvs", "lv", storedFields)
	if err != nil {
		return err
	}
	for _, r := range rows {
		if !isOneOf(r["vg_name"], names) {
			continue
		}
		size, err := r.bytes("lv_size")
		if err != nil {
			return err
		}
		i.Volumes = append(i.Volumes, StoredVolume{r["vg_name"], r["lv_name"], r["lv_uuid"], size, splitTags(r["lv_tags"]), r["origin"]})
	}
	return nil
}

// readLocks: nobody answers where lvmlockd does not run, which is right without shared
// groups. That is for others to judge.
func (i *Inspection) readLocks(ctx context.Context, g *Group) error {
	result, err := g.retry(ctx, run.Cmd{Path: lockctl, Args: []string{"-i"}})
	if ctx.Err() != nil {
		return err
	}
	if err != nil {
		return nil //nolint:nilerr // it does not answer
	}
	i.Lockspaces, i.Locks = []string{}, map[string]lvm.Mode{}
	for line := range strings.Lines(string(result.Stdout)) {
		// The global lock space has a section without a group: "VG vg_uuid= lock_type= ".
		if words := strings.Fields(line); len(words) >= 2 && words[0] == "VG" && !strings.Contains(words[1], "=") {
			i.Lockspaces = append(i.Lockspaces, words[1])
		}
	}
	for _, name := range i.Lockspaces {
		held, err := parseLocks(result.Stdout, name)
		if err != nil {
			return err
		}
		for uuid, mode := range held {
			i.Locks[uuid] = stronger(i.Locks[uuid], mode)
		}
	}
	return nil
}

// inspect runs one report over all groups, never inside guests' disks.
func (g *Group) inspect(ctx context.Context, program, section string, fields []string) ([]row, error) {
	result, err := g.lvm(ctx, run.Cmd{Path: program, Args: withoutLocks(fields)})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	rows, err := parseReport(result.Stdout, section, fields)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	return rows, nil
}
