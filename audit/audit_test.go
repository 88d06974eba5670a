package audit

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/agent"
	"one-clvm/lvm"
	"one-clvm/opennebula"
)

// The world of the tests: VM 42 runs on node1, with disk 0.
const group = "vg-one"

func volume(name string, tags ...string) lvm.Volume {
	return lvm.Volume{Group: group, Name: name, Size: 8 << 20, Tags: lvm.NewTags(tags...), Path: "/dev/vg-one/" + name}
}

func disk(vm, number int, more ...string) lvm.Volume {
	return volume(lvm.DiskName(lvm.DefaultPrefix, vm, number).String(), append(lvm.DiskTags(vm, number, 101), more...)...)
}

func image(id int, more ...string) lvm.Volume {
	return volume(lvm.ImageName(lvm.DefaultPrefix, id).String(), append([]string{"one", lvm.KeyTag("image", id)}, more...)...)
}

func deleted(id string, more ...string) lvm.Volume {
	return volume("lv-onedel-"+id, append([]string{"one", "quarantine"}, more...)...)
}

func in(mode lvm.Mode, v lvm.Volume) lvm.Volume { v.Mode = mode; return v }
func open(v lvm.Volume) lvm.Volume              { v.Open = true; return v }

func snapshot(v lvm.Volume, number string) lvm.Volume {
	v.Origin, v.Name = v.Name, v.Name+"_s"+number
	v.Tags = v.Tags.With("snapshot=" + number)
	return v
}

// node is a machine with these volumes; the others of the group are known to it, too.
func node(name string, volumes ...lvm.Volume) Node {
	return Node{Names: []string{name}, Report: agent.Result{Volumes: volumes, Audit: &agent.Audit{Boot: name}}}
}

// off are volumes as a node sees them that has none of them.
func off(volumes []lvm.Volume) []lvm.Volume {
	var all []lvm.Volume
	for _, v := range volumes {
		v.Mode, v.Open = lvm.Off, false
		all = append(all, v)
	}
	return all
}

func vm(id int, state opennebula.State, lcm opennebula.LCMState) opennebula.VM {
	return opennebula.VM{ID: id, State: state, LCMState: lcm, History: []opennebula.History{{Hostname: "node1", DatastoreID: 101, TMMAD: "clvm"}}}
}

var active = vm(42, opennebula.StateActive, opennebula.LCMRunning)

// state is what is seen when node1 has these volumes, and node2 none of them.
func state(vm *opennebula.VM, volumes ...lvm.Volume) *State {
	s := &State{
		Group: group, Prefix: lvm.DefaultPrefix, Now: time.Unix(2_000_000_000, 0),
		Nodes:  []Node{node("node1", volumes...), node("node2", off(volumes)...)},
		VMs:    map[int]opennebula.VM{},
		Images: map[int]opennebula.Image{7: {ID: 7, State: opennebula.ImageReady}},
		Bases:  map[int]string{101: "/var/lib/one/datastores/101"},
	}
	if vm != nil {
		s.VMs[vm.ID] = *vm
	}
	for i := range s.Nodes { // the links of what is active are right
		for _, v := range s.Nodes[i].Report.Volumes {
			if number := v.Tags.Get("disk"); v.Mode != lvm.Off && v.Tags.Get("vm") == "42" && number != "" && v.Origin == "" {
				s.Nodes[i].Report.Audit.Homes = []agent.Home{{Path: "/var/lib/one/datastores/101/42", DS: 101, VM: 42, Links: map[string]string{"disk." + number: v.Path}}}
			}
		}
	}
	return s
}

// on2 makes node2 have a volume in a mode.
func (s *State) on2(v lvm.Volume) *State {
	for i, have := range s.Nodes[1].Report.Volumes {
		if have.Name == v.Name {
			s.Nodes[1].Report.Volumes[i] = v
		}
	}
	return s
}

// fixesAs spells fixes for a table.
func fixesAs(f Finding) []string {
	var all []string
	for _, fix := range f.Fixes {
		text := fix.Host + " " + string(fix.Request.Op)
		if fix.Request.Op == agent.OpActivate {
			text += " " + fix.Request.Activate.String()
		}
		if fix.Request.Volume != "" {
			text += " " + fix.Request.Volume
		}
		all = append(all, text)
	}
	return all
}

