//go:build embedded

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"one-clvm/cxmrc"
	"one-clvm/recovery"
	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

func TestMain(m *testing.M) { testbed.Main(m.Run, testbed.Plain, testbed.VMM) }

// noDrivers: nothing that oned calls here has a driver to do.
type noDrivers struct{}

func (noDrivers) Migrate(int, string, string) error { return nil }
func (noDrivers) Deploy(int, string) error          { return nil }

// Four VMs that oned waits for: the facts come from real agents over a real ssh, and from
// virsh's text.
func TestRecover(t *testing.T) {
	m, err := testbed.Start(t.Context(), testbed.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, m.Stop()) })
	m.Oned.Live(noDrivers{})
	disk := []fakeoned.Disk{fakeoned.VolatileDisk(0, "", 4)}
	for id, vm := range map[int]fakeoned.VM{
		41: {LCMState: 3}, 42: {LCMState: 16}, 43: {LCMState: 1, Disks: disk}, 44: {LCMState: 2, Disks: disk}, 45: {LCMState: 26},
	} {
		vm.ID, vm.Name, vm.Host = id, "vm", "node1"
		m.Oned.Put(fakeoned.VMs, id, vm.Document())
	}
	require.NoError(t, unix.Mount("tmpfs", "/usr/local/sbin", "tmpfs", 0, "mode=755")) // seen by this test alone
	t.Cleanup(func() { assert.NoError(t, unix.Unmount("/usr/local/sbin", 0)) })
	text, err := os.ReadFile(testbed.VMM.Path())
	require.NoError(t, err)
	for path, content := range map[string]string{installed: string(text), "/usr/local/sbin/virsh": "#!/bin/sh\necho one-41\necho one-42\necho one-45\n",
		"/usr/libexec/one-clvm/one-migrate-hook": "#!/bin/sh\necho '{\"nodes\":[\"node1\"],\"truths\":null}'\n"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o755))
	}
	require.NoError(t, os.WriteFile(cxmrc.HookPath, []byte("VERSION=7.4.0\n"), 0o644))
	rule, err := os.ReadFile("../../sudoers.d/one-clvm-hook")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile("/etc/sudoers.d/one-clvm-hook", rule, 0o440))
	t.Cleanup(func() { assert.NoError(t, os.Remove("/etc/sudoers.d/one-clvm-hook")) })

	recoverNow := func(words ...string) map[int]recovered {
		r, err := m.RunAsOneadmin(t.Context(), append([]string{installed, "recover", "--json"}, words...)...)
		require.NoError(t, err)
		require.Equal(t, 1, r.Status, r.Stderr)
		var list []recovered
		require.NoError(t, json.Unmarshal([]byte(r.Stdout), &list), r.Stderr)
		all := map[int]recovered{}
		for _, one := range list {
			all[one.VM] = one
		}
		return all
	}
	seen := recoverNow("--dry-run")
	require.Equal(t, recovery.Person, seen[42].Do.Action, "nobody was asked whether a cluster has it")
	require.NoError(t, os.WriteFile(cxmrc.HookPath, []byte("VERSION=7.4.0\nNODES=node1\n"), 0o644))
	seen = recoverNow("--dry-run")
	require.Empty(t, m.Oned.Changes())
	require.Len(t, seen, 4)
	assert.Equal(t, []any{recovery.Success, "would", "node1"}, []any{seen[42].Do.Action, seen[42].Is, seen[42].Facts.Truth.On})
	assert.Equal(t, []any{recovery.Retry, recovery.Gone}, []any{seen[43].Do.Action, seen[43].Facts.Disks})
	assert.Equal(t, []any{recovery.Person, "left"}, []any{seen[44].Do.Action, seen[44].Is})

	done := recoverNow()
	assert.Equal(t, "done", done[42].Is)
	assert.Equal(t, "done", done[43].Is)
	assert.Equal(t, []any{recovery.Failure, "failed", true}, []any{done[45].Do.Action, done[45].Is, done[45].Error != ""}, "the stand-in has no way out of HOTPLUG_SAVEAS")
	_, state, lcm := m.Oned.At(42)
	assert.Equal(t, []int{3, 3}, []int{state, lcm})
	assert.NotContains(t, recoverNow("--dry-run"), 42)
}
