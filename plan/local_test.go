package plan

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/agent"
	"one-clvm/cxmrc"
	"one-clvm/lvm"
	"one-clvm/opennebula"
)

// standalone are nodes with disks of their own, whose groups have no lock manager, and the
// front-end that asks them.
type standalone struct {
	*testing.T
	*Driver
	Records // none but Hosts is asked

	mutex sync.Mutex
	asked []string
	hosts []opennebula.Host
	disks map[string][]lvm.PhysicalVolume
	dead  map[string]bool
}

func (s *standalone) Hosts(context.Context) ([]opennebula.Host, error) { return s.hosts, nil }

func (s *standalone) Do(_ context.Context, host string, q agent.Request, _ agent.Transfer) (agent.Result, error) {
	s.mutex.Lock()
	s.asked = append(s.asked, host+" "+string(q.Op))
	s.mutex.Unlock()
	switch {
	case s.dead[host]:
		return agent.Result{}, fmt.Errorf("%w: %s", agent.ErrUnreachable, host)
	case q.Op == agent.OpDisks:
		return agent.Result{Disks: s.disks[host]}, nil
	case q.SingleWriter:
		return agent.Result{}, nil
	case q.Op == agent.OpMonitor:
		return agent.Result{Info: &lvm.GroupInfo{LockManager: lvm.NoLockManager}}, nil
	}
	for _, disk := range s.disks[host] {
		if disk.Group == q.Group && !strings.Contains(strings.Join(q.Local, " "), disk.UUID) {
			return agent.Result{}, lvm.ErrUnlocked
		}
	}
	return agent.Result{}, nil
}

func newStandalone(t *testing.T, settings ...string) *standalone {
	text := "LOCK_DIR=" + t.TempDir() + "\nSTATE_DIR=" + t.TempDir() + "\n" + strings.Join(settings, "\n")
	cfg, err := cxmrc.Parse(strings.NewReader(text), "cxmrc", cxmrc.Driver)
	require.NoError(t, err)
	s := &standalone{
		T: t, dead: map[string]bool{}, hosts: []opennebula.Host{{ID: 0, Name: "node1", State: 2}, {ID: 1, Name: "node2", State: 2}},
		disks: map[string][]lvm.PhysicalVolume{
			"node1": {{UUID: "disk-1", Path: "/dev/sdb", Group: "vg-one"}},
			"node2": {{UUID: "disk-2", Path: "/dev/sdb", Group: "vg-one"}},
		},
	}
	var out bytes.Buffer
	s.Driver = &Driver{Config: cfg, Records: s, Agents: s, Report: opennebula.NewReporter(&out, opennebula.Version{}), Stdout: &out, Stderr: &out}
	return s
}

// create has the agent of a node make a disk.
func (s *standalone) create(host string) error {
	q := agent.Request{Op: agent.OpCreate, Group: "vg-one", VM: 0, Disk: 3, Patience: s.Config.Int("LOCK_TIMEOUT"), SingleWriter: s.Config.Bool("SINGLE_WRITER")}
	return s.Carry(s.Context(), []Step{{What: "make disk 3", Host: host, Request: q}})
}

// TestLocalDisksAreProved once, then a verb costs one connection again.
func TestLocalDisksAreProved(t *testing.T) {
	s := newStandalone(t)
	require.NoError(t, s.create("node1"))
	assert.ElementsMatch(t, []string{"node1 create", "node1 disks", "node2 disks", "node1 create"}, s.asked)
	for _, host := range []string{"node1", "node2"} {
		s.asked = nil
		require.NoError(t, s.create(host))
		assert.Len(t, s.asked, 1, "the proof of all nodes is kept")
	}
}

func TestLocalDisksAreProvedAgain(t *testing.T) {
	for what, change := range map[string]func(*standalone){
		"expired": func(s *standalone) {
			rewrite(s, func(known *localDisks) { known.Until = time.Now().Add(-time.Second) })
		},
		"a new host":     func(s *standalone) { s.hosts = append(s.hosts, opennebula.Host{ID: 2, Name: "node3", State: 2}) },
		"unreadable":     func(s *standalone) { require.NoError(s, os.WriteFile(s.localFile("node1"), []byte("{"), 0o600)) },
		"another host's": func(s *standalone) { rewrite(s, func(known *localDisks) { known.Host = "node7" }) },
	} {
		s := newStandalone(t)
		require.NoError(t, s.create("node1"))
		change(s)
		s.asked = nil
		require.NoError(t, s.create("node1"), what)
		assert.Greater(t, len(s.asked), 3, what)
	}
}