func TestVolumes(t *testing.T) {
	exclusive, shared := lvm.Exclusive, lvm.Shared
	using := func(image int) *opennebula.VM {
		vm := active
		vm.Disks = []opennebula.Disk{{ID: 0, ImageID: image}}
		return &vm
	}
	snapshots := active
	snapshots.Snapshots = map[int][]opennebula.Snapshot{0: {{ID: 1}}}
	inState := func(state opennebula.State, lcm opennebula.LCMState) *opennebula.VM {
		vm := vm(42, state, lcm)
		return &vm
	}
	stopped, powerOff, migrating := inState(opennebula.StateStopped, 0), inState(opennebula.StatePoweroff, 0), inState(opennebula.StateActive, opennebula.LCMMigrate)
	for name, c := range map[string]struct {
		state   *State
		kind    Kind   // "" where nothing is wrong
		repairs string // a part of it
		fixes   []string
	}{
		"a disk":                      {state(&active, in(exclusive, disk(42, 0))), "", "", nil},
		"a disk of a VM that is gone": {state(nil, disk(42, 0)), Orphan, "tm-clvm delete node1:/var/lib/one/datastores/101/42/disk.0 42 101", nil},
		"and it is in use":            {state(nil, open(in(exclusive, disk(42, 0)))), Orphan, "find out what uses it", nil},
		"its snapshot goes with it":   {state(nil, snapshot(disk(42, 0), "1")), "", "", nil},
		"VM 4 is not VM 42":           {state(&active, disk(4, 0)), Orphan, "/101/4/disk.0 4 101", nil},
		"an image that is gone":       {state(nil, image(8)), Orphan, "lvremove vg-one/lv-oneimg-8", nil},
		"being made":                  {state(inState(3, opennebula.LCMProlog), disk(42, 0, "building", "op=ab")), "", "", nil},
		"being attached":              {state(inState(3, 33), disk(42, 0, "building", "op=ab")), "", "", nil},
		"never completed":             {state(&active, in(exclusive, disk(42, 0, "building", "op=ab"))), Unfinished, "tm-clvm delete", []string{"node1 drop lv-one-42-0"}},
		"never completed, failed":     {state(inState(3, 39), disk(42, 0, "building", "op=ab")), Unfinished, "tm-clvm delete", []string{"node1 drop lv-one-42-0"}},
		"an image never completed":    {state(nil, image(7, "building", "op=ab")), Unfinished, "oneimage delete 7", nil},
		"half reverted":               {state(&active, in(exclusive, disk(42, 0, "reverting=3"))), Half, "onevm disk-snapshot-revert 42 0 3", nil},
		"half extended, off":          {state(powerOff, in(exclusive, disk(42, 0, "unzeroed=4194304"))), Half, "tm-clvm resize node1:", []string{"node1 extend"}},
		"half extended, running":      {state(&active, in(exclusive, disk(42, 0, "unzeroed=4194304"))), Half, "power the VM off", nil},
		"half extended, an image":     {state(nil, image(7, "unzeroed=4194304")), Half, "LN", nil},
		"half extended, lent":         {state(using(7), in(exclusive, image(7, "vm=42", "disk=0", "ds=101", "unzeroed=4194304"))), Half, "power the VM off", nil},
		"half restored":               {state(powerOff, in(exclusive, disk(42, 0, "replacement"))), Half, "restore", nil},
		"restored by half":            {state(&active, deleted("00112233aabb", "vm=42", "disk=0", "replacement")), Half, "restore the disk again", nil},
		"being restored":              {state(inState(3, 71), deleted("00112233aabb", "vm=42", "disk=0", "building")), "", "", nil},
		"half deleted":                {state(&active, disk(42, 0, "quarantine")), Half, "tm-clvm delete", nil},
		"deleted":                     {state(nil, deleted("00112233aabb", "vm=42")), Quarantine, "tm-clvm reap vg-one --node node1", []string{"node1 reap lv-onedel-00112233aabb"}},
		"deleted on node2":            {state(nil, deleted("00112233aabb", "wiper=node2")), Quarantine, "--node node2", []string{"node2 reap lv-onedel-00112233aabb"}},
		"deleted on a node not asked": {state(nil, deleted("00112233aabb", "wiper=node3")), Quarantine, "tm-clvm reap", nil},
		"could not be wiped":          {state(nil, deleted("00112233aabb", "wipe-failed")), Quarantine, "reap", nil},
		"free space":                  {state(nil, deleted("00112233aabb", "free-space", "wiper=node2")), Quarantine, "tm-clvm wipe-free vg-one --node node2", nil},
		"named like ours":             {state(&active, volume("lv-one-42-0")), Foreign, "lvrename vg-one lv-one-42-0", nil},
		"somebody else's":             {state(nil, volume("gfs2")), "", "", nil},
		"tagged as another VM's":      {state(&active, volume("lv-one-42-0", lvm.DiskTags(43, 0, 101)...)), Tags, "lvrename", nil},
		"tagged as another disk":      {state(&active, volume("lv-one-42-0", lvm.DiskTags(42, 1, 101)...)), Tags, "lvrename", nil},
		"tagged as another image":     {state(nil, volume("lv-oneimg-8", "one", "image=7")), Tags, "lvrename", nil},
		"an image":                    {state(nil, image(7)), "", "", nil},
		"an image left active":        {state(nil, in(exclusive, image(7))), Stale, "on node1: lvchange -an vg-one/lv-oneimg-7", nil},
		"an image that is read":       {state(nil, open(in(exclusive, image(7)))), "", "", nil},
		"an image in use":             {state(using(7), in(exclusive, image(7, "vm=42", "disk=0", "ds=101"))), "", "", nil},
		"lent to nobody":              {state(nil, image(7, "vm=42", "disk=0", "ds=101")), Lent, "gives it back", []string{"node1 unlink"}},
		"lent to another disk":        {state(using(9), in(exclusive, image(7, "vm=42", "disk=0", "ds=101"))), Lent, "gives it back", nil},
		"lent to nobody, in use":      {state(nil, open(in(exclusive, image(7, "vm=42", "disk=0", "ds=101")))), Lent, "find out", nil},
		"lent, and active elsewhere":  {state(using(7), image(7, "vm=42", "disk=0", "ds=101")).on2(in(exclusive, image(7, "vm=42", "disk=0", "ds=101"))), Stale, "on node2: lvchange -an", []string{"node2 activate off"}},
		"a snapshot":                  {state(&snapshots, snapshot(disk(42, 0), "1")), "", "", nil},
		"a snapshot oned has not":     {state(&snapshots, snapshot(disk(42, 0), "2")), Snapshot, "tm-clvm snap_delete node1:/var/lib/one/datastores/101/42/disk.0 2 42 101", nil},
		"a lost snapshot":             {state(&snapshots, func() lvm.Volume { v := snapshot(disk(42, 0), "1"); v.Invalid = true; return v }()), Snapshot, "onevm disk-snapshot-delete 42 0 1", nil},
		"a backup's":                  {state(&snapshots, snapshot(disk(42, 0, "backup"), "9")), Snapshot, "tm-clvm snap_delete node1:/var/lib/one/datastores/101/42/disk.0 9 42 101", []string{"node1 remove"}},
		"a save's":                    {state(&snapshots, snapshot(disk(42, 0, "saving"), "9")), Snapshot, "snap_delete", []string{"node1 remove"}},
		"shared in a migration":       {state(migrating, in(shared, disk(42, 0))).on2(in(shared, disk(42, 0))), "", "", nil},
		"shared outside of one":       {state(&active, in(shared, disk(42, 0))), Shared, "lvchange -aey vg-one/lv-one-42-0", []string{"node1 activate exclusive"}},
		"shared on both":              {state(&active, open(in(shared, disk(42, 0)))).on2(in(shared, disk(42, 0))), Stale, "on node2", []string{"node2 activate off", "node1 activate exclusive"}},
		"a window that is over":       {state(&active, in(exclusive, disk(42, 0, "migrating=node1:node2:1999999999"))), Window, "--deltag migrating=node1:node2:1999999999", []string{"node1 activate exclusive"}},
		"a window that is not":        {state(&active, in(exclusive, disk(42, 0, "migrating=node1:node2:2000000001"))), "", "", nil},
		"active on both":              {state(&active, open(in(exclusive, disk(42, 0)))).on2(in(exclusive, disk(42, 0))), Stale, "on node2", []string{"node2 activate off"}},
		"in use on both":              {state(&active, open(in(exclusive, disk(42, 0)))).on2(open(in(exclusive, disk(42, 0)))), Double, "virsh destroy one-42", nil},
		"in use on both, migrating":   {state(migrating, open(in(shared, disk(42, 0)))).on2(open(in(shared, disk(42, 0)))), "", "", nil},
		"in use on the other":         {state(&active, disk(42, 0)).on2(open(in(exclusive, disk(42, 0)))), Elsewhere, "on node2", nil},
		"active on the other":         {state(powerOff, disk(42, 0)).on2(in(exclusive, disk(42, 0))), Stale, "on node2", []string{"node2 activate off"}},
		"inactive":                    {state(&active, disk(42, 0)), Inactive, "lvchange -aey", []string{"node1 activate exclusive"}},
		"inactive, off":               {state(powerOff, disk(42, 0)), "", "", nil},
		"parked":                      {state(stopped, disk(42, 0, "parked")), "", "", nil},
		"parked, but active":          {state(stopped, disk(42, 0, "parked")).on2(in(exclusive, disk(42, 0, "parked"))), Parked, "lvchange", []string{"node2 park"}},
		"stopped, not parked":         {state(stopped, disk(42, 0)), Parked, "--addtag parked", []string{"node1 park"}},
		"stopped, in use":             {state(stopped, open(in(exclusive, disk(42, 0)))), Elsewhere, "on node1", nil},
		"parked, but running":         {state(&active, in(exclusive, disk(42, 0, "parked"))), Parked, "--deltag parked", []string{"node1 activate exclusive"}},
		"booting":                     {state(inState(3, 2), disk(42, 0)).on2(in(exclusive, disk(42, 0))), "", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			found := c.state.Findings()
			if c.kind == "" {
				assert.Empty(t, found)
				return
			}
			require.Len(t, found, 1)
			assert.Equal(t, c.kind, found[0].Kind)
			assert.Equal(t, group+"/"+c.state.Nodes[0].Report.Volumes[0].Name, found[0].Object)
			assert.Contains(t, found[0].Repair, c.repairs)
			assert.NotEmpty(t, found[0].Why)
			assert.Equal(t, c.fixes, fixesAs(found[0]))
		})
	}
}

