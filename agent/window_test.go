package agent

import (
	"context"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/lvm/lvm2"
	"one-clvm/lvm/lvm2/lvmfake"
)

// pair is two nodes with agents on one SAN, and a VM's disk on the first.
type pair struct {
	store *lvmfake.Store
	hosts [2]*lvmfake.Host
	group [2]*lvm2.Group
	nodes [2]*node
}

func newPair(t *testing.T, lockType string) *pair {
	p := &pair{store: lvmfake.NewStore(lvmfake.GroupSpec{Name: "vg-one", LockType: lockType, Extents: 100})}
	for i, name := range []string{"node1", "node2"} {
		p.hosts[i] = p.store.Host(name)
		p.group[i] = lvm2.New("vg-one", p.hosts[i], lvm2.Options{})
		p.group[i].Permit(func(context.Context, []lvm.PhysicalVolume) error { return nil })
		p.nodes[i] = newNode(t)
		p.nodes[i].server.OpenGroup = func(string) (lvm.Group, error) { return p.group[i], nil }
		p.nodes[i].server.Own = func(string, int, int, os.FileMode) error { return nil } // the double has no devices
	}
	_, err := p.group[0].Create(t.Context(), lvm.CreateRequest{Name: "lv-one-42-0", Size: extent, Tags: lvm.DiskTags(42, 0, 101)})
	require.NoError(t, err)
	return p
}

// set is one step of the migration from node1 to node2, on one of them.
func (p *pair) set(node int, mode lvm.Mode) error {
	q := p.nodes[node].request(OpActivate)
	q.Disk, q.Activate = AllDisks, mode
	if mode == lvm.Shared {
		q.Window = &Window{"node1", "node2", 60}
	}
	_, err := p.nodes[node].do(q, Transfer{})
	return err
}

func (p *pair) disk(t *testing.T, node int) lvm.Volume {
	t.Helper()
	v, err := p.group[node].Volume(t.Context(), "lv-one-42-0")
	require.NoError(t, err)
	return v
}

// want checks the modes on both nodes, and whether the window is recorded.
func (p *pair) want(t *testing.T, source, target lvm.Mode, recorded bool) {
	t.Helper()
	assert.Equal(t, [2]lvm.Mode{source, target}, [2]lvm.Mode{p.disk(t, 0).Mode, p.disk(t, 1).Mode})
	assert.Len(t, windowTags(p.disk(t, 0)), map[bool]int{true: 1}[recorded])
}

// TestMigrationWindow: each step twice, as a verb that is run again does it.
func TestMigrationWindow(t *testing.T) {
	for _, lockType := range []string{lvmfake.LockDLM, lvmfake.LockSanlock} {
		p := newPair(t, lockType)
		step := func(node int, mode lvm.Mode) {
			t.Helper()
			require.NoError(t, p.set(node, mode))
			require.NoError(t, p.set(node, mode))
		}
		release := p.hosts[0].Open("vg-one", "lv-one-42-0")
		step(0, lvm.Shared)
		p.want(t, lvm.Shared, lvm.Off, true)
		step(1, lvm.Shared)
		p.want(t, lvm.Shared, lvm.Shared, true)
		r, ok := windowOf(p.disk(t, 1))
		require.True(t, ok)
		assert.Equal(t, []string{"node1", "node2"}, []string{r.source, r.target})
		assert.WithinRange(t, r.until, time.Now().Add(30*time.Second), time.Now().Add(time.Minute))
		require.ErrorIs(t, p.set(0, lvm.Off), lvm.ErrInUse, "the VM is still there")
		release()
		step(0, lvm.Off)
		p.want(t, lvm.Off, lvm.Shared, true)
		step(1, lvm.Exclusive)
		p.want(t, lvm.Off, lvm.Exclusive, false)
	}
}

// TestMigrationOutlivesItsSource: with the source dead, the target gets the volume once
// the source is fenced, and not before.
func TestMigrationOutlivesItsSource(t *testing.T) {
	p := newPair(t, lvmfake.LockDLM)
	require.NoError(t, p.set(0, lvm.Shared))
	require.NoError(t, p.set(1, lvm.Shared))
	require.ErrorIs(t, p.set(1, lvm.Exclusive), lvm.ErrLocked)
	p.want(t, lvm.Shared, lvm.Shared, true)
	p.hosts[0].Crash()
	require.NoError(t, p.set(1, lvm.Exclusive))
	p.want(t, lvm.Off, lvm.Exclusive, false)
}

