//go:build embedded

package embedded

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/test/build"
	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

// failpoints are the names of all instants at which the source can be killed.
func failpoints(t *testing.T) []string {
	t.Helper()
	root, err := build.Repository()
	require.NoError(t, err)
	var names []string
	hit := regexp.MustCompile(`failpoint\.Hit\("([^"]+)"\)`)
	err = filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, match := range hit.FindAllStringSubmatch(string(source), -1) {
			names = append(names, match[1])
		}
		return err
	})
	require.NoError(t, err)
	slices.Sort(names)
	names = slices.Compact(names)
	require.NotEmpty(t, names)
	return names
}

// scene is a verb in which an agent can be killed.
type scene struct {
	before func(*site) // what must be there first
	verb   string
	argv   []string
	after  func(*site) // how it is when the verb has succeeded
}

// What scenes leave in other system datastores, and which ones' verbs read the VM's document.
var (
	leavesIn      = map[string]int{"adopt": sameGroupDS, "movehome": sameGroupDS, "publish": otherGroupDS}
	readsDocument = map[string]bool{"backup": true, "unbackup": true, "window.opened": true, "window.closing": true}
)

// scenes by the first word of a failpoint's name, that of the agent's operation, or by all
// of it.
func scenes(image fakeoned.Image) map[string]scene {
	park := append([]string{at("node1", 0), at("frontend", 0)}, ofImage...)
	unpark := append([]string{at("frontend", 0), at("node1", 0)}, ofImage...)
	cloned := func(s *site) { s.clone(image, 0) }
	context := filepath.Join(testbed.Home, "vms/context.sh")
	across := func(ds int) []string {
		return append([]string{diskIn("node1", fakeoned.SystemDS, 0), diskIn("node2", ds, 0)}, ofImage...)
	}
	directory := []string{homeIn("node1", fakeoned.SystemDS), homeIn("node2", sameGroupDS), fmt.Sprint(vmID), fmt.Sprint(sameGroupDS)}
	backup := []string{"node1:" + home, "0", "one-42", "-", fmt.Sprint(vmID), fmt.Sprint(fakeoned.SystemDS)}
	restore := []string{"node1:" + home, fmt.Sprint(vmID), "30", "-1", "0"}
	restored := func(s *site) {
		s.complete(0, lvm.Exclusive)
		s.root("cmp", backedUp, device(0))
		assert.Equal(s, []string{volume(0)}, s.names())
	}
	toRestore := func(s *site) { cloned(s); s.backupImage(30, map[int]string{0: backedUp}) }
	window := append([]string{"node1", "node2", home}, ofSystem...)
	all := map[string]scene{
		"window.opened": {cloned, "premigrate", window, func(s *site) { s.complete(0, lvm.Shared) }},
		"window.closing": {func(s *site) { cloned(s); s.okOn(s.oned.Document(fakeoned.VMs, vmID), "premigrate", window...) },
			"postmigrate", window, func(s *site) { assert.Empty(s, s.complete(0, lvm.Exclusive).Tags.Get(lvm.TagMigrating)) }},
		"backup": {cloned, "prebackup", backup, func(s *site) { s.backedUp(0) }},
		"unbackup": {func(s *site) { cloned(s); s.okOn(s.oned.Document(fakeoned.VMs, vmID), "prebackup", backup...) }, "postbackup", backup,
			func(s *site) { assert.False(s, exists(home+"/backup")) }},
		"restore": {toRestore, "restore", restore, restored},
		"replace": {toRestore, "restore", restore, restored},
		"adopt":   {cloned, "mv", across(sameGroupDS), func(s *site) { s.isIn(testbed.Group, sameGroupDS, 0) }},
		"publish": {cloned, "mv", across(otherGroupDS), func(s *site) { s.isIn(otherGroup, otherGroupDS, 0) }},
		"movehome": {func(s *site) {
			cloned(s)
			require.NoError(s, os.WriteFile(home+"/checkpoint", []byte("memory"), 0o600))
			s.ok("mv", across(sameGroupDS)...)
		}, "mv", directory, func(s *site) {
			s.isIn(testbed.Group, sameGroupDS, 0)
			assert.FileExists(s, fmt.Sprintf("%s/%d/checkpoint", testbed.DatastorePath(sameGroupDS), vmID))
			assert.False(s, exists(home))
		}},
		"create": {func(*site) {}, "clone", append([]string{"frontend:" + image.Source, at("node1", 0)}, ofImage...),
			func(s *site) { s.complete(0, lvm.Exclusive); s.checked(0, "ext4") }},
		"discard": {cloned, "delete", append([]string{at("node1", 0)}, ofImage...),
			func(s *site) { assert.Empty(s, s.names()); assert.False(s, exists(device(0))) }},
		"discard.released": {func(s *site) { cloned(s); s.replacement(0) }, "delete", append([]string{at("node1", 0)}, ofImage...),
			func(s *site) { assert.Empty(s, s.names()); assert.False(s, exists(device(0))) }},
		"park": {cloned, "mv", park,
			func(s *site) { assert.True(s, s.complete(0, lvm.Off).Tags.Has(lvm.TagParked)) }},
		"activate": {func(s *site) { cloned(s); s.ok("mv", park...) }, "mv", unpark,
			func(s *site) { assert.False(s, s.complete(0, lvm.Exclusive).Tags.Has(lvm.TagParked)) }},
		"extend": {cloned, "resize", append([]string{at("node1", 0), "96"}, ofImage...),
			func(s *site) {
				v := s.complete(0, lvm.Exclusive)
				assert.Equal(s, int64(96<<20), v.Size)
				assert.Empty(s, v.Tags.Get("unzeroed"))
				s.zeros(0, 64<<20)
			}},
		"snapshot": {func(s *site) { cloned(s); s.ok("mv", park...) }, "snap_create", ofSnapshot("frontend", 0, 0),
			func(s *site) { s.volume(0); s.snapshot(0, 0) }},
		"unsnapshot": {func(s *site) { cloned(s); s.ok("snap_create", ofSnapshot("node1", 0, 0)...) }, "snap_delete", ofSnapshot("node1", 0, 0),
			func(s *site) { s.complete(0, lvm.Exclusive); assert.Equal(s, []string{volume(0)}, s.names()) }},
		"revert": {func(s *site) { cloned(s); s.ok("snap_create", ofSnapshot("node1", 0, 0)...); s.scribble(0, 1) }, "snap_revert", ofSnapshot("node1", 0, 0),
			func(s *site) {
				assert.Empty(s, s.complete(0, lvm.Exclusive).Tags.Get("reverting"))
				s.root("cmp", device(0), s.snapshot(0, 0).Path)
			}},
		"file": {func(*site) {}, "context", append([]string{context, at("node1", 4)}, ofSystem...),
			func(s *site) { s.root("isoinfo", "-d", "-i", device(4)) }},
	}
	maps.Copy(all, imageScenes())
	return all
}