func TestDisksAndLinks(t *testing.T) {
	second := disk(42, 0)
	second.Name = "lv-one-42-0x"
	s := state(&active, in(lvm.Exclusive, disk(42, 0)), second)
	found := s.Findings()
	require.Len(t, found, 1)
	assert.Equal(t, Duplicate, found[0].Kind)
	assert.Equal(t, "vg-one/lv-one-42-0x", found[0].Object)

	s = state(&active, in(lvm.Exclusive, disk(42, 0)))
	s.Disks = map[int][]int{42: {0, 1}}
	found = s.Findings()
	require.Len(t, found, 1)
	assert.Equal(t, Missing, found[0].Kind)
	assert.Equal(t, "VM 42 disk 1", found[0].Object)

	links := s.Nodes[0].Report.Audit.Homes[0].Links
	s.Disks = nil
	links["disk.0"] = "/dev/vg-one/lv-one-43-0"
	links["disk.9"] = "/dev/vg-one/lv-one-42-9"
	links["disk.8"] = "/somewhere/else"
	found = s.Findings()
	require.Len(t, found, 2)
	assert.Equal(t, Finding{Link, "node1:/var/lib/one/datastores/101/42/disk.0", "it leads to /dev/vg-one/lv-one-43-0 instead of /dev/vg-one/lv-one-42-0",
		"on node1: ln -sfn /dev/vg-one/lv-one-42-0 /var/lib/one/datastores/101/42/disk.0", found[0].Fixes}, found[0])
	assert.Equal(t, []string{"node1 activate exclusive"}, fixesAs(found[0]))
	assert.True(t, found[0].Fixes[0].Request.Link)
	assert.Equal(t, "/var/lib/one/datastores/101/42", found[0].Fixes[0].Request.Home)
	assert.Equal(t, Link, found[1].Kind)
	assert.Contains(t, found[1].Why, "lv-one-42-9, which does not exist")
	assert.Empty(t, found[1].Fixes)

	s.Nodes[0].Report.Audit.Homes = nil
	found = s.Findings()
	require.Len(t, found, 1)
	assert.Equal(t, "it is missing", found[0].Why)

	s.VMs[42] = vm(42, opennebula.StateStopped, 0)
	found = s.Findings()
	require.Len(t, found, 1, "it is to be off, and needs no link")
	assert.Equal(t, Parked, found[0].Kind)
}