func TestSharedNeedsAWindow(t *testing.T) {
	p := newPair(t, lvmfake.LockDLM)
	for _, w := range []*Window{
		nil, {"node1", "node2", 0}, {"node1", "node2", maxWindow + 1}, {"", "node2", 60}, {"node1", "a:b", 60}, {"-x", "node2", 60},
	} {
		q := p.nodes[0].request(OpActivate)
		q.Activate, q.Window = lvm.Shared, w
		_, err := p.nodes[0].do(q, Transfer{})
		require.ErrorContains(t, err, "window", w)
	}
	assert.Equal(t, lvm.Exclusive, p.disk(t, 0).Mode)
}

// TestOverdueWindow: whatever a migration left behind, each node brings its own end to
// where it belongs, and never takes a volume from a VM.
func TestOverdueWindow(t *testing.T) {
	const over, running = "migrating=node1:node2:1700000000", "migrating=node1:node2:99999999999"
	for _, c := range []struct {
		name, lockType, tag string
		modes               [2]lvm.Mode
		open                [2]bool
		verbs               []int // on which nodes, in this order
		want                [2]lvm.Mode
		recorded            bool
	}{
		{"VM arrived, its source first", lvmfake.LockDLM, over, [2]lvm.Mode{2, 2}, [2]bool{false, true}, []int{0, 1}, [2]lvm.Mode{0, 1}, false},
		{"VM arrived, its target first", lvmfake.LockDLM, over, [2]lvm.Mode{2, 2}, [2]bool{false, true}, []int{1, 0}, [2]lvm.Mode{0, 2}, true},
		{"VM stayed, its target first", lvmfake.LockDLM, over, [2]lvm.Mode{2, 2}, [2]bool{true, false}, []int{1, 0}, [2]lvm.Mode{1, 0}, false},
		{"VM stayed, alone", lvmfake.LockSanlock, over, [2]lvm.Mode{2, 0}, [2]bool{true, false}, []int{1, 0}, [2]lvm.Mode{1, 0}, false},
		{"only tagged", lvmfake.LockDLM, over, [2]lvm.Mode{1, 0}, [2]bool{true, false}, []int{0}, [2]lvm.Mode{1, 0}, false},
		{"still migrating", lvmfake.LockDLM, over, [2]lvm.Mode{2, 2}, [2]bool{true, true}, []int{0, 1}, [2]lvm.Mode{2, 2}, true},
		{"not over", lvmfake.LockDLM, running, [2]lvm.Mode{2, 2}, [2]bool{false, false}, []int{0, 1}, [2]lvm.Mode{2, 2}, true},
		{"unreadable", lvmfake.LockDLM, "migrating=x", [2]lvm.Mode{2, 2}, [2]bool{true, false}, []int{1, 0}, [2]lvm.Mode{1, 0}, false},
		{"off everywhere", lvmfake.LockDLM, over, [2]lvm.Mode{0, 0}, [2]bool{}, []int{0, 1}, [2]lvm.Mode{0, 0}, true},
		{"no lock manager", lvmfake.LockNone, over, [2]lvm.Mode{1, 1}, [2]bool{false, true}, []int{1, 0}, [2]lvm.Mode{0, 1}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, c.lockType)
			for i, mode := range c.modes {
				for _, mode := range []lvm.Mode{lvm.Off, mode} {
					_, err := p.group[i].Activate(t.Context(), "lv-one-42-0", mode)
					require.NoError(t, err)
				}
				if c.open[i] {
					p.hosts[i].Open("vg-one", "lv-one-42-0")
				}
			}
			p.store.SetTags("vg-one", "lv-one-42-0", append(lvm.DiskTags(42, 0, 101), c.tag)...)
			for _, i := range c.verbs {
				s := &session{Server: p.nodes[i].server, frames: &frameWriter{w: io.Discard}, req: p.nodes[i].request(OpPark)}
				disks, err := s.disks(t.Context(), p.group[i])
				require.NoError(t, err)
				assert.Equal(t, []lvm.Volume{p.disk(t, i)}, disks, "the verb goes on with what is there now")
			}
			p.want(t, c.want[0], c.want[1], c.recorded)
		})
	}
}

func FuzzWindowOf(f *testing.F) {
	f.Add("node1:node2:1732180000")
	f.Add("::")
	f.Fuzz(func(t *testing.T, value string) {
		r, ok := windowOf(lvm.Volume{Tags: lvm.Tags{lvm.TagMigrating + "=" + value}})
		if assert.Equal(t, value != "", ok); !ok {
			return
		}
		_ = r.String()
		written := fmt.Sprintf("%s=%s:%s:%d", lvm.TagMigrating, r.source, r.target, r.until.Unix())
		again, _ := windowOf(lvm.Volume{Tags: lvm.Tags{written}})
		assert.Equal(t, r, again)
	})
}