func rewrite(s *standalone, change func(*localDisks)) {
	known := localDisks{Host: "node1", Disks: []string{"disk-1"}, Asked: []string{"node1", "node2"}, Until: time.Now().Add(time.Hour)}
	change(&known)
	file := s.localFile("node1")
	require.NoError(s, s.keepLocal(known))
	if known.Host != "node1" {
		require.NoError(s, os.Rename(s.localFile(known.Host), file))
	}
}

func TestSharedDisksAreRefused(t *testing.T) {
	s := newStandalone(t)
	require.NoError(t, s.create("node1"))
	s.disks["node2"] = append(s.disks["node2"], lvm.PhysicalVolume{UUID: "disk-1", Path: "/dev/sdc", Group: "vg-one"})
	err := s.create("node2")
	require.ErrorIs(t, err, lvm.ErrUnlocked)
	require.ErrorContains(t, err, "/dev/sdc of vg-one is also seen by node1")
	err = s.create("node1")
	require.ErrorContains(t, err, "is also seen by node2", "the older proof went with it")
}

// TestSilentNodeProvesNothing: it may be alive and see the disk.
func TestSilentNodeProvesNothing(t *testing.T) {
	s := newStandalone(t)
	s.dead["node2"] = true
	s.hosts[1].State = opennebula.HostError
	err := s.create("node1")
	require.ErrorIs(t, err, lvm.ErrUnlocked)
	require.ErrorIs(t, err, agent.ErrUnreachable)
	require.ErrorContains(t, err, "node2")
	require.ErrorContains(t, err, "onehost offline")
	s.hosts[1].State = opennebula.HostOffline
	require.NoError(t, s.create("node1"), "out of service, says the administrator")
	s.hosts[1].State = 2
	require.Error(t, s.create("node1"), "in service again: it must answer")
}

// TestProofBeforeAPayloadThatComesOnce: a refusal in its middle would leave the rest of it
// to the second request.
func TestProofBeforeAPayloadThatComesOnce(t *testing.T) {
	s := newStandalone(t)
	q := agent.Request{Op: agent.OpCreate, Group: "vg-one"}
	payload := strings.NewReader("it comes once")
	var sent []string
	err := s.Step(t.Context(), Step{Host: "node1", Request: q, Once: true, Transfer: func(context.Context) (agent.Transfer, error) {
		all, err := io.ReadAll(payload)
		sent = append(sent, string(all))
		return agent.Transfer{}, err
	}})
	require.NoError(t, err)
	assert.Equal(t, []string{"it comes once"}, sent)
	assert.Equal(t, "node1 create", s.asked[len(s.asked)-1])
	s.dead["node2"] = true
	require.NoError(t, s.create("node1"), "the proof is kept")
}

// TestSingleWriterTakesTurns: one verb at a time changes a group.
func TestSingleWriterTakesTurns(t *testing.T) {
	s := newStandalone(t, "SINGLE_WRITER=True", "LOCK_TIMEOUT=1")
	require.NoError(t, s.create("node1"))
	assert.Equal(t, []string{"node1 create"}, s.asked, "nobody else is asked")
	q := agent.Request{Op: agent.OpSave, Group: "vg-one", VM: 7, Patience: 1}
	release, err := s.takeTurn(t.Context(), q)
	require.NoError(t, err)
	err = s.create("node1")
	require.ErrorIs(t, err, agent.ErrBusy)
	require.ErrorContains(t, err, "(save, VM 7) since ")
	assert.Len(t, s.asked, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.takeTurn(ctx, q)
	require.ErrorIs(t, err, context.Canceled)
	other := q
	other.Group = "vg-two"
	releaseOther, err := s.takeTurn(t.Context(), other)
	require.NoError(t, err, "another group has a turn of its own")
	image := q
	image.SingleWriter, image.Group, image.Image = true, "vg-disks", &agent.Image{Group: "vg-one", ID: 7}
	_, err = s.TakeTurns(t.Context(), image)
	require.ErrorIs(t, err, agent.ErrBusy, "its image's group is another's turn")
	releaseOther()
	release()
	release, err = s.TakeTurns(t.Context(), image)
	require.NoError(t, err, "what it had taken was given back")
	require.ErrorIs(t, s.create("node1"), agent.ErrBusy)
	release()
	require.NoError(t, s.create("node1"))
	left, err := os.ReadFile(filepath.Join(s.Config.String("LOCK_DIR"), "vg-vg-one.lock"))
	require.NoError(t, err)
	assert.Empty(t, left)
}
