package setup

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"one-clvm/internal/assignment"
	"one-clvm/opennebula"
	"one-clvm/opennebula/onedconf"
)

// FrontEnd is the machine that oned runs on.
type FrontEnd struct {
	OnedConf string // path; the other files of oned are beside it
	HookConf string // path of the hook's configuration
	Wiring   onedconf.Wiring
}

// Changes are those that its files need; none where nothing is missing.
func (f FrontEnd) Changes() ([]Change, error) {
	return changes(f.onedConf, f.monitor, f.snapshots, f.xen, f.hook)
}

const restart = "systemctl restart opennebula"

func (f FrontEnd) onedConf() (Change, error) {
	c, err := read(f.OnedConf)
	if err != nil {
		return c, err
	}
	if c.Missing {
		return c, fmt.Errorf("%s: there is no such file: is OpenNebula installed here? --oned-conf names another one", f.OnedConf)
	}
	parsed, err := onedconf.Parse(c.Before)
	if err != nil {
		return c, fmt.Errorf("%s: %w", c.Path, err)
	}
	edited, gaps, err := f.Wiring.Edit(parsed)
	if err != nil {
		return c, fmt.Errorf("%s: %w", c.Path, err)
	}
	for _, gap := range gaps {
		c.Why = append(c.Why, gap.Problem)
	}
	c.After, c.Then = edited.String(), restart
	return c, nil
}

// monitor: since 5.12 the drivers that ask hosts are in a file of their own. One that is not there
// is not made: with the suite's section alone no other host would be asked.
func (f FrontEnd) monitor() (Change, error) {
	c, err := read(filepath.Join(filepath.Dir(f.OnedConf), "monitord.conf"))
	if err != nil || c.Missing {
		return Change{}, err
	}
	parsed, err := onedconf.Parse(c.Before)
	if err != nil {
		return c, fmt.Errorf("%s: %w", c.Path, err)
	}
	edited, problem, err := f.Wiring.EditMonitor(parsed)
	if err != nil {
		return c, fmt.Errorf("%s: %w", c.Path, err)
	}
	if problem != "" {
		c.Why = []string{problem}
	}
	c.After, c.Then = edited.String(), restart
	return c, nil
}

// snapshots: since 4.14 oned takes snapshots of running VMs for those pairs of a VMM and a TM
// only that vmm_execrc names.
func (f FrontEnd) snapshots() (Change, error) {
	if !f.Wiring.Release.AtLeast(4, 14, 0) {
		return Change{}, nil
	}
	pairs := []string{"kvm-" + onedconf.StorageDriver}
	if f.Wiring.Clusters {
		pairs = append(pairs, onedconf.ClusterDriver+"-"+onedconf.StorageDriver)
	}
	c, err := read(filepath.Join(filepath.Dir(f.OnedConf), "vmm_exec/vmm_execrc"))
	if err != nil {
		return c, err
	}
	var missing []string
	c.After, missing = assignment.AddWords(c.Before, "LIVE_DISK_SNAPSHOTS", pairs...)
	if len(missing) > 0 {
		c.Why = []string{fmt.Sprintf("LIVE_DISK_SNAPSHOTS does not name %s: no snapshots of running VMs' disks", strings.Join(missing, ", "))}
	}
	c.Then, c.Mode = restart, newMode(c, 0o644)
	return c, nil
}

// newMode is the mode of a file that is to be made; one that is there keeps its own.
func newMode(c Change, mode fs.FileMode) fs.FileMode {
	if c.Missing {
		return mode
	}
	return 0
}

// xen: disks are block devices.
func (f FrontEnd) xen() (Change, error) {
	if !f.Wiring.Clusters || !f.Wiring.Xen {
		return Change{}, nil
	}
	c, err := read(filepath.Join(filepath.Dir(f.OnedConf), f.Wiring.XenDefaults()))
	if err != nil {
		return c, err
	}
	parsed, err := onedconf.Parse(c.Before)
	if err == nil {
		parsed, err = onedconf.BlockDisks(parsed)
	}
	if err != nil {
		return c, fmt.Errorf("%s: %w", c.Path, err)
	}
	c.After, c.Then, c.Mode = parsed.String(), restart, newMode(c, 0o644)
	if c.After != c.Before {
		c.Why = []string{`DISK has no driver "phy:": Xen takes a disk for a file`}
	}
	return c, nil
}

// hook: it tells of VMs that have left a dead node, if it knows that oned can hear that.
func (f FrontEnd) hook() (Change, error) {
	c, err := read(f.HookConf)
	if err != nil || c.Missing || !f.Wiring.Clusters || !f.Wiring.MigrateLocal {
		return Change{}, err
	}
	if local, _ := assignment.Find(c.Before, "LOCAL_MIGRATE"); local.Text != "True" {
		c.After = assignment.Set(c.Before, "LOCAL_MIGRATE", "True", assignment.Tight)
		c.Why = []string{"LOCAL_MIGRATE in " + f.HookConf + " does not say what oned.conf does: failovers are told late"}
	}
	return c, nil
}

// Datastore is one whose template lacks attributes.
type Datastore struct {
	ID         int
	Name       string
	Attributes []opennebula.Attribute
}

// Records are what oned is asked for, and told; *opennebula.Client has them.
type Records interface {
	Datastores(ctx context.Context) ([]opennebula.Datastore, error)
	UpdateDatastore(ctx context.Context, id int, attributes []opennebula.Attribute) error
}

// Datastores are those whose templates say another place than where their disks take space.
func (f FrontEnd) Datastores(ctx context.Context, records Records) ([]Datastore, error) {
	all, err := records.Datastores(ctx)
	if err != nil {
		return nil, err
	}
	var wrong []Datastore
	for _, ds := range all {
		if attributes := f.Wiring.DatastoreAttributes(ds); len(attributes) > 0 {
			wrong = append(wrong, Datastore{ds.ID, ds.Name, attributes})
		}
	}
	return wrong, nil
}
