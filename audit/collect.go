package audit

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"one-clvm/agent"
	"one-clvm/cxmrc"
	"one-clvm/opennebula"
	"one-clvm/plan"
)

// Records are oned's own, as far as an audit asks for them.
type Records interface {
	plan.Records
	Images(ctx context.Context) ([]opennebula.Image, error)
	Datastores(ctx context.Context) ([]opennebula.Datastore, error)
}

// Auditor collects, and repairs.
type Auditor struct {
	*plan.Driver
	Records Records
}

// Target is what to look at.
type Target struct {
	Datastore int    // the volume group of this system datastore, or opennebula.None
	Group     string // else this one; "": that of cxmrc
	Node      string // as this node sees it; "": as all do
}

// ownTM is the name that the suite's transfer manager is installed under.
const ownTM = "clvm"

// ForeignTMs are OpenNebula's transfer managers whose disks are named like the suite's.
var ForeignTMs = []string{"fs_lvm", "fs_lvm_ssh"}

// maxAsked is how many nodes, or records of oned, are asked for at a time.
const maxAsked = 16

// Collect asks nodes and oned; nothing is changed. A node that does not answer is in
// Unasked; it is an error when none does.
func (a *Auditor) Collect(ctx context.Context, t Target) (*State, error) {
	s := &State{
		Group: t.Group, Prefix: a.Config.String("LV_PREFIX"), Shared: a.Config.List("SHARED_DIRS"), Now: time.Now(),
		VMs: map[int]opennebula.VM{}, Images: map[int]opennebula.Image{}, Disks: map[int][]int{}, Bases: map[int]string{}, Unasked: map[string]string{},
	}
	clusters, err := a.datastores(ctx, t, s)
	if err != nil {
		return nil, err
	}
	hosts := []string{t.Node}
	if t.Node == "" {
		if hosts, err = a.hosts(ctx, clusters, s); err != nil {
			return nil, err
		}
	}
	if err := a.nodes(ctx, hosts, s); err != nil {
		return nil, err
	}
	// Of the VMs after the volumes: what was made in between is no orphan.
	return s, a.records(ctx, s)
}

// datastores finds the group, the system datastores that have their disks in it, and the
// clusters whose hosts see it (none: all).
func (a *Auditor) datastores(ctx context.Context, t Target, s *State) (clusters []int, err error) {
	all, err := a.Records.Datastores(ctx)
	if err != nil {
		return nil, err
	}
	configs := map[int]*cxmrc.Config{}
	for _, ds := range all {
		if configs[ds.ID], err = a.Config.WithDatastore(ds.Template, ds.Origin()); err != nil {
			return nil, err
		}
		if ds.ID == t.Datastore && s.Group == "" {
			s.Group, clusters = configs[ds.ID].String("VG_NAME"), ds.ClusterIDs
		}
	}
	if _, known := configs[t.Datastore]; t.Datastore != opennebula.None && !known {
		return nil, fmt.Errorf("datastore %d: %w", t.Datastore, opennebula.ErrNoSuchObject)
	}
	if s.Group == "" {
		s.Group = a.Config.String("VG_NAME")
	}
	for _, ds := range all {
		if group, known := GroupOf(ds, configs[ds.ID]); known && ds.IsSystem() && group == s.Group {
			s.Bases[ds.ID] = path.Clean("/" + ds.BasePath)
		}
	}
	return clusters, nil
}

// GroupOf is the volume group of a datastore's disks; known is false where they are in none. That of
// OpenNebula's own drivers for LVM is told by the datastore's id, unless VG_NAME says it. cfg
// has the overrides of the datastore.
func GroupOf(ds opennebula.Datastore, cfg *cxmrc.Config) (group string, known bool) {
	switch {
	case ds.TMMAD == ownTM || ds.Template["VG_NAME"] != "":
		return cfg.String("VG_NAME"), true
	case slices.Contains(ForeignTMs, ds.TMMAD):
		return fmt.Sprintf("vg-one-%d", ds.ID), true
	}
	return "", false
}

