package lvm2

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
	"one-clvm/lvm"
)

// What LVM 2.03.16 prints on a node of the lab, with a guest's physical volume in sight.
var inspected = map[string]string{
	"lvm":       "  LVM version:     2.03.16(2) (2022-05-18)\n",
	"lvmconfig": "scan_lvs=1\nglobal_filter=[\"a|.*|\"]\nuse_lvmlockd=1\n",
	"vgs": `  {
      "report": [
          {
              "vg": [
                  {"vg_name":"vg-one", "vg_uuid":"g2TN41-ZL0Z-2pR2-O0cJ-Adb6-nB2O-BFpdBs", "vg_attr":"wz--ns", "vg_lock_type":"dlm", "vg_lock_args":"1.0.0:lab", "vg_size":"34355544064", "vg_free":"34355544064", "vg_mda_size":"1044480", "vg_mda_free":"520192", "vg_missing_pv_count":"0"},
                  {"vg_name":"vg-system", "vg_uuid":"a", "vg_attr":"wz--n-", "vg_lock_type":"", "vg_lock_args":"", "vg_size":"1", "vg_free":"1", "vg_mda_size":"1", "vg_mda_free":"1", "vg_missing_pv_count":"0"}
              ]
          }
      ]
  }
`,
	"pvs": `{"report": [{"pv": [
 {"pv_size":"34355544064", "pv_uuid":"t2sGDU-KOhX-0Uih-K4ht-QLIH-VNo7-T7Lt5R", "pv_name":"/dev/sda", "vg_name":"vg-one"},
 {"pv_size":"41943040", "pv_uuid":"7OkooC-U6vi-oWmE-Zdcj-BOgG-03NC-ROy2Ue", "pv_name":"/dev/vg-one/lv-one-5-0", "vg_name":""}]}]}`,
	"lvs": `{"report": [{"lv": [
 {"vg_name":"vg-one", "lv_name":"lv-one-5-0", "lv_uuid":"Orptf7-DyhJ-A24G-R4Bf-stgB-gckG-UlDUwG", "lv_size":"41943040", "lv_tags":"one,vm=5,disk=0", "origin":""},
 {"vg_name":"vg-system", "lv_name":"root", "lv_uuid":"x", "lv_size":"41943040", "lv_tags":"", "origin":""}]}]}`,
	"lvmlockctl": `VG vg_uuid= lock_type= 
LS  lvm_global
LK VG un ver 0
LK GL un ver 1

VG vg-one lock_type=dlm g2TN41-ZL0Z-2pR2-O0cJ-Adb6-nB2O-BFpdBs
LS dlm lvm_vg-one
LK VG un ver 3
LK LV sh Orptf7-DyhJ-A24G-R4Bf-stgB-gckG-UlDUwG
`,
}

type canned struct {
	answers map[string]string
	calls   []run.Cmd
	status  map[string]int
}

func (c *canned) Run(_ context.Context, cmd run.Cmd) (run.Result, error) {
	c.calls = append(c.calls, cmd)
	result := run.Result{Stdout: []byte(c.answers[cmd.Path]), Status: c.status[cmd.Path]}
	if result.Status != 0 {
		return result, &run.Error{Argv: []string{cmd.Path}, Status: result.Status, Stderr: "no"}
	}
	return result, nil
}

func TestInspect(t *testing.T) {
	r := &canned{answers: inspected, status: map[string]int{"lvmconfig": 5}} // one setting is not known
	i, err := Inspect(t.Context(), r, []string{"vg-one"})
	require.NoError(t, err)
	assert.Equal(t, "2.03.16", i.Version)
	assert.Equal(t, "1", i.Settings["scan_lvs"])
	assert.Equal(t, []GroupState{{Name: "vg-one", UUID: "g2TN41-ZL0Z-2pR2-O0cJ-Adb6-nB2O-BFpdBs", LockManager: "dlm", LockArgs: "1.0.0:lab",
		Size: 34355544064, Free: 34355544064, MetadataSize: 1044480, MetadataFree: 520192}}, i.Groups)
	require.Len(t, i.Physical, 2)
	assert.Equal(t, "/dev/vg-one/lv-one-5-0", i.Physical[1].Path)
	require.Len(t, i.Volumes, 1, "only those of allowed groups")
	assert.Equal(t, "/dev/vg-one/lv-one-5-0", i.Volumes[0].Path())
	assert.True(t, i.Volumes[0].Tags.Has("one", "vm=5"))
	assert.Equal(t, []string{"vg-one"}, i.Lockspaces, "the global one is not a group's")
	assert.Equal(t, map[string]lvm.Mode{"Orptf7-DyhJ-A24G-R4Bf-stgB-gckG-UlDUwG": lvm.Shared}, i.Locks)
	for _, c := range r.calls {
		words := strings.Join(c.Args, " ")
		assert.False(t, c.Writer, "%s only reads", c.Path)
		switch c.Path {
		case "vgs", "lvs":
			assert.Contains(t, words, "scan_lvs=0", "guests' disks are not looked into")
			assert.Contains(t, words, "--readonly", "no lock is waited for")
		case "pvs":
			assert.NotContains(t, words, "--config", "as the node itself sees it")
			assert.Contains(t, words, "--readonly")
		}
	}
}

// A dead lock manager is told, not an error; what else fails is one.
func TestInspectHalfDead(t *testing.T) {
	r := &canned{answers: inspected, status: map[string]int{"lvmlockctl": 1}}
	i, err := Inspect(t.Context(), r, []string{"vg-one"})
	require.NoError(t, err)
	assert.Nil(t, i.Lockspaces)
	r.status = map[string]int{"lvs": 5}
	i, err = Inspect(t.Context(), r, []string{"vg-one"})
	require.ErrorContains(t, err, "lvs")
	assert.NotEmpty(t, i.Groups, "the rest is there")
	_, err = Inspect(t.Context(), r, nil)
	require.ErrorIs(t, err, lvm.ErrNoGroup)
}
