package tm

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/agent"
	"one-clvm/lvm"
	"one-clvm/opennebula"
)

func TestFindings(t *testing.T) {
	volume := func(name string, tags ...string) lvm.Volume {
		return lvm.Volume{Group: "vg-one", Name: name, Size: 8 << 20, Tags: lvm.NewTags(tags...)}
	}
	disk := func(vm, number int, more ...string) lvm.Volume {
		return volume(lvm.DiskName(lvm.DefaultPrefix, vm, number).String(), append(lvm.DiskTags(vm, number, 101), more...)...)
	}
	shared := func(v lvm.Volume) lvm.Volume { v.Mode = lvm.Shared; return v }
	snapshot := func(v lvm.Volume, of string) lvm.Volume { v.Origin = of; return v }
	vm := func(id int, state opennebula.State, lcm opennebula.LCMState) map[int]opennebula.VM {
		return map[int]opennebula.VM{id: {ID: id, State: state, LCMState: lcm}}
	}
	running := vm(42, opennebula.StateActive, opennebula.LCMRunning)
	for name, c := range map[string]struct {
		volume  lvm.Volume
		vms     map[int]opennebula.VM
		kind    string // "" where nothing is wrong
		repairs string
	}{
		"a disk":                      {disk(42, 0), running, "", ""},
		"a disk of a VM that is gone": {disk(42, 0), nil, FoundOrphan, "tm-clvm delete node1:/var/lib/one/datastores/101/42/disk.0 42 101"},
		"its snapshot goes with it":   {snapshot(disk(42, 0, "snapshot=1"), "lv-one-42-0"), nil, "", ""},
		"VM 4 is not VM 42":           {disk(4, 0), running, FoundOrphan, "/101/4/disk.0 4 101"},
		"being made":                  {disk(42, 0, "building", "op=ab"), vm(42, opennebula.StateActive, opennebula.LCMProlog), "", ""},
		"being attached":              {disk(42, 0, "building", "op=ab"), vm(42, opennebula.StateActive, 33), "", ""},
		"never completed":             {disk(42, 0, "building", "op=ab"), running, FoundUnfinished, "tm-clvm delete"},
		"never completed, failed":     {disk(42, 0, "building", "op=ab"), vm(42, opennebula.StateActive, 39), FoundUnfinished, "tm-clvm delete"},
		"deleted":                     {volume("lv-onedel-00112233aabb", "one", "quarantine", "vm=42", "disk=0"), nil, FoundQuarantine, "tm-clvm reap vg-one --node node1"},
		"being wiped":                 {volume("lv-onedel-ffffffffffff", "one", "quarantine"), nil, "", ""},
		"could not be wiped":          {volume("lv-onedel-00112233aabb", "one", "quarantine", "wipe-failed"), nil, FoundQuarantine, "reap"},
		"free space":                  {volume("lv-onedel-00112233aabb", "one", "quarantine", "free-space", "wiper=node2"), nil, FoundQuarantine, "tm-clvm wipe-free vg-one"},
		"named like ours":             {volume("lv-one-42-0"), running, FoundForeign, "lvrename vg-one lv-one-42-0"},
		"somebody else's":             {volume("gfs2"), nil, "", ""},
		"an image":                    {volume("lv-oneimg-7", "one", "image=7"), nil, "", ""},
		"an image lent to a dead VM":  {volume("lv-oneimg-7", "one", "image=7", "vm=42", "disk=0"), nil, "", ""},
		"shared in a migration":       {shared(disk(42, 0)), vm(42, opennebula.StateActive, opennebula.LCMMigrate), "", ""},
		"shared outside of one":       {shared(disk(42, 0)), running, FoundShared, "lvchange -aey vg-one/lv-one-42-0"},
		"parked":                      {disk(42, 0, "parked"), vm(42, opennebula.StateStopped, 0), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := AuditState{Node: "node1", Group: "vg-one", Prefix: lvm.DefaultPrefix, VMs: c.vms,
				Report: agent.Result{Volumes: []lvm.Volume{c.volume}, Wiping: []string{"lv-onedel-ffffffffffff"}}}
			found := s.Findings()
			if c.kind == "" {
				assert.Empty(t, found)
				return
			}
			require.Len(t, found, 1)
			assert.Equal(t, c.kind, found[0].Kind)
			assert.Equal(t, "vg-one/"+c.volume.Name, found[0].Object)
			assert.Contains(t, found[0].Repair, c.repairs)
			assert.NotEmpty(t, found[0].Why)
		})
	}
}

func TestFindingsOfLinksAndMissingDisks(t *testing.T) {
	s := AuditState{Node: "node1", Group: "vg-one", Prefix: lvm.DefaultPrefix,
		VMs:     map[int]opennebula.VM{42: {ID: 42, State: opennebula.StateActive, LCMState: opennebula.LCMRunning}},
		DisksOf: map[int][]int{42: {0, 1}},
		Report: agent.Result{
			Volumes: []lvm.Volume{{Name: "lv-one-42-0", Tags: lvm.DiskTags(42, 0, 101)}},
			Links: []agent.Link{
				{Volume: "lv-one-42-0", Path: "/ds/101/42/disk.0", Target: "/dev/vg-one/lv-one-42-0", Want: "/dev/vg-one/lv-one-42-0"},
				{Volume: "lv-one-42-2", Path: "/ds/101/42/disk.2", Target: "/etc/passwd", Want: "/dev/vg-one/lv-one-42-2"},
				{Volume: "lv-one-42-3", Path: "/ds/101/42/disk.3", Want: "/dev/vg-one/lv-one-42-3"},
			},
		}}
	found := s.Findings()
	require.Len(t, found, 3)
	assert.Equal(t, Finding{FoundLink, "node1:/ds/101/42/disk.2", "it leads to /etc/passwd instead of /dev/vg-one/lv-one-42-2", "on node1: ln -sfn /dev/vg-one/lv-one-42-2 /ds/101/42/disk.2"}, found[0])
	assert.Equal(t, "it is missing", found[1].Why)
	assert.Equal(t, FoundMissing, found[2].Kind)
	assert.Equal(t, "VM 42 disk 1", found[2].Object)
}
