package opennebula

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseVMOfARealOned(t *testing.T) {
	vm, err := ParseVM(reader(t, "vm/vm0-after-deploy.xml"))
	require.NoError(t, err)
	assert.Equal(t, 0, vm.ID)
	assert.Equal(t, "web", vm.Name)
	assert.Equal(t, "oneadmin", vm.UserName)
	assert.Equal(t, "one-0", vm.DeployID)
	assert.Equal(t, StateActive, vm.State)
	assert.Equal(t, LCMRunning, vm.LCMState)
	assert.Equal(t, 4, vm.ContextDisk)
	assert.Equal(t, "128", vm.Attributes["MEMORY"])
	require.Len(t, vm.Disks, 4)
	assert.Equal(t, &History{Seq: 0, Hostname: "node1", HostID: 0, ClusterID: 0, DatastoreID: 101, VMMAD: "rhcs", TMMAD: "clvm", Since: time.Unix(1795237987, 0)},
		vm.Last())
}

func TestDisksOfARealOned(t *testing.T) {
	vm, err := ParseVM(reader(t, "vm/vm0-after-deploy.xml"))
	require.NoError(t, err)

	clone, err := vm.Disk(0)
	require.NoError(t, err)
	assert.Equal(t, "2048", clone.Attrs["SIZE"])
	clone.Attrs = nil
	assert.Equal(t, &Disk{
		ID: 0, ImageID: 0, Source: "lv-oneimg-0", Size: 2048, OriginalSize: 1024, Type: "BLOCK", Format: "raw",
		Driver: "raw", DatastoreID: 100, TMMAD: "clvm", Clone: true, Target: "vda",
	}, clone)
	assert.False(t, clone.Volatile())

	persistent, err := vm.Disk(1)
	require.NoError(t, err)
	assert.True(t, persistent.Persistent && persistent.Save && !persistent.Clone)

	volatile, err := vm.Disk(2)
	require.NoError(t, err)
	assert.True(t, volatile.Volatile())
	assert.Equal(t, "ext4", volatile.FS)
	assert.False(t, volatile.Swap())

	swap, err := vm.Disk(3)
	require.NoError(t, err)
	assert.True(t, swap.Swap())
	assert.Empty(t, swap.FS)

	_, err = vm.Disk(9)
	assert.EqualError(t, err, "VM 0 has no disk 9")
}

func TestLastHistoryRecord(t *testing.T) {
	vm, err := ParseVM(reader(t, "vm/vm0-after-migrate-cold.xml"))
	require.NoError(t, err)
	assert.Greater(t, len(vm.History), 3)
	assert.Equal(t, "node2", vm.Last().Hostname)

	moving, err := ParseVM(reader(t, "calls/run1-0034-tm-clvm-premigrate.stdin.xml"))
	require.NoError(t, err)
	assert.Len(t, moving.History, 1, "driver messages carry the last record only")
	assert.Equal(t, "node2", moving.Last().Hostname, "which is where the migration goes")
	assert.Equal(t, LCMMigrate, moving.LCMState)

	live, err := ParseVM(reader(t, "vm/vm0-after-migrate-live.xml"))
	require.NoError(t, err)
	assert.Equal(t, int64(1795237993), live.Last().Since.Unix(), "it ran there a second after oned had it there")
	assert.Nil(t, (&VM{}).Last())
	_, err = ParseVM(strings.NewReader(`<VM><ID>1</ID><HISTORY_RECORDS><HISTORY><SEQ>0</SEQ><STIME>noon</STIME></HISTORY></HISTORY_RECORDS></VM>`))
	require.ErrorIs(t, err, ErrDocument)
	unordered := VM{History: []History{{Seq: 3, Hostname: "c"}, {Seq: 1, Hostname: "a"}}}
	assert.Equal(t, "c", unordered.Last().Hostname)
}

