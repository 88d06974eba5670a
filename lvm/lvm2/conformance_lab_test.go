//go:build lab

package lvm2_test

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
	"one-clvm/lab/labtest"
	"one-clvm/lab/profile"
	"one-clvm/lvm"
	"one-clvm/lvm/lvm2"
	"one-clvm/lvm/lvmtest"
)

// TestConformanceOfRealLVM runs the suite on the real LVM2 of a node, under every lock
// manager; in short, under dlm. On the node it is the suite itself.
func TestConformanceOfRealLVM(t *testing.T) {
	if p, ok := labtest.OnNode(); ok {
		group := allowed(lvm2.New(vg, run.Exec{}, lvm2.Options{}))
		lvmtest.Run(t, func(t *testing.T) lvmtest.Fixture { return realLVM(t, p, group) })
		return
	}
	t.Parallel()
	profiles := profile.All()
	if testing.Short() { // the one in which most can go wrong
		profiles = []profile.Profile{profile.Cluster}
	}
	for _, p := range profiles {
		if p.Pacemaker {
			continue // its LVM is that of profile cluster
		}
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			c := labtest.Start(t, p)
			c.RunTests(t, c.Nodes[0], "./lvm/lvm2", "-test.run", "^TestConformanceOfRealLVM$")
		})
	}
}

// realLVM is the node's volume group, emptied.
func realLVM(t *testing.T, p profile.Profile, group lvm.Group) lvmtest.Fixture {
	t.Helper()
	t.Cleanup(func() {
		// Whatever the test left. The group stays: making one takes long under sanlock.
		_, err := run.Exec{}.Run(context.Background(), run.Cmd{Path: "lvremove", Args: []string{"-y", "-qq", vg}})
		require.NoError(t, err)
	})
	return lvmtest.Fixture{
		Group:   group,
		Devices: true,
		Dirty:   true,
		Alone:   p.LockManager == profile.LockNone,
		Hold:    hold,
		Break:   breakPath,
	}
}

// hold opens the device, as a VM does.
func hold(t *testing.T, v lvm.Volume) (release func()) {
	t.Helper()
	device, err := os.Open(v.Path)
	require.NoError(t, err)
	return func() { require.NoError(t, device.Close()) }
}

// breakPath takes the SAN away from the node: all requests fail.
func breakPath(t *testing.T) (repair func()) {
	t.Helper()
	set := func(state string) {
		require.NoError(t, os.WriteFile("/sys/block/sda/device/state", []byte(state+"\n"), 0))
	}
	set("offline")
	return func() { set("running") }
}
