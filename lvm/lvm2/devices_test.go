package lvm2_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/lvm/lvm2"
	"one-clvm/lvm/lvm2/lvmfake"
)

// TestGuestsGroupsStayInvisible: a guest made a group inside its disk, once with the
// name of the node's own. The node sees, activates and changes its own all the same.
func TestGuestsGroupsStayInvisible(t *testing.T) {
	for _, c := range []struct{ name, version, filter string }{
		{"2.03", "2.03.16(2) (2022-05-18)", ""},
		{"2.02 with scan_lvs", "2.02.187(2) (2020-03-24)", ""},
		{"2.02 without a filter", "2.02.158(2) (2016-06-25)", ""},
		{"2.02 that accepts all", "2.02.168(2) (2016-11-30)", `["r|^/dev/cdrom|", "a|.*|"]`},
		{"2.02 that names its devices", "2.02.168(2) (2016-11-30)", `["a|^/dev/mapper/mpath|","r|.*|"]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			cluster := newCluster(lvmfake.LockNone)
			cluster.hostA.SetVersion(c.version)
			cluster.hostA.SetScanLVs(true)
			cluster.hostA.SetFilter(c.filter)
			cluster.create(t)
			for _, guest := range []string{vg, "vg-guest"} {
				cluster.store.MakeGuestGroup(vg, disk, lvmfake.GroupSpec{Name: guest, Extents: 5})
				volumes, err := cluster.a.Volumes(t.Context())
				require.NoError(t, err)
				require.Len(t, volumes, 1)
				assert.Equal(t, disk, volumes[0].Name)
				_, err = lvm2.New("vg-guest", cluster.hostA, lvm2.Options{Others: []string{vg}}).Volumes(t.Context())
				require.ErrorIs(t, err, lvm.ErrNoGroup)
			}
			_, err := cluster.a.Activate(t.Context(), disk, lvm.Exclusive)
			require.NoError(t, err)
		})
	}
}

// TestOldFilterUnreadable: without knowing the filter nothing is run.
func TestOldFilterUnreadable(t *testing.T) {
	c := newCluster(lvmfake.LockNone)
	c.hostA.SetVersion("2.02.158(2) (2016-06-25)")
	c.hostA.Inject(lvmfake.Fault{Program: "lvmconfig", Status: 3, Stderr: "  Parse error at byte 7\n", Calls: -1})
	_, err := c.a.Volumes(t.Context())
	require.ErrorContains(t, err, "the filter in lvm.conf")
	assert.Equal(t, []string{"lvm version", "lvmconfig devices/filter"}, c.hostA.Calls())
}
