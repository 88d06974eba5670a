//go:build embedded

package embedded

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"one-clvm/lvm"
	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

func ofMiB(mib string) []string {
	return append([]string{mib, "raw", at("node1", 0)}, ofSystem...)
}

// inQuarantine are the volumes that wait to be wiped.
func (s *site) inQuarantine() []lvm.Volume {
	s.Helper()
	var out []lvm.Volume
	for _, v := range s.volumes() {
		if v.Tags.Has(lvm.TagQuarantine) && strings.HasPrefix(v.Name, "lv-onedel-") {
			out = append(out, v)
		}
	}
	return out
}

// longWipe starts a DELETE whose wipe takes so many seconds, and waits until that runs.
func (s *site) longWipe(seconds int) (remove *testbed.Process, wiper process) {
	s.Helper()
	s.vm(fakeoned.VolatileDisk(0, "", int64(seconds)))
	s.ok("mkimage", ofMiB(strconv.Itoa(seconds))...) // at 1 MiB a second
	remove, err := s.machine.Start(testbed.Command{Argv: append([]string{testbed.Verb("delete"), at("node1", 0)}, ofImage...)})
	require.NoError(s, err)
	require.Eventually(s, func() bool { return len(s.inQuarantine()) == 1 && !exists(device(0)) }, patience, time.Millisecond)
	return remove, s.await("agent", func(p process) bool { return isAgent(p) && p.argv[1] == "agent" })
}

// stopWipe ends the wipe as a shutdown of the node does.
func (s *site) stopWipe(remove *testbed.Process, wiper process) {
	s.Helper()
	require.Eventually(s, func() bool {
		_ = unix.Kill(wiper.pid, unix.SIGTERM) // it may have ended
		return ended(remove)
	}, patience, 100*time.Millisecond)
	s.failed(remove.Wait(), "node1", "stays in quarantine", "tm-clvm reap")
	s.settings(map[string]string{"WIPE_RATE": ""}, nil)
}

// A wipe takes its time; no verb waits for it but the DELETE itself.
func TestVerbsDoNotWaitForAWipe(t *testing.T) {
	s := start(t, testbed.Options{Agent: map[string]string{"WIPE_RATE": "1M"}})
	remove, wiper := s.longWipe(256)
	s.ok("mkimage", ofMiB("4")...)
	s.complete(0, lvm.Exclusive)
	s.ok("resize", append([]string{at("node1", 0), "8"}, ofSystem...)...)
	s.ok("mv", append([]string{at("node1", 0), at("frontend", 0)}, ofSystem...)...)
	assert.False(t, ended(remove), "256 MiB at 1 MiB a second")
	s.stopWipe(remove, wiper)
	s.reapHere()
	assert.Equal(t, []string{volume(0)}, s.names())
	s.deleteHome()
}

// reapHere runs on the node itself, which has no credentials for oned.
func (s *site) reapHere() {
	s.Helper()
	credentials := filepath.Join(testbed.Home, ".one")
	require.NoError(s, os.Rename(credentials, credentials+".away"))
	defer func() { require.NoError(s, os.Rename(credentials+".away", credentials)) }()
	result, err := s.machine.Run(s.Context(), testbed.Command{Argv: []string{program, "reap", testbed.Group}, Root: true})
	require.NoError(s, err)
	require.Zero(s, result.Status, result.Stderr)
}

// A wipe that is cut off goes on where it was, and reap ends it.
func TestReapAfterASignal(t *testing.T) {
	s := start(t, testbed.Options{Agent: map[string]string{"WIPE_RATE": "1M"}})
	s.stopWipe(s.longWipe(256))
	left := s.inQuarantine()
	require.Len(t, left, 1)
	assert.False(t, left[0].Tags.Has(lvm.TagWipeFailed))

	action := encoded("<DS_DRIVER_ACTION_DATA>" + s.oned.Document(fakeoned.Datastores, fakeoned.SystemDS) + "</DS_DRIVER_ACTION_DATA>")
	result, err := s.machine.Run(t.Context(), testbed.Command{Argv: []string{testbed.Verb("monitor"), "101"}, Stdin: action})
	require.NoError(t, err)
	assert.Zero(t, result.Status, result.Stderr)
	assert.Contains(t, result.Stderr, "WARN: ")
	assert.Contains(t, result.Stderr, "in quarantine")
	result, err = s.machine.Run(t.Context(), testbed.Command{Argv: []string{program, "reap", testbed.Group, "--node", "node1"}})
	require.NoError(t, err)
	assert.Zero(t, result.Status, result.Stderr)
	assert.Empty(t, s.names())
}

// The device of a disk is the hypervisor's, without any help of udev, and nobody else's
// device ever is.
func TestDevicesBelongToTheirOwner(t *testing.T) {
	s := start(t, testbed.Options{})
	s.vm(fakeoned.VolatileDisk(0, "", 8))
	s.ok("mkimage", ofMiB("8")...)
	owner := func(path string) string { return strings.TrimSpace(s.root("stat", "-L", "-c", "%U:%G %a", path)) }
	loop, err := filepath.EvalSymlinks(device(0))
	require.NoError(t, err)
	assert.Equal(t, "oneadmin:oneadmin 660", owner(loop))
	s.ok("mv", append([]string{at("node1", 0), at("frontend", 0)}, ofSystem...)...)
	assert.Equal(t, "root:root 660", owner(loop))
	s.ok("mv", append([]string{at("frontend", 0), at("node1", 0)}, ofSystem...)...)
	loop, err = filepath.EvalSymlinks(device(0))
	require.NoError(t, err)
	assert.Equal(t, "oneadmin:oneadmin 660", owner(loop))
	s.deleteDisk(0)
	assert.Equal(t, "root:root 660", owner(loop))
	s.deleteHome()
}

// ended says whether the process has.
func ended(p *testbed.Process) bool {
	select {
	case <-p.Ended():
		return true
	default:
		return false
	}
}
