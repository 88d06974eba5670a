package fakeoned

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/opennebula"
)

// A document is read alike in whichever release's words it is, but for what that release has
// no words for.
func TestAgedDocumentsSayTheSame(t *testing.T) {
	image := Image{ID: 7, Name: "os", Source: "lv-oneimg-7", SizeMiB: 64}
	vm := VM{ID: 42, Name: "vm", Host: "node1", Disks: []Disk{CloneDisk(0, image, 0), VolatileDisk(2, "ext4", 32), SwapDisk(3, 8)}}.Document()
	for _, c := range []struct {
		release opennebula.Version
		size    int64 // of the image's disk
		ds      int
	}{
		{opennebula.Version{Major: 3, Minor: 6, Patch: 3}, 0, opennebula.None}, {opennebula.Version{Major: 3, Minor: 8, Patch: 5}, 0, SystemDS},
		{opennebula.Version{Major: 4, Minor: 14, Patch: 2}, 64, SystemDS}, {opennebula.Version{Major: 5, Minor: 12, Patch: 12}, 64, SystemDS},
		{opennebula.Version{Major: 6, Minor: 4, Patch: 7}, 64, SystemDS}, {opennebula.Version{Major: 7, Minor: 4}, 64, SystemDS},
	} {
		t.Run(c.release.String(), func(t *testing.T) {
			document := Aged(vm, c.release)
			got, err := opennebula.ParseVM(strings.NewReader(document))
			require.NoError(t, err)
			assert.Equal(t, []any{"rhcs", "clvm", c.ds}, []any{got.Last().VMMAD, got.Last().TMMAD, got.Last().DatastoreID})
			assert.Equal(t, []any{c.size, "ext4", true}, []any{got.Disks[0].Size, got.Disks[1].FS, got.Disks[2].Swap()})
			old := !c.release.AtLeast(6, 0, 0)
			assert.Equal(t, old, strings.Contains(document, "<FORMAT><![CDATA[ext4]]>"))
			action := Aged(DriverAction(7, map[string]string{"FORMAT": "save_as"}, SystemDatastore(nil)), c.release)
			assert.Equal(t, old, strings.Contains(action, "<FSTYPE>save_as"), action)
			read, err := opennebula.ParseDriverAction(strings.NewReader(action))
			require.NoError(t, err)
			assert.True(t, read.Image.SaveAs())
			assert.True(t, read.Datastore.IsSystem() || c.release.Minor == 6 && c.release.Major == 3)
		})
	}
}
