package lvm2_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/lvm/lvm2"
	"one-clvm/lvm/lvm2/lvmfake"
)

// udev opens a device for a moment when its writer has closed it: that is waited for.
func TestOpenForAMoment(t *testing.T) {
	for what, change := range map[string]func(*lvm2.Group, context.Context) error{
		"remove":     func(g *lvm2.Group, ctx context.Context) error { return g.Remove(ctx, disk) },
		"deactivate": func(g *lvm2.Group, ctx context.Context) error { _, err := g.Activate(ctx, disk, lvm.Off); return err },
	} {
		t.Run(what, func(t *testing.T) {
			c := newCluster(lvmfake.LockDLM)
			c.create(t)
			release, looks := c.hostA.Open(vg, disk), 0
			g := lvm2.New(vg, c.hostA, lvm2.Options{Sleep: func(context.Context, time.Duration) error {
				if looks++; looks == 2 {
					release()
				}
				return nil
			}})
			require.NoError(t, change(g, t.Context()))
			assert.Equal(t, 2, looks)
		})
		t.Run(what+" of a volume that stays open", func(t *testing.T) {
			c := newCluster(lvmfake.LockDLM)
			c.create(t)
			defer c.hostA.Open(vg, disk)()
			require.ErrorIs(t, change(c.a, t.Context()), lvm.ErrInUse)
			assert.Equal(t, []time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond}, c.pauses.all)
		})
	}
}

// The same of a snapshot, whose device goes with that of its origin.
func TestSnapshotOpenForAMoment(t *testing.T) {
	c := newCluster(lvmfake.LockDLM)
	c.create(t)
	_, err := c.a.Snapshot(t.Context(), lvm.SnapshotRequest{Name: disk + "_s0", Origin: disk, Space: 4 << 20})
	require.NoError(t, err)
	release := c.hostA.Open(vg, disk+"_s0")
	_, err = c.a.Activate(t.Context(), disk, lvm.Off)
	require.ErrorIs(t, err, lvm.ErrInUse)
	require.ErrorContains(t, err, "its snapshot "+disk+"_s0")
	g := lvm2.New(vg, c.hostA, lvm2.Options{Sleep: func(context.Context, time.Duration) error { release(); return nil }})
	_, err = g.Activate(t.Context(), disk, lvm.Off)
	require.NoError(t, err)
}