func TestSnapshotsOfARealOned(t *testing.T) {
	vm, err := ParseVM(reader(t, "vm/vm1-after-snap-revert.xml"))
	require.NoError(t, err)
	assert.Equal(t, map[int][]Snapshot{0: {
		{ID: 1, Name: "s2", Parent: None, Size: 2048, Active: true},
		{ID: 2, Name: "s3", Parent: None, Size: 2048},
	}}, vm.Snapshots)
}

func TestParseVMOfOldVersions(t *testing.T) {
	vm, err := ParseVM(strings.NewReader(`<VM><ID>42</ID><UNAME>anna</UNAME><NAME>db</NAME><STATE>3</STATE>
		<LCM_STATE>3</LCM_STATE><TEMPLATE>
		<DISK><DISK_ID>0</DISK_ID><IMAGE_ID>7</IMAGE_ID><CLONE>NO</CLONE><SAVE>YES</SAVE><TYPE>file</TYPE></DISK>
		<DISK><DISK_ID>1</DISK_ID><TYPE>fs</TYPE><FORMAT>ext3</FORMAT><SIZE>100</SIZE></DISK>
		<DISK><DISK_ID>2</DISK_ID><TYPE>fs</TYPE><FORMAT>raw</FORMAT><FSTYPE>xfs</FSTYPE><SIZE>100</SIZE></DISK>
		<DISK><DISK_ID>3</DISK_ID><FORMAT>swap</FORMAT><SIZE>100</SIZE></DISK>
		<NIC><IP>1.2.3.4</IP></NIC></TEMPLATE><HISTORY_RECORDS><HISTORY><SEQ>0</SEQ><HOSTNAME>xen1</HOSTNAME>
		<HID>2</HID><VMMMAD>vmm_cxm</VMMMAD><TMMAD>cxm</TMMAD></HISTORY></HISTORY_RECORDS></VM>`))
	require.NoError(t, err)
	assert.True(t, vm.Disks[0].Persistent, "SAVE without CLONE is what PERSISTENT says later")
	assert.Zero(t, vm.Disks[0].Size)
	assert.Equal(t, "ext3", vm.Disks[1].FS)
	assert.Equal(t, "xfs", vm.Disks[2].FS)
	assert.True(t, vm.Disks[3].Swap())
	assert.Equal(t, None, vm.Disks[1].ImageID)
	assert.Equal(t, None, vm.ContextDisk)
	assert.Equal(t, &History{Hostname: "xen1", HostID: 2, ClusterID: None, DatastoreID: None, VMMAD: "vmm_cxm", TMMAD: "cxm"},
		vm.Last())
}

