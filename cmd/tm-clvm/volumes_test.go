package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/agent"
	"one-clvm/audit"
	"one-clvm/internal/command"
	"one-clvm/lvm"
)

// seenByTwo are volumes as two nodes see them.
func seenByTwo() *audit.State {
	volume := func(mode lvm.Mode, open bool, name string, tags ...string) lvm.Volume {
		return lvm.Volume{Group: "vg-one", Name: name, Size: 8 << 30, Tags: lvm.NewTags(tags...), Mode: mode, Open: open, Created: time.Unix(1, 0)}
	}
	report := func(mode lvm.Mode, open bool) agent.Result {
		return agent.Result{Info: &lvm.GroupInfo{Name: "vg-one", Size: 64 << 30, Free: 8 << 30}, Volumes: []lvm.Volume{
			volume(mode, open, "lv-one-42-0", lvm.DiskTags(42, 0, 101)...),
			volume(lvm.Off, false, "lv-one-43-0", lvm.DiskTags(43, 0, 101).With("parked")...),
			volume(lvm.Off, false, "lv-onedel-00112233", "one", "quarantine", "wipe-failed"),
			volume(lvm.Off, false, "lv-one-9-0"),
			volume(lvm.Off, false, "gfs2"),
		}}
	}
	return &audit.State{Prefix: lvm.DefaultPrefix, Nodes: []audit.Node{
		{Names: []string{"node1"}, Report: report(lvm.Off, false)}, {Names: []string{"node2"}, Report: report(lvm.Exclusive, true)},
	}}
}

func TestTableOfVolumes(t *testing.T) {
	rows := merge(seenByTwo())
	var out bytes.Buffer
	require.NoError(t, printVolumes(rows, command.Stdio{Out: &out}))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 6)
	assert.Equal(t, []string{"VG", "VOLUME", "VM", "DISK", "SIZE", "STATE", "USED", "HOLDER", "TAGS"}, strings.Fields(lines[0]))
	assert.Equal(t, "vg-one lv-one-42-0 42 0 8.0 GiB exclusive yes node2 disk=0,ds=101,one,vm=42", strings.Join(strings.Fields(lines[1]), " "))
	assert.Equal(t, "vg-one lv-one-43-0 43 0 8.0 GiB parked no - disk=0,ds=101,one,parked,vm=43", strings.Join(strings.Fields(lines[2]), " "))
	assert.Contains(t, lines[3], " wipe-failed ")
	assert.Contains(t, lines[4], " foreign ")
	assert.Contains(t, lines[5], " other ")
	assert.NotContains(t, out.String(), "\x1b", "no terminal")
}

func TestVolumesThatTakeAPerson(t *testing.T) {
	assert.Equal(t, 2, findings(merge(seenByTwo())), "a foreign one, and one that could not be wiped")
	assert.Zero(t, findings(nil))
}

func TestSortings(t *testing.T) {
	rows := merge(seenByTwo())
	slices.SortStableFunc(rows, sortings["holder"])
	assert.Equal(t, []string{"node2"}, rows[len(rows)-1].Holders)
	slices.SortStableFunc(rows, sortings["vm"])
	assert.Equal(t, "lv-one-43-0", rows[len(rows)-1].Name)
}

func TestStatesOfVolumes(t *testing.T) {
	for want, v := range map[string]lvm.Volume{
		"building":   {Name: "lv-one-1-0", Tags: lvm.NewTags("one", "building")},
		"quarantine": {Name: "lv-onedel-00112233", Tags: lvm.NewTags("one", "quarantine", "building")},
		"snapshot":   {Name: "lv-one-1-0_s1", Tags: lvm.NewTags("one", "snapshot=1"), Origin: "lv-one-1-0"},
		"lost":       {Name: "lv-one-1-0_s1", Tags: lvm.NewTags("one", "snapshot=1"), Origin: "lv-one-1-0", Invalid: true},
		"migrating":  {Name: "lv-one-1-0", Tags: lvm.NewTags("one", "migrating=a:b:1"), Mode: lvm.Shared},
		"shared":     {Name: "lv-one-1-0", Tags: lvm.NewTags("one"), Mode: lvm.Shared},
		"off":        {Name: "lv-one-1-0", Tags: lvm.NewTags("one")},
	} {
		assert.Equal(t, want, stateOf(v, lvm.DefaultPrefix))
	}
}

func TestMetrics(t *testing.T) {
	s := seenByTwo()
	var out bytes.Buffer
	require.NoError(t, metrics(&out, []lvm.GroupInfo{*s.Nodes[0].Report.Info}, merge(s)))
	for _, line := range []string{
		`one_clvm_group_free_bytes{vg="vg-one"} 8589934592`, `one_clvm_volumes{vg="vg-one",state="parked"} 1`,
		`one_clvm_volume_size_bytes{vg="vg-one",volume="lv-one-42-0",vm="42",disk="0",state="exclusive"} 8589934592`,
	} {
		assert.Contains(t, out.String(), line+"\n")
	}
	for line := range strings.Lines(out.String()) {
		assert.Regexp(t, `^(# (HELP|TYPE) one_clvm_[a-z_]+ .+|one_clvm_[a-z_]+\{([a-z]+="[^"]*",?)+\} [0-9]+)\n$`, line)
	}
}

func TestMetricsReplaceTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "one.prom")
	require.NoError(t, os.WriteFile(file, []byte("old"), 0o600))
	require.NoError(t, writeMetrics(file, nil, merge(seenByTwo())))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Contains(t, string(text), "one_clvm_volumes")
	st, err := os.Stat(file)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o644), st.Mode(), "node_exporter reads it")
	entries, err := os.ReadDir(filepath.Dir(file))
	require.NoError(t, err)
	assert.Len(t, entries, 1)
	require.ErrorContains(t, writeMetrics(filepath.Join(t.TempDir(), "one.txt"), nil, nil), ".prom")
}

func TestVolumesThatCannotBeListed(t *testing.T) {
	status, _, _ := tmClvm("volumes", "--sort", "colour")
	assert.Equal(t, 2, status)
}
