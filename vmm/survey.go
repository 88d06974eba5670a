package vmm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"one-clvm/cluster"
	"one-clvm/opennebula"
)

// VerbPoll asks for all VMs of the node, whatever VM it names: one question to each source
// costs the same.
const VerbPoll cluster.Verb = "poll"

// Survey is what a node knows of its VMs.
type Survey struct {
	Clustered bool    `json:"clustered"` // a VM that is missing here may run on another node
	VMs       []Sight `json:"vms"`
}

// Sight of one VM.
type Sight struct {
	VM      int              `json:"vm"`
	Report  cluster.Report   `json:"report"`
	Here    bool             `json:"here"` // it is this node's to tell
	CPU     float64          `json:"cpu"`  // percent of one processor; below 0 unknown
	Figures *cluster.Figures `json:"figures,omitempty"`
}

// lately is how long after a verb nothing is concluded from a VM that is not there: oned
// may not have heard yet that the verb has ended.
const lately = 30 * time.Second

// survey asks the hypervisor and the cluster manager. The silence of either, or one that takes
// longer than limit, is an error, and oned keeps what it knows.
func (a *Agent) survey(ctx context.Context, limit time.Duration) (*Survey, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	stack, err := a.Stack(nil)
	if err != nil {
		return nil, err
	}
	domains, vmOf, err := a.domains(ctx)
	if err != nil {
		return nil, err
	}
	judge := func(_ string, domain cluster.Domain) (cluster.Report, bool) {
		return cluster.Judge(cluster.State{Domain: domain})
	}
	names := map[string]bool{}
	surveyor, clustered := stack.(cluster.Surveyor)
	if clustered {
		seen, err := surveyor.Survey(ctx)
		if err != nil {
			return nil, err
		}
		services := map[string]cluster.Condition{}
		for _, v := range seen.VMs {
			services[v.Name], names[v.Name] = v.Condition, true
		}
		judge = func(name string, domain cluster.Domain) (cluster.Report, bool) {
			return cluster.Judge(seen.Of(services[name], domain))
		}
	}
	used, err := a.processors(domains)
	if err != nil {
		return nil, err
	}
	for name := range domains {
		names[name] = true
	}
	out := &Survey{Clustered: clustered}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		vm, ok := vmOf(name)
		if !ok {
			continue
		}
		d, found := domains[name]
		if !found {
			d.State = cluster.Absent
		}
		sight := Sight{VM: vm, CPU: -1, Figures: d.Figures}
		sight.Report, sight.Here = judge(name, d.State)
		if cpu, known := used[name]; known {
			sight.CPU = cpu
		}
		out.VMs = append(out.VMs, sight)
	}
	return out, a.addBusy(out)
}

// domains are those of this node, and which VM a name is.
func (a *Agent) domains(ctx context.Context) (map[string]cluster.Sighting, func(name string) (int, bool), error) {
	if a.Config.Xen == "" {
		seen, err := a.virsh().Survey(ctx, a.Config.Hypervisor)
		return seen, vmOf, err
	}
	names, err := xenFiles{a.Config.XenFiles, a.Config.HomeBases}.names()
	if err != nil {
		return nil, nil, err
	}
	seen, err := a.xen().Survey(ctx)
	if err == nil && len(names) == 0 && len(seen) > 0 {
		err = xenFiles{a.Config.XenFiles, a.Config.HomeBases}.mounted(slices.Collect(maps.Keys(seen)))
	}
	return seen, func(name string) (int, bool) { vm, found := names[name]; return vm, found }, err
}

// addBusy: a VM that a verb is about is neither on nor off.
func (a *Agent) addBusy(s *Survey) error {
	busy, err := busyServices(a.Config.LockDir, a.Clock.Now())
	if err != nil {
		return err
	}
	for _, vm := range busy {
		i := slices.IndexFunc(s.VMs, func(sight Sight) bool { return sight.VM == vm })
		switch {
		case i < 0:
			s.VMs = append(s.VMs, Sight{VM: vm, Report: cluster.ReportUnknown, Here: true, CPU: -1})
		case !s.VMs[i].Here:
			s.VMs[i].Report, s.VMs[i].Here = cluster.ReportUnknown, true
		}
	}
	return nil
}

func vmOf(name string) (int, bool) {
	text, found := strings.CutPrefix(name, "one-")
	vm, err := opennebula.ParseID(text)
	return vm, found && err == nil
}

// busyServices are the VMs that a verb works on here, or did lately.
func busyServices(dir string, now time.Time) ([]int, error) {
	files, err := filepath.Glob(filepath.Join(dir, lockPrefix+"one-*"))
	if err != nil {
		return nil, err
	}
	var out []int
	for _, name := range files {
		vm, ok := vmOf(strings.TrimPrefix(filepath.Base(name), lockPrefix))
		if !ok {
			continue
		}
		busy, err := isBusy(name, now)
		if err != nil {
			return nil, fmt.Errorf("lock: %w", err)
		}
		if busy {
			out = append(out, vm)
		}
	}
	return out, nil
}

func isBusy(name string, now time.Time) (bool, error) {
	file, err := os.Open(name)
	if err != nil {
		return false, err
	}
	defer file.Close() // only looked at
	info, err := file.Stat()
	if err != nil || now.Sub(info.ModTime()) < lately {
		return err == nil, err
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB) // and let go at once
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}