func TestParseVMRefuses(t *testing.T) {
	disk := func(inner string) string {
		return "<VM><ID>42</ID><TEMPLATE><DISK>" + inner + "</DISK></TEMPLATE></VM>"
	}
	for name, test := range map[string]struct{ document, message string }{
		"nothing":             {"", "has no element"},
		"text":                {"VM 42 not found", "has no element"},
		"another object":      {"<IMAGE/>", `its root is "IMAGE"`},
		"an unclosed element": {"<VM><ID>42</ID>", "VM: bad OpenNebula document"},
		"too deep":            {strings.Repeat("<VM>", 100) + strings.Repeat("</VM>", 100), "depth"},
		"no id":               {"<VM/>", "ID is missing"},
		"a negative id":       {"<VM><ID>-1</ID></VM>", `"-1" is not an id`},
		"a huge id":           {"<VM><ID>4294967296</ID></VM>", "is not an id"},
		"state":               {"<VM><ID>42</ID><STATE>on</STATE></VM>", `VM 42: bad OpenNebula document: STATE "on" is not a number`},
		"disk without id":     {disk(""), "VM 42 DISK: bad OpenNebula document: DISK_ID is missing"},
		"disk's size":         {disk("<DISK_ID>1</DISK_ID><SIZE>8G</SIZE>"), `VM 42 DISK 1: bad OpenNebula document: SIZE "8G" is not a size`},
		"negative size":       {disk("<DISK_ID>1</DISK_ID><SIZE>-8</SIZE>"), "is not a size"},
		"size beyond int64":   {disk("<DISK_ID>1</DISK_ID><SIZE>8796093022208</SIZE>"), "is not a size"},
		"two disks, one id":   {disk("<DISK_ID>1</DISK_ID></DISK><DISK><DISK_ID>1</DISK_ID>"), "two disks have DISK_ID 1"},
		"context's disk":      {"<VM><ID>42</ID><TEMPLATE><CONTEXT><DISK_ID>x</DISK_ID></CONTEXT></TEMPLATE></VM>", "VM 42 CONTEXT"},
		"history": {"<VM><ID>42</ID><HISTORY_RECORDS><HISTORY/></HISTORY_RECORDS></VM>",
			"VM 42 HISTORY: bad OpenNebula document: SEQ is missing"},
		"snapshots": {"<VM><ID>42</ID><SNAPSHOTS/></VM>", "VM 42 SNAPSHOTS: bad OpenNebula document: DISK_ID is missing"},
		"snapshot": {"<VM><ID>42</ID><SNAPSHOTS><DISK_ID>3</DISK_ID><SNAPSHOT/></SNAPSHOTS></VM>",
			"VM 42 DISK 3 SNAPSHOT: bad OpenNebula document: ID is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseVM(strings.NewReader(test.document))
			require.ErrorIs(t, err, ErrDocument)
			assert.ErrorContains(t, err, test.message)
		})
	}
}

func TestParseVMPool(t *testing.T) {
	vms, err := ParseVMPool(strings.NewReader("<VM_POOL><VM><ID>3</ID></VM><VM><ID>5</ID></VM></VM_POOL>"))
	require.NoError(t, err)
	require.Len(t, vms, 2)
	assert.Equal(t, 5, vms[1].ID)

	empty, err := ParseVMPool(strings.NewReader("<VM_POOL/>"))
	require.NoError(t, err)
	assert.Empty(t, empty)

	for _, bad := range []string{"<VM/>", "<VM_POOL><VM/></VM_POOL>"} {
		_, err = ParseVMPool(strings.NewReader(bad))
		assert.ErrorIs(t, err, ErrDocument)
	}
}

func TestStateNames(t *testing.T) {
	assert.Equal(t, "UNDEPLOYED", StateUndeployed.String())
	assert.Equal(t, "CLONING_FAILURE", StateCloningFailure.String())
	assert.Equal(t, "99", State(99).String())
	for state, name := range map[LCMState]string{
		LCMUnknown: "UNKNOWN", LCMEpilogUndeploy: "EPILOG_UNDEPLOY", LCMPrologResumeFailure: "PROLOG_RESUME_FAILURE",
		LCMPrologMigrateUnknownFailure: "PROLOG_MIGRATE_UNKNOWN_FAILURE", 71: "RESTORE", 72: "72", None: "-1",
	} {
		assert.Equal(t, name, state.String())
	}
}

func FuzzParseVM(f *testing.F) {
	f.Add(fixture(f, "vm/vm0-after-deploy.xml"))
	f.Add(fixture(f, "vm/vm1-after-snap-revert.xml"))
	f.Add([]byte("<VM><ID>1</ID><TEMPLATE><DISK><DISK_ID>0</DISK_ID><SIZE>1</SIZE></DISK></TEMPLATE></VM>"))
	f.Fuzz(func(t *testing.T, document []byte) {
		vm, err := ParseVM(strings.NewReader(string(document)))
		if err != nil {
			require.ErrorIs(t, err, ErrDocument)
			return
		}
		require.GreaterOrEqual(t, vm.ID, 0)
		for _, disk := range vm.Disks {
			found, err := vm.Disk(disk.ID)
			require.NoError(t, err)
			require.GreaterOrEqual(t, found.Size<<20, int64(0), "fits in bytes")
		}
	})
}