// crashing is an agent that kills itself at the instant that arm names.
const crashing = "/usr/libexec/one-clvm/crashing"

func (s *site) arm(name string) {
	s.Helper()
	script := fmt.Sprintf("#!/bin/sh\nONE_CLVM_FAILPOINT=%s exec %s \"$@\"\n", name, program)
	require.NoError(s, os.WriteFile(crashing, []byte(script), 0o755))
	require.NoError(s, s.machine.Configure(bothGroups, map[string]string{"AGENT": crashing}))
}

func (s *site) disarm() {
	s.Helper()
	require.NoError(s, s.machine.Configure(bothGroups, nil))
}

// Killed at any instant, a verb converges when it is run again, and DELETE leaves nothing.
func TestKillMatrix(t *testing.T) {
	s := start(t, testbed.Options{Build: testbed.Failpoints, Sudo: []string{crashing + " agent"}, Agent: bothGroups})
	s.moreDatastores()
	require.NoError(t, os.MkdirAll(filepath.Join(testbed.Home, "vms"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(testbed.Home, "vms/context.sh"), []byte("A=b\n"), 0o644))
	image := s.tarImage(7, "64M", nil)
	s.pack(smallTree(t), image)
	require.NoError(t, os.WriteFile(backedUp, randomBytes(t, 64<<20), 0o644))
	for _, name := range failpoints(t) {
		operation, _, _ := strings.Cut(name, ".")
		if slices.Contains([]string{"wipe", "wipefree", "reap"}, operation) || name == "discard.soiled" {
			continue // not reached by a verb with its usual settings
		}
		if operation == "livebackup" {
			continue // of a disk in use, which a volume group in files cannot take a snapshot of
		}
		if _, own := scenes(image)[name]; own {
			operation = name
		}
		c, known := scenes(image)[operation]
		require.True(t, known, "no verb that reaches failpoint %s", name)
		for _, then := range []string{"again", "delete"} {
			t.Run(name+" "+then, func(t *testing.T) {
				s := s.in(t)
				s.vm(fakeoned.CloneDisk(0, image, 0))
				c.before(s)
				s.arm(name)
				defer s.disarm()
				stdin := ""
				if readsDocument[operation] {
					stdin = s.oned.Document(fakeoned.VMs, vmID)
				}
				s.failed(s.verbOn(stdin, c.verb, c.argv...), "node", "without a result")
				s.settled()
				s.disarm()
				if then == "again" {
					s.okOn(stdin, c.verb, c.argv...)
					c.after(s)
				}
				if ds := leavesIn[operation]; ds != 0 {
					s.deleteHomeIn(ds)
					assert.Empty(t, s.volumesOf(otherGroup))
				}
				s.deleteHome()
				assert.False(t, exists(home))
			})
		}
	}
}

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
	s := start(t, testbed.Options{})
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