func TestHomesWithoutAVM(t *testing.T) {
	s := state(&active)
	left := agent.Home{Path: "/var/lib/one/datastores/101/99", DS: 101, VM: 99, Links: map[string]string{"disk.0": "/dev/vg-one/lv-one-99-0"}, Files: []string{"deployment.0"}}
	other := agent.Home{Path: "/var/lib/one/datastores/7/99", DS: 7, VM: 99}
	for i := range s.Nodes { // a shared file system
		s.Nodes[i].Report.Audit.Homes = []agent.Home{left, other}
	}
	found := s.Findings()
	require.Len(t, found, 1, "once, and not those of other groups")
	assert.Equal(t, HomeLeft, found[0].Kind)
	assert.Contains(t, found[0].Why, "deployment.0")
	assert.Equal(t, "tm-clvm delete node1:/var/lib/one/datastores/101/99 99 101", found[0].Repair)
	s.Nodes[0].Report.Volumes = []lvm.Volume{disk(99, 0)}
	found = s.Findings()
	require.Len(t, found, 1)
	assert.Equal(t, Orphan, found[0].Kind)
}

func TestSpools(t *testing.T) {
	s := state(nil)
	assert.Empty(t, s.Findings())
	spool := &agent.Spool{Dir: "/var/spool/one-clvm", Waiting: 2, Oldest: s.Now.Add(-spoolPatience)}
	s.Nodes[1].Report.Audit.Spool = spool
	assert.Empty(t, s.Findings(), "it is being tried")
	spool.Oldest = s.Now.Add(-3 * time.Hour)
	assert.Equal(t, []Finding{{Spooled, "node2:/var/spool/one-clvm", "2 events wait, the first of them for 3h0m0s: oned may have VMs where they are not",
		"on node2: one-migrate-hook status, which says why; then one-migrate-hook deliver", nil}}, s.Findings())
	spool.Waiting, spool.Unreadable = 0, []string{"/var/spool/one-clvm/x.rejected"}
	found := s.Findings()
	require.Len(t, found, 1)
	assert.Contains(t, found[0].Why, "no events")
	assert.Equal(t, "on node2: look at them, then: one-migrate-hook reconcile on the front-end, and rm /var/spool/one-clvm/x.rejected", found[0].Repair)
}