// hosts are those that oned uses; one that it has lost is told of.
func (a *Auditor) hosts(ctx context.Context, clusters []int, s *State) ([]string, error) {
	all, err := a.Records.Hosts(ctx)
	if err != nil {
		return nil, err
	}
	var hosts []string
	for _, h := range all {
		switch {
		case h.SetAside(), len(clusters) > 0 && !slices.Contains(clusters, h.ClusterID):
		case plan.IsDead(&h):
			s.Unasked[h.Name] = "oned cannot reach it"
		default:
			hosts = append(hosts, h.Name)
		}
	}
	return hosts, nil
}

func (a *Auditor) nodes(ctx context.Context, hosts []string, s *State) error {
	var mutex sync.Mutex
	var all errgroup.Group
	all.SetLimit(maxAsked)
	reports := map[string]agent.Result{}
	for _, host := range hosts {
		all.Go(func() error {
			err := opennebula.CheckHost(host)
			var res agent.Result
			if err == nil {
				res, err = a.Ask(ctx, host, agent.Request{Op: agent.OpAudit, Operation: plan.NewOperation(), Group: s.Group})
			}
			mutex.Lock()
			defer mutex.Unlock()
			if err != nil {
				s.Unasked[host] = err.Error()
			} else {
				reports[host] = res
			}
			return nil
		})
	}
	_ = all.Wait() // the failures are in Unasked, all of them
	for _, host := range sortedKeys(reports) {
		s.add(host, reports[host])
	}
	if len(s.Nodes) == 0 {
		return fmt.Errorf("volume group %s: no node has answered: %s", s.Group, s.WhyUnasked())
	}
	return nil
}

// add keeps a report; two hosts may be one machine.
func (s *State) add(host string, report agent.Result) {
	for i, n := range s.Nodes {
		if report.Audit != nil && n.Report.Audit != nil && report.Audit.Boot == n.Report.Audit.Boot {
			s.Nodes[i].Names = append(s.Nodes[i].Names, host)
			return
		}
	}
	s.Nodes = append(s.Nodes, Node{Names: []string{host}, Report: report})
}

// WhyUnasked lists the hosts that could not be asked, with the reasons; "" for none.
func (s *State) WhyUnasked() string {
	var all []string
	for _, host := range sortedKeys(s.Unasked) {
		all = append(all, host+": "+s.Unasked[host])
	}
	return strings.Join(all, "; ")
}

func (a *Auditor) records(ctx context.Context, s *State) error {
	vms, err := a.Records.VMs(ctx)
	if err != nil {
		return err
	}
	images, err := a.Records.Images(ctx)
	if err != nil {
		return err
	}
	for _, image := range images {
		s.Images[image.ID] = image
	}
	var mutex sync.Mutex
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(maxAsked)
	for _, vm := range vms {
		s.VMs[vm.ID] = vm
	}
	for _, vm := range vms {
		if !s.hasDisksHere(vm) {
			continue
		}
		all.Go(func() error {
			whole, err := a.Records.VM(ctx, vm.ID)
			if err != nil {
				return err
			}
			mutex.Lock()
			defer mutex.Unlock()
			s.expect(*whole)
			return nil
		})
	}
	return all.Wait()
}

// hasDisksHere: the VM has been deployed in a system datastore of the group, and no verb is
// at its disks.
func (s *State) hasDisksHere(vm opennebula.VM) bool {
	last := vm.Last()
	if last == nil || !Settled(vm) {
		return false
	}
	_, here := s.Bases[last.DatastoreID]
	return here
}

// expect keeps a VM, and which of its disks must have a volume.
func (s *State) expect(vm opennebula.VM) {
	s.VMs[vm.ID] = vm
	if s.hasDisksHere(vm) { // else it has changed meanwhile
		s.Disks[vm.ID] = s.Expected(&vm)
	}
}

// Expected are the disks of a VM that must have a volume, by their ids.
func (s *State) Expected(vm *opennebula.VM) (disks []int) {
	for _, disk := range vm.Disks {
		if slices.ContainsFunc(s.Shared, func(dir string) bool { return strings.HasPrefix(disk.Source, path.Clean(dir)+"/") }) {
			continue // it is a link to a file
		}
		if disk.Volatile() || disk.TMMAD == "" || disk.TMMAD == vm.Last().TMMAD {
			disks = append(disks, disk.ID)
		}
	}
	return disks
}
