package main

import (
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"

	"one-clvm/lvm"
)

// writeMetrics replaces a file by the metrics, in one step for whoever reads it meanwhile.
func writeMetrics(path string, groups []lvm.GroupInfo, rows []row) error {
	if !strings.HasSuffix(path, ".prom") {
		return fmt.Errorf("%s: node_exporter reads files whose name ends in .prom", path)
	}
	temporary, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o644), renameio.WithTempDir(filepath.Dir(path)))
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	defer func() { _ = temporary.Cleanup() }() // does nothing once it is in place
	if err := metrics(temporary, groups, rows); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	return temporary.CloseAtomicallyReplace()
}

// metrics writes them in Prometheus' text format.
func metrics(w io.Writer, groups []lvm.GroupInfo, rows []row) error {
	var text strings.Builder
	family := func(name, help string) {
		fmt.Fprintf(&text, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name)
	}
	family("one_clvm_group_size_bytes", "Size of the volume group.")
	for _, g := range groups {
		fmt.Fprintf(&text, "one_clvm_group_size_bytes{vg=%q} %d\n", g.Name, g.Size)
	}
	family("one_clvm_group_free_bytes", "Free space of the volume group.")
	for _, g := range groups {
		fmt.Fprintf(&text, "one_clvm_group_free_bytes{vg=%q} %d\n", g.Name, g.Free)
	}
	type key struct{ group, state string }
	counts, sizes := map[key]int{}, map[key]int64{}
	for _, r := range rows {
		k := key{r.Group, r.State}
		counts[k]++
		sizes[k] += r.Size
	}
	keys := slices.SortedFunc(maps.Keys(counts), func(a, b key) int { return strings.Compare(a.group+" "+a.state, b.group+" "+b.state) })
	family("one_clvm_volumes", "Volumes in a state.")
	for _, k := range keys {
		fmt.Fprintf(&text, "one_clvm_volumes{vg=%q,state=%q} %d\n", k.group, k.state, counts[k])
	}
	family("one_clvm_volumes_size_bytes", "Size of the volumes in a state.")
	for _, k := range keys {
		fmt.Fprintf(&text, "one_clvm_volumes_size_bytes{vg=%q,state=%q} %d\n", k.group, k.state, sizes[k])
	}
	family("one_clvm_volume_size_bytes", "Size of a volume.")
	for _, r := range rows {
		fmt.Fprintf(&text, "one_clvm_volume_size_bytes{vg=%q,volume=%q,vm=%q,disk=%q,state=%q} %d\n", r.Group, r.Name, r.Tags.Get(lvm.TagVM), r.Tags.Get(lvm.TagDisk), r.State, r.Size)
	}
	_, err := io.WriteString(w, text.String())
	return err
}
