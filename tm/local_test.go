package tm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/agent"
	"one-clvm/cxmrc"
	"one-clvm/lvm"
	"one-clvm/opennebula"
)

// standalone are nodes with disks of their own, whose groups have no lock manager.
type standalone struct {
	*nodes
	disks map[string][]lvm.PhysicalVolume
	dead  map[string]bool
}

func (s *standalone) Do(ctx context.Context, host string, q agent.Request, _ agent.Transfer) (agent.Result, error) {
	_, err := s.nodes.Do(ctx, host, q, agent.Transfer{})
	switch {
	case err != nil || s.dead[host]:
		return agent.Result{}, errors.Join(err, &agent.RemoteError{Host: host, Text: "down"}, agent.ErrUnreachable)
	case q.Op == agent.OpDisks:
		return agent.Result{Disks: s.disks[host]}, nil
	case q.SingleWriter:
		return agent.Result{}, nil
	}
	for _, disk := range s.disks[host] {
		if disk.Group == q.Group && !strings.Contains(strings.Join(q.Local, " "), disk.UUID) {
			return agent.Result{}, lvm.ErrUnlocked
		}
	}
	return agent.Result{}, nil
}

func newStandalone(t *testing.T, settings ...string) (*bench, *standalone) {
	b := newBench(t)
	text := "LOCK_DIR=" + t.TempDir() + "\nSTATE_DIR=" + t.TempDir() + "\n" + strings.Join(settings, "\n")
	var err error
	b.Config, err = cxmrc.Parse(strings.NewReader(text), "cxmrc", cxmrc.Driver)
	require.NoError(t, err)
	s := &standalone{nodes: b.nodes, dead: map[string]bool{}, disks: map[string][]lvm.PhysicalVolume{
		"node1": {{UUID: "disk-1", Path: "/dev/sdb", Group: "vg-one"}},
		"node2": {{UUID: "disk-2", Path: "/dev/sdb", Group: "vg-one"}},
	}}
	b.Agents = s
	return b, s
}

const makeSwap = "mkswap 256 node1:" + home + "/disk.3 0 101"

// TestLocalDisksAreProved once, then a verb costs one connection again.
func TestLocalDisksAreProved(t *testing.T) {
	b, s := newStandalone(t)
	require.NoError(t, b.call(makeSwap))
	assert.ElementsMatch(t, []string{"node1 create disk 3", "node1 disks disk 0", "node2 disks disk 0", "node1 create disk 3"}, s.asked)
	for _, line := range []string{makeSwap, "mkswap 256 node2:" + home + "/disk.3 0 101"} {
		s.asked = nil
		require.NoError(t, b.call(line))
		assert.Len(t, s.asked, 1, "the proof of all nodes is kept")
	}
}

func TestLocalDisksAreProvedAgain(t *testing.T) {
	for what, change := range map[string]func(*bench){
		"expired":        func(b *bench) { rewrite(b, func(known *localDisks) { known.Until = time.Now().Add(-time.Second) }) },
		"a new host":     func(b *bench) { b.oned.hosts = append(b.oned.hosts, opennebula.Host{ID: 2, Name: "node3", State: 2}) },
		"unreadable":     func(b *bench) { require.NoError(b, os.WriteFile(b.localFile("node1"), []byte("{"), 0o600)) },
		"another host's": func(b *bench) { rewrite(b, func(known *localDisks) { known.Host = "node7" }) },
	} {
		b, s := newStandalone(t)
		require.NoError(t, b.call(makeSwap))
		change(b)
		s.asked = nil
		require.NoError(t, b.call(makeSwap), what)
		assert.Greater(t, len(s.asked), 3, what)
	}
}

func rewrite(b *bench, change func(*localDisks)) {
	known := localDisks{Host: "node1", Disks: []string{"disk-1"}, Asked: []string{"node1", "node2"}, Until: time.Now().Add(time.Hour)}
	change(&known)
	file := b.localFile("node1")
	require.NoError(b, b.keepLocal(known))
	if known.Host != "node1" {
		require.NoError(b, os.Rename(b.localFile(known.Host), file))
	}
}

func TestSharedDisksAreRefused(t *testing.T) {
	b, s := newStandalone(t)
	require.NoError(t, b.call(makeSwap))
	s.disks["node2"] = append(s.disks["node2"], lvm.PhysicalVolume{UUID: "disk-1", Path: "/dev/sdc", Group: "vg-one"})
	err := b.call("mkswap 256 node2:" + home + "/disk.3 0 101")
	require.ErrorIs(t, err, lvm.ErrUnlocked)
	require.ErrorContains(t, err, "/dev/sdc of vg-one is also seen by node1")
	err = b.call(makeSwap)
	require.ErrorContains(t, err, "is also seen by node2", "the older proof went with it")
}

// TestSilentNodeProvesNothing: it may be alive and see the disk.
func TestSilentNodeProvesNothing(t *testing.T) {
	b, s := newStandalone(t)
	s.dead["node2"] = true
	b.oned.hosts[1].State = opennebula.HostError
	err := b.call(makeSwap)
	require.ErrorIs(t, err, lvm.ErrUnlocked)
	require.ErrorIs(t, err, agent.ErrUnreachable)
	require.ErrorContains(t, err, "node2")
	require.ErrorContains(t, err, "onehost offline")
	b.oned.hosts[1].State = opennebula.HostOffline
	require.NoError(t, b.call(makeSwap), "out of service, says the administrator")
	b.oned.err = nil
	b.oned.hosts[1].State = 2
	require.Error(t, b.call(makeSwap), "in service again: it must answer")
}

// TestSingleWriterTakesTurns: one verb at a time changes a group.
func TestSingleWriterTakesTurns(t *testing.T) {
	b, s := newStandalone(t, "SINGLE_WRITER=True", "LOCK_TIMEOUT=1")
	require.NoError(t, b.call(makeSwap))
	assert.Equal(t, []string{"node1 create disk 3"}, s.asked, "nobody else is asked")
	q := agent.Request{Op: agent.OpSave, Group: "vg-one", VM: 7, Patience: 1}
	release, err := b.takeTurn(t.Context(), q)
	require.NoError(t, err)
	err = b.call(makeSwap)
	require.ErrorIs(t, err, agent.ErrBusy)
	require.ErrorContains(t, err, "(save, VM 7) since ")
	assert.Len(t, s.asked, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = b.takeTurn(ctx, q)
	require.ErrorIs(t, err, context.Canceled)
	other := q
	other.Group = "vg-two"
	releaseOther, err := b.takeTurn(t.Context(), other)
	require.NoError(t, err, "another group has a turn of its own")
	releaseOther()
	release()
	require.NoError(t, b.call(makeSwap))
	left, err := os.ReadFile(filepath.Join(b.Config.String("LOCK_DIR"), "vg-vg-one.lock"))
	require.NoError(t, err)
	assert.Empty(t, left)
}