func TestMachines(t *testing.T) {
	runs := func(s *State, on ...int) *State {
		for i := range s.Nodes {
			s.Nodes[i].Report.Audit.Domains = []agent.Domain{}
		}
		for _, i := range on {
			s.Nodes[i-1].Report.Audit.Domains = append(s.Nodes[i-1].Report.Audit.Domains, agent.Domain{VM: 42})
		}
		return s
	}
	owned := func(s *State, services ...agent.Service) *State {
		s.Nodes[1].Report.Audit.Services = append([]agent.Service{}, services...)
		return s
	}
	off := vm(42, opennebula.StatePoweroff, 0)
	migrating := vm(42, opennebula.StateActive, opennebula.LCMMigrate)
	for name, c := range map[string]struct {
		state *State
		kind  Kind
		why   string
	}{
		"nobody tells":                {state(&active), "", ""},
		"where oned has it":           {runs(state(&active), 1), "", ""},
		"on the other node":           {runs(state(&active), 2), Machine, "runs on node2, and oned has it on node1"},
		"on both":                     {runs(state(&active), 1, 2), Machine, "two machines"},
		"on both, migrating":          {runs(state(&migrating), 1, 2), "", ""},
		"nowhere":                     {runs(state(&active)), Machine, "runs nowhere"},
		"off":                         {runs(state(&off)), "", ""},
		"off, but running":            {runs(state(&off), 1), Machine, "for oned it is POWEROFF"},
		"oned does not have it":       {runs(state(nil), 1), Machine, "oned does not have it"},
		"the cluster has it":          {owned(runs(state(&active), 1), agent.Service{VM: 42, Node: "node1", Started: true}), "", ""},
		"the cluster has it not":      {owned(runs(state(&active), 1)), Unowned, "no service"},
		"the cluster has it stopped":  {owned(runs(state(&active), 1), agent.Service{VM: 42}), Unowned, "not started"},
		"the cluster has it on node2": {owned(runs(state(&active), 1), agent.Service{VM: 42, Node: "node2", Started: true}), Unowned, "on node2"},
	} {
		found := c.state.Findings()
		if c.kind == "" {
			assert.Empty(t, found, name)
			continue
		}
		if assert.Len(t, found, 1, name) {
			assert.Equal(t, c.kind, found[0].Kind, name)
			assert.Equal(t, "VM 42", found[0].Object)
			assert.Contains(t, found[0].Why, c.why, name)
			assert.Empty(t, found[0].Fixes, "nothing is done to machines")
		}
	}
}
