//go:build embedded

package embedded

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

// longClone starts the CLONE of an image that takes a while, and waits until its volume
// is there and the confined child is at work.
func (s *site) longClone() (*testbed.Process, lvm.Volume) {
	s.Helper()
	image := s.tarImage(7, "8G", nil)
	header := tarOf(s.T, file("zeros", ""))[:512]
	long := longHeader(header, 6<<30)
	require.NoError(s, os.WriteFile(image.Source, long, 0o644))
	require.NoError(s, os.Truncate(image.Source, 512+6<<30+1024)) // data and end mark are holes
	s.vm(fakeoned.CloneDisk(0, image, 0))
	p, err := s.machine.Start(testbed.Command{Argv: append([]string{testbed.Verb("clone"), "frontend:" + image.Source, at("node1", 0)}, ofImage...)})
	require.NoError(s, err)
	s.await("confined child", isConfined)
	v := s.volume(0)
	require.True(s, v.Tags.Has(lvm.TagBuilding))
	return p, v
}

// longHeader gives a ustar header another size (octal, at 124) and its checksum (at 148).
func longHeader(header []byte, size int64) []byte {
	out := slices.Clone(header)
	copy(out[124:], fmt.Sprintf("%011o\x00", size))
	copy(out[148:], "        ")
	sum := 0
	for _, b := range out {
		sum += int(b)
	}
	copy(out[148:], fmt.Sprintf("%06o\x00 ", sum))
	return out
}

// Whoever dies in the middle, nothing is left, and the front-end, if it lives, says why.
func TestDeathInTheMiddle(t *testing.T) {
	s := start(t, testbed.Options{})
	agentOf := func(child process) process {
		parent, err := readProcess(fmt.Sprintf("/proc/%d", child.parent))
		require.NoError(t, err)
		return parent
	}
	for _, c := range []struct {
		name   string
		kill   func(s *site, verb *testbed.Process, child process)
		status int // of the verb; 0: a failure with a message
		want   []string
	}{
		{"SIGKILL of the front-end's program", func(s *site, verb *testbed.Process, _ process) { s.signal("-KILL", verb.PID()) }, 137, nil},
		{"SIGTERM of the front-end's program", func(s *site, verb *testbed.Process, _ process) { s.signal("-TERM", verb.PID()) }, 0, []string{"interrupted", "node1"}},
		{"SIGTERM of the front-end's process group", func(s *site, verb *testbed.Process, _ process) { s.signal("-TERM", -verb.PID()) }, 0, []string{"interrupted", "node1"}},
		{"SIGTERM of the agent", func(s *site, _ *testbed.Process, child process) { s.signal("-TERM", child.parent) }, 0, []string{"node1"}},
		{"SIGKILL of the confined child", func(s *site, _ *testbed.Process, child process) { s.signal("-KILL", child.pid) }, 0, []string{"node1", "confined child", "killed"}},
		{"SIGKILL of sudo", func(s *site, _ *testbed.Process, child process) {
			s.signal("-KILL", s.ancestor(agentOf(child), "sudo").pid)
		}, 0, []string{"node1"}},
		{"SIGKILL of sshd's session", func(s *site, _ *testbed.Process, child process) {
			s.signal("-KILL", s.ancestor(agentOf(child), "sshd").pid)
		}, 0, []string{"node1"}},
		{"SIGKILL of ssh", func(s *site, verb *testbed.Process, _ process) {
			s.signal("-KILL", s.await("ssh", func(p process) bool { return p.parent == verb.PID() }).pid)
		}, 0, []string{"node1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			verb, _ := s.longClone()
			c.kill(s, verb, s.await("confined child", isConfined))
			result := verb.Wait()
			if c.status != 0 {
				assert.Equal(t, c.status, result.Status)
			} else {
				s.failed(result, c.want...)
			}
			s.settled()
			assert.Empty(t, s.names())
		})
	}
}

func (s *site) signal(signal string, pid int) {
	s.Helper()
	s.root("kill", signal, "--", fmt.Sprint(pid))
}

// A killed agent takes nothing back: its child ends with it, its volume says that it was
// never finished, and the next verb sees to it.
func TestAgentIsKilled(t *testing.T) {
	s := start(t, testbed.Options{})
	for _, then := range []string{"clone", "delete"} {
		t.Run(then, func(t *testing.T) {
			s := s.in(t)
			verb, v := s.longClone()
			s.signal("-KILL", s.await("confined child", isConfined).parent)
			s.failed(verb.Wait(), "node1", "without a result")
			s.settled()
			assert.Equal(t, v.UUID, s.volume(0).UUID)
			assert.True(t, s.volume(0).Tags.Has(lvm.TagBuilding))
			s.fails([]string{"never completed"}, "mv", append([]string{at("node1", 0), at("frontend", 0)}, ofImage...)...)
			if then == "clone" {
				image := s.tarImage(7, "64M", nil)
				s.pack(smallTree(t), image)
				s.clone(image, 0)
				assert.NotEqual(t, v.UUID, s.volume(0).UUID)
			}
			s.deleteDisk(0)
		})
	}
}

// oned gives up on a CLONE and starts DELETE while it still runs (docs/verbs.md).
func TestDeleteWhileCloneRuns(t *testing.T) {
	deleteWhileCloneRuns(t, start(t, testbed.Options{}))
}

func deleteWhileCloneRuns(t *testing.T, s *site) {
	for name, argv := range map[string][]string{
		"disk": append([]string{at("node1", 0)}, ofImage...),
		"home": append([]string{"node1:" + home}, ofSystem...),
	} {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			clone, _ := s.longClone()
			s.ok("delete", argv...)
			assert.Empty(t, s.names())
			assert.False(t, exists(device(0)))
			s.failed(clone.Wait(), "node1", "another operation")
		})
	}
}

// Every other verb waits for the one that runs.
func TestVerbsOnOneVMWaitForEachOther(t *testing.T) {
	s := start(t, testbed.Options{Cxmrc: map[string]string{"LOCK_TIMEOUT": "1"}})
	clone, v := s.longClone()
	s.fails([]string{"node1", "another operation on this VM is still running"}, "clone",
		append([]string{"frontend:" + s.tarImage(7, "8G", nil).Source, at("node1", 0)}, ofImage...)...)
	assert.Equal(t, v.UUID, s.volume(0).UUID)
	s.settings(nil, nil)
	s.deleteDisk(0)
	s.failed(clone.Wait())
}
