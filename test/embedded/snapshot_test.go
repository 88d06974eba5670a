//go:build embedded

package embedded

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

// ofSnapshot are the arguments of the verbs on a snapshot.
func ofSnapshot(host string, disk, number int) []string {
	return append([]string{at(host, disk), fmt.Sprint(number)}, ofImage...)
}

// snapshot finds the volume of a disk's snapshot.
func (s *site) snapshot(disk, number int) lvm.Volume {
	s.Helper()
	for _, v := range s.volumes() {
		if v.Name == fmt.Sprintf("%s_s%d", volume(disk), number) {
			assert.Equal(s, volume(disk), v.Origin)
			assert.True(s, v.Tags.Has("one", lvm.KeyTag("vm", vmID), lvm.KeyTag("disk", disk), lvm.KeyTag("snapshot", number)), "tags %q", v.Tags)
			return v
		}
	}
	require.Fail(s, "no snapshot", "%d of disk %d", number, disk)
	return lvm.Volume{}
}

// scribble writes other text over the whole of a disk, as its guest might, and returns a
// copy of what it then holds.
func (s *site) scribble(disk int, seed byte) (copied string) {
	s.Helper()
	f, err := os.OpenFile(device(disk), os.O_RDWR, 0)
	require.NoError(s, err)
	defer f.Close()
	for _, at := range []int64{0, 5 << 20, 8<<20 - 4096} {
		text := randomBytes(s.T, 4096)
		text[0] = seed
		_, err = f.WriteAt(text, at)
		require.NoError(s, err)
	}
	require.NoError(s, f.Sync())
	copied = s.TempDir() + "/copy"
	s.root("dd", "if="+device(disk), "of="+copied, "bs=1M", "status=none")
	return copied
}

// volatile makes an 8 MiB disk 0.
func (s *site) volatile() {
	s.Helper()
	s.vm(fakeoned.VolatileDisk(0, "", 8))
	s.ok("mkimage", append([]string{"8", "raw", at("node1", 0)}, ofSystem...)...)
}

// Each snapshot can be gone back to, any number of times and in any order.
func TestSnapshots(t *testing.T) {
	s := start(t, testbed.Options{})
	s.volatile()
	var contents []string
	for number, verb := range []string{"snap_create", "snap_create_live"} {
		contents = append(contents, s.scribble(0, byte(number)))
		s.ok(verb, ofSnapshot("node1", 0, number)...)
		assert.Equal(t, lvm.Exclusive, s.snapshot(0, number).Mode)
		s.root("cmp", contents[number], s.snapshot(0, number).Path)
	}
	s.scribble(0, 9)
	for _, number := range []int{0, 1, 1, 0} {
		s.ok("snap_revert", ofSnapshot("node1", 0, number)...)
		s.complete(0, lvm.Exclusive)
		s.root("cmp", contents[number], device(0))
		s.root("cmp", contents[0], s.snapshot(0, 0).Path)
		s.root("cmp", contents[1], s.snapshot(0, 1).Path)
	}
	s.ok("snap_delete", ofSnapshot("node1", 0, 0)...)
	s.root("cmp", contents[0], device(0))
	s.ok("snap_revert", ofSnapshot("node1", 0, 1)...)
	s.root("cmp", contents[1], device(0))
	s.fails([]string{volume(0) + "_s0", "not found"}, "snap_revert", ofSnapshot("node1", 0, 0)...)
	s.ok("snap_delete", ofSnapshot("node1", 0, 0)...)
	s.ok("snap_delete", ofSnapshot("node1", 0, 1)...)
	assert.Equal(t, []string{volume(0)}, s.names())
	s.deleteDisk(0)
}

// A snapshot becomes an image of its own, while the disk goes on.
func TestSaveOfASnapshot(t *testing.T) {
	s := start(t, testbed.Options{Cxmrc: map[string]string{"MODE": "RAW"}})
	s.volatile()
	content := s.scribble(0, 1)
	s.ok("snap_create", ofSnapshot("node1", 0, 3)...)
	s.scribble(0, 2)
	for _, host := range []string{"node1", "frontend"} {
		saved := s.image(20, nil)
		require.NoError(t, os.RemoveAll(saved.Source))
		s.ok("cpds", append([]string{at(host, 0), saved.Source, "3"}, ofImage...)...)
		s.root("cmp", content, saved.Source)
		if host == "node1" {
			s.ok("mv", append([]string{at("node1", 0), at("frontend", 0)}, ofSystem...)...)
		}
	}
	s.complete(0, lvm.Off)
	assert.Equal(t, lvm.Off, s.snapshot(0, 3).Mode)
	s.deleteHome()
}

// What a disk with snapshots can do, and what it can't.
func TestDiskWithSnapshots(t *testing.T) {
	s := start(t, testbed.Options{})
	s.volatile()
	content := s.scribble(0, 1)
	s.ok("snap_create", ofSnapshot("node1", 0, 0)...)
	document := encoded(s.oned.Document(fakeoned.VMs, vmID))
	result, err := s.machine.Run(t.Context(), testbed.Command{Argv: append([]string{testbed.Verb("premigrate"), "node1", "node2", home}, ofSystem...), Stdin: document})
	require.NoError(t, err)
	s.failed(result, volume(0), "snapshots", "no live migration", "powered off")
	s.complete(0, lvm.Exclusive)

	s.ok("mv", append([]string{at("node1", 0), at("node2", 0)}, ofSystem...)...)
	s.ok("mv", append([]string{at("node2", 0), at("frontend", 0)}, ofSystem...)...)
	assert.Equal(t, lvm.Off, s.snapshot(0, 0).Mode)
	s.ok("mv", append([]string{at("frontend", 0), at("node1", 0)}, ofSystem...)...)
	assert.Equal(t, lvm.Exclusive, s.snapshot(0, 0).Mode)

	resize := append([]string{at("node1", 0), "12"}, ofSystem...)
	held, err := os.Open(device(0))
	require.NoError(t, err)
	s.fails([]string{volume(0), "snapshots", "power the VM off"}, "resize", resize...)
	s.fails([]string{volume(0), "in use"}, "snap_create_live", ofSnapshot("node1", 0, 1)...)
	s.fails([]string{volume(0), "in use"}, "snap_revert", ofSnapshot("node1", 0, 0)...)
	require.NoError(t, held.Close())
	s.ok("resize", resize...)
	assert.Equal(t, int64(12<<20), s.complete(0, lvm.Exclusive).Size)
	s.zeros(0, 8<<20)
	s.scribble(0, 2)
	s.ok("snap_revert", ofSnapshot("node1", 0, 0)...)
	s.root("cmp", "-n", fmt.Sprint(8<<20), content, device(0))
	s.fails([]string{volume(0) + "_s7", "not found"}, "snap_revert", ofSnapshot("node1", 0, 7)...)
	s.deleteDisk(0)
	assert.Empty(t, s.names(), "its snapshots go with it")
}

func TestSnapshotNeedsSpace(t *testing.T) {
	s := start(t, testbed.Options{})
	s.vm(fakeoned.VolatileDisk(0, "", 600<<10))
	s.ok("mkimage", append([]string{fmt.Sprint(600 << 10), "raw", at("node1", 0)}, ofSystem...)...)
	s.fails([]string{volume(0), "too little free space"}, "snap_create", ofSnapshot("node1", 0, 0)...)
	assert.Equal(t, []string{volume(0)}, s.names())
	s.settings(nil, map[string]string{"WIPE": "create"})
	s.deleteDisk(0)
}
