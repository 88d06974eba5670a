//go:build embedded

package embedded

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

// patience is for what must end by itself; only a failure takes as long.
const patience = 60 * time.Second

// nothingLeft: once every agent has ended there is no volume, link, home, mount, loop
// device or half an image file.
func (s *site) nothingLeft() {
	s.Helper()
	s.settled()
	assert.Empty(s, s.volumes(), "volumes")
	entries, err := os.ReadDir(testbed.DatastorePath(fakeoned.SystemDS))
	assert.NoError(s, err)
	for _, e := range entries {
		left, err := os.ReadDir(filepath.Join(testbed.DatastorePath(fakeoned.SystemDS), e.Name()))
		assert.NoError(s, err)
		assert.Empty(s, left, "entries of home %s", e.Name())
	}
	assert.Empty(s, s.root("losetup", "-j", groupDir()+"/pv"), "loop devices")
	assert.Equal(s, s.mounts, mounts(s.T), "mounts")
	half, err := filepath.Glob(testbed.DatastorePath(fakeoned.ImageDS) + "/.*.saving")
	assert.NoError(s, err)
	assert.Empty(s, half, "half images")
	temporary, err := filepath.Glob(os.TempDir() + "/one-clvm-*")
	assert.NoError(s, err)
	assert.Empty(s, temporary, "temporary files of the front-end")
}

// unfinished is in the names of systems that a lab is building beside the tests: this mount
// namespace is a copy of one that had them.
const unfinished = ".unfinished/"

// mounts are the mount points that there are.
func mounts(t *testing.T) []string {
	t.Helper()
	info, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	var points []string
	for line := range strings.Lines(string(info)) {
		if point := strings.Fields(line)[4]; !strings.Contains(point, unfinished) {
			points = append(points, point)
		}
	}
	return points
}

// process is one that runs on the machine.
type process struct {
	pid    int
	parent int
	argv   []string
}

// processes are those that the condition picks.
func processes(pick func(process) bool) []process {
	directories, _ := filepath.Glob("/proc/[0-9]*") // the pattern is good
	var out []process
	for _, directory := range directories {
		p, err := readProcess(directory)
		if err == nil && pick(p) {
			out = append(out, p)
		}
	}
	return out
}

func readProcess(directory string) (p process, err error) {
	if p.pid, err = strconv.Atoi(filepath.Base(directory)); err != nil {
		return p, err
	}
	text, err := os.ReadFile(filepath.Join(directory, "cmdline"))
	if err != nil {
		return p, err
	}
	p.argv = strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
	status, err := os.ReadFile(filepath.Join(directory, "stat"))
	if err != nil {
		return p, err
	}
	fields := strings.Fields(string(status[strings.LastIndexByte(string(status), ')')+1:]))
	p.parent, err = strconv.Atoi(fields[1])
	return p, err
}

// isAgent: an agent or its confined child. (testbed.OldKernel becomes the Plain program.)
func isAgent(p process) bool {
	suite := []string{program, testbed.InstalledVMM, testbed.Plain.Path()}
	return slices.Contains(suite, p.argv[0]) && len(p.argv) > 1 && (p.argv[1] == "agent" || p.argv[1] == "confined")
}

func isConfined(p process) bool { return isAgent(p) && p.argv[1] == "confined" }

// settled waits until no agent runs any more.
func (s *site) settled() {
	s.Helper()
	deadline := time.Now().Add(patience)
	for {
		running := processes(isAgent)
		if len(running) == 0 {
			return
		}
		s.ended(running[0].pid, deadline)
	}
}

// ended waits for the end of a process that need not be a child.
func (s *site) ended(pid int, deadline time.Time) {
	s.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return
	}
	require.NoError(s, err)
	defer unix.Close(fd)
	for {
		left := max(time.Until(deadline), 0) // less than nothing would be for ever
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		require.NoError(s, err)
		require.Equal(s, 1, n, "process %d has not ended", pid)
		return
	}
}

// await waits for the first process that the condition picks.
func (s *site) await(what string, pick func(process) bool) process {
	s.Helper()
	var found []process
	require.Eventually(s, func() bool {
		found = processes(pick)
		return len(found) > 0
	}, patience, 5*time.Millisecond, what)
	return found[0]
}

// ancestor is the nearest process above p whose program has that name.
func (s *site) ancestor(p process, name string) process {
	s.Helper()
	for p.parent > 1 {
		above, err := readProcess("/proc/" + strconv.Itoa(p.parent))
		require.NoError(s, err)
		if strings.HasPrefix(filepath.Base(above.argv[0]), name) {
			return above
		}
		p = above
	}
	require.Fail(s, "no process "+name)
	return process{}
}

// exists says whether a path is there, without following links.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// names of the volumes that there are.
func (s *site) names() []string {
	s.Helper()
	var out []string
	for _, v := range s.volumes() {
		out = append(out, v.Name)
	}
	slices.Sort(out)
	return out
}
