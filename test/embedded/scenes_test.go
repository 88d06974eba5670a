//go:build embedded

package embedded

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/lvm/filevg"
	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

// scene is a verb, or a command, in which processes can be killed at any instant.
type scene struct {
	name   string
	cxmrc  map[string]string
	before func(*site) // what must be there first
	argv   []string    // the verb first
	stdin  func(*site) string
	after  func(*site) // how it is when it has succeeded
	ds     int         // the system datastore that the VM is in at the end; 0 is the usual one
}

// The scenes' images are 16 MiB, their disks 32: a file system fits, and little is written.
const (
	sceneDisk = "32M"
	sceneMiB  = 32
)

// The images of the scenes. newImage has a record only, as CPDS finds it.
type sceneImages struct{ tar, raw, disk, newImage fakeoned.Image }

// smallGroup is a group whose free space is wiped in no time.
const smallGroup = "vg-small"

// allScenes are the verbs and commands that change something. The images' files are made
// already.
func allScenes(images sceneImages) []scene {
	return slices.Concat(newDiskScenes(images), endScenes(images), moveScenes(images), saveScenes(images), qcow2Scenes(images),
		windowScenes(images), snapshotScenes(images), backupScenes(images), imageScenes(), snapCloneScenes(), datastoreScenes(), imageFileScenes(), sharedFileScenes(), imageSnapshotScenes(), wipeScenes(), vmmScenes(images))
}

// verb puts a verb's name in front of its arguments.
func verb(name string, argv ...any) []string {
	out := []string{name}
	for _, a := range argv {
		switch a := a.(type) {
		case []string:
			out = append(out, a...)
		default:
			out = append(out, fmt.Sprint(a))
		}
	}
	return out
}

// deployed has a disk 0 of the tar image on node1; parked has taken it off.
func (i sceneImages) deployed(s *site) {
	s.Helper()
	s.vm(fakeoned.CloneDisk(0, i.tar, 0))
	s.clone(i.tar, 0)
}

func (i sceneImages) parked(s *site) {
	s.Helper()
	i.deployed(s)
	s.ok("mv", at("node1", 0), at("frontend", 0), ofImage[0], ofImage[1])
}

// snapped has one snapshot of it.
func (i sceneImages) snapped(s *site) {
	s.Helper()
	i.deployed(s)
	s.ok("snap_create", ofSnapshot("node1", 0, 0)...)
}

func gone(s *site) {
	s.Helper()
	assert.Empty(s, s.names())
	assert.False(s, exists(device(0)))
}

func exclusive(s *site) {
	s.Helper()
	assert.False(s, s.complete(0, lvm.Exclusive).Tags.Has(lvm.TagParked))
}

func off(s *site) {
	s.Helper()
	assert.True(s, s.complete(0, lvm.Off).Tags.Has(lvm.TagParked))
}

func newDiskScenes(i sceneImages) []scene {
	clone := func(name string, image fakeoned.Image) []string {
		return verb(name, "frontend:"+image.Source, at("node1", 0), ofImage)
	}
	of := func(disk fakeoned.Disk) func(*site) { return func(s *site) { s.vm(disk) } }
	isRaw := func(s *site) { exclusive(s); s.root("cmp", i.raw.Source, device(0)) }
	script := filepath.Join(testbed.Home, "vms/context.sh")
	files := func(s *site) {
		s.vm()
		require.NoError(s, os.MkdirAll(filepath.Dir(script), 0o755))
		require.NoError(s, os.WriteFile(script, []byte("A=b\n"), 0o644))
	}
	return []scene{
		{name: "CLONE of a tar", before: of(fakeoned.CloneDisk(0, i.tar, 0)), argv: clone("clone", i.tar), after: func(s *site) { exclusive(s); s.checked(0, "ext4") }},
		{name: "CLONE of extents", before: of(fakeoned.CloneDisk(0, i.raw, 0)), argv: clone("clone", i.raw), after: isRaw},
		{name: "CLONE of a compressed disk", before: of(fakeoned.CloneDisk(0, i.disk, 0)), argv: clone("clone", i.disk), after: isRaw},
		{name: "CLONE over an earlier one", before: i.deployed, argv: clone("clone", i.tar), after: exclusive},
		{name: "CLONE of a kernel", before: func(s *site) { s.vm() }, argv: verb("clone", "frontend:"+i.raw.Source, "node1:"+home+"/kernel", ofImage),
			after: func(s *site) { s.root("cmp", i.raw.Source, home+"/kernel") }},
		{name: "LN", before: of(fakeoned.PersistentDisk(0, i.raw)), argv: clone("ln", i.raw), after: isRaw},
		{name: "LN after an MVDS", before: func(s *site) {
			s.vm(fakeoned.PersistentDisk(0, i.raw))
			s.ok("ln", clone("ln", i.raw)[1:]...)
			s.ok("mvds", at("node1", 0), i.raw.Source, ofImage[0], ofImage[1])
		}, argv: clone("ln", i.raw), after: isRaw},
		{name: "MKIMAGE", before: of(fakeoned.VolatileDisk(0, "ext4", 16)), argv: verb("mkimage", 16, "raw", at("node1", 0), ofSystem),
			after: func(s *site) { exclusive(s); s.checked(0, "ext4") }},
		{name: "MKSWAP", before: of(fakeoned.SwapDisk(0, 16)), argv: verb("mkswap", 16, at("node1", 0), ofSystem), after: func(s *site) { s.isFileSystem(0, "swap") }},
		{name: "CONTEXT", before: files, argv: verb("context", script, at("node1", 4), ofSystem), after: func(s *site) { s.root("isoinfo", "-d", "-i", device(4)) }},
		{name: "CONTEXT with a URL", before: func(s *site) { files(s); s.downloads(script) },
			argv:  verb("context", "http://files.example.org/context.sh", at("node1", 4), ofSystem),
			after: func(s *site) { s.root("isoinfo", "-d", "-i", device(4)) }},
		{name: "RESIZE", before: i.deployed, argv: verb("resize", at("node1", 0), 48, ofImage), after: func(s *site) { extended(s, lvm.Exclusive); s.zeros(0, sceneMiB<<20) }},
		{name: "RESIZE of a parked disk", before: i.parked, argv: verb("resize", at("frontend", 0), 48, ofImage), after: func(s *site) { extended(s, lvm.Off) }},
	}
}

// downloads stands in for OpenNebula's downloader: everything is this file.
func (s *site) downloads(path string) {
	s.Helper()
	directory := filepath.Join(testbed.Home, "remotes/datastore")
	require.NoError(s, os.MkdirAll(directory, 0o755))
	require.NoError(s, os.WriteFile(directory+"/downloader.sh", []byte("#!/bin/sh\nexec cat "+path+"\n"), 0o755))
}

func extended(s *site, mode lvm.Mode) {
	s.Helper()
	v := s.complete(0, mode)
	assert.Equal(s, int64(48<<20), v.Size)
	assert.Empty(s, v.Tags.Get("unzeroed"))
}

// endScenes are those that remove something.
func endScenes(i sceneImages) []scene {
	disk := verb("delete", at("node1", 0), ofImage)
	return []scene{
		{name: "DELETE of a disk", before: i.deployed, argv: disk, after: gone},
		{name: "DELETE of a home", before: i.snapped, argv: verb("delete", "node1:"+home, ofSystem), after: func(s *site) { gone(s); assert.False(s, exists(home)) }},
		{name: "DELETE of a parked disk", before: i.parked, argv: verb("delete", at("frontend", 0), ofImage), after: gone},
		{name: "DELETE of a disk and its replacement", before: func(s *site) { i.deployed(s); s.replacement(0) }, argv: disk, after: gone},
		{name: "DELETE without a wipe", before: i.deployed, cxmrc: map[string]string{"WIPE": "create"}, argv: disk, after: gone},
	}
}

func moveScenes(i sceneImages) []scene {
	move := func(from, to string) []string { return verb("mv", at(from, 0), at(to, 0), ofImage) }
	across := func(ds int) []string {
		return verb("mv", diskIn("node1", fakeoned.SystemDS, 0), diskIn("node2", ds, 0), ofImage)
	}
	return []scene{
		{name: "MV to the front-end", before: i.deployed, argv: move("node1", "frontend"), after: off},
		{name: "MV from the front-end", before: i.parked, argv: move("frontend", "node1"), after: exclusive},
		{name: "MV between nodes", before: i.deployed, argv: move("node1", "node2"), after: exclusive},
		{name: "MV to another datastore", before: i.snapped, argv: across(sameGroupDS), ds: sameGroupDS,
			after: func(s *site) {
				s.ok("snap_delete", ofSnapshot("node1", 0, 0)...)
				s.isIn(testbed.Group, sameGroupDS, 0)
			}},
		{name: "MV to another volume group", before: i.deployed, argv: across(otherGroupDS), ds: otherGroupDS,
			after: func(s *site) { s.isIn(otherGroup, otherGroupDS, 0) }},
		{name: "MV of a home", before: func(s *site) {
			i.deployed(s)
			require.NoError(s, os.WriteFile(home+"/checkpoint", []byte("memory"), 0o600))
			s.ok("mv", across(sameGroupDS)[1:]...)
		}, argv: verb("mv", homeIn("node1", fakeoned.SystemDS), homeIn("node2", sameGroupDS), vmID, sameGroupDS), ds: sameGroupDS,
			after: func(s *site) {
				s.isIn(testbed.Group, sameGroupDS, 0)
				assert.FileExists(s, fmt.Sprintf("%s/%d/checkpoint", testbed.DatastorePath(sameGroupDS), vmID))
				assert.False(s, exists(home))
			}},
	}
}

func saveScenes(i sceneImages) []scene {
	saved := func(s *site) { s.Helper(); s.root("gzip", "-t", i.newImage.Source) }
	link := func(s *site) {
		s.vm(fakeoned.PersistentDisk(0, i.raw))
		s.ok("ln", "frontend:"+i.raw.Source, at("node1", 0), ofImage[0], ofImage[1])
	}
	return []scene{
		{name: "CPDS", before: i.deployed, argv: verb("cpds", at("node1", 0), i.newImage.Source, ofImage), after: func(s *site) { exclusive(s); saved(s) }},
		{name: "CPDS of a parked disk", before: i.parked, argv: verb("cpds", at("frontend", 0), i.newImage.Source, ofImage), after: func(s *site) { off(s); saved(s) }},
		{name: "CPDS of a snapshot", before: func(s *site) {
			i.snapped(s)
			s.ok("mv", at("node1", 0), at("frontend", 0), ofImage[0], ofImage[1])
		}, argv: verb("cpds", at("frontend", 0), i.newImage.Source, 0, ofImage), after: func(s *site) { off(s); saved(s) }},
		{name: "CPDS after one that was cut off", before: func(s *site) {
			i.deployed(s)
			directory, name := filepath.Split(i.newImage.Source)
			half := directory + "." + name + ".saving"
			require.NoError(s, os.WriteFile(half, []byte("half"), 0o600))
			s.root("chown", "oneadmin:", half)
		}, argv: verb("cpds", at("node1", 0), i.newImage.Source, ofImage), after: func(s *site) { exclusive(s); saved(s) }},
		{name: "MVDS", before: link, argv: verb("mvds", at("node1", 0), i.raw.Source, ofImage), after: func(s *site) { gone(s); s.root("cmp", i.raw.Source, original(i.raw)) }},
	}
}

// original is a copy of an image that a scene overwrites with the same content.
func original(image fakeoned.Image) string { return image.Source + ".original" }

func windowScenes(i sceneImages) []scene {
	document := func(s *site) string { return encoded(s.oned.Document(fakeoned.VMs, vmID)) }
	window := []string{"node1", "node2", home, ofSystem[0], ofSystem[1]}
	shared := func(s *site) {
		i.deployed(s)
		s.okOn(document(s), "premigrate", window...)
	}
	closed := func(s *site) { exclusive(s); assert.Empty(s, s.volume(0).Tags.Get(lvm.TagMigrating)) }
	return []scene{
		{name: "PREMIGRATE", before: i.deployed, argv: verb("premigrate", window), stdin: document, after: func(s *site) { s.complete(0, lvm.Shared) }},
		{name: "POSTMIGRATE", before: shared, argv: verb("postmigrate", window), stdin: document, after: closed},
		{name: "FAILMIGRATE", before: shared, argv: verb("failmigrate", window), stdin: document, after: closed},
	}
}

func snapshotScenes(i sceneImages) []scene {
	taken := func(s *site) { s.snapshot(0, 0) }
	parked := func(s *site) {
		i.snapped(s)
		s.ok("mv", at("node1", 0), at("frontend", 0), ofImage[0], ofImage[1])
	}
	return []scene{
		{name: "SNAP_CREATE", before: i.deployed, argv: verb("snap_create", ofSnapshot("node1", 0, 0)), after: taken},
		{name: "SNAP_CREATE_LIVE", before: i.deployed, argv: verb("snap_create_live", ofSnapshot("node1", 0, 0)), after: taken},
		{name: "SNAP_CREATE of a parked disk", before: i.parked, argv: verb("snap_create", ofSnapshot("frontend", 0, 0)), after: func(s *site) { off(s); taken(s) }},
		{name: "SNAP_DELETE", before: i.snapped, argv: verb("snap_delete", ofSnapshot("node1", 0, 0)),
			after: func(s *site) { exclusive(s); assert.Equal(s, []string{volume(0)}, s.names()) }},
		{name: "SNAP_REVERT", before: func(s *site) { i.snapped(s); s.scribble(0, 1) }, argv: verb("snap_revert", ofSnapshot("node1", 0, 0)),
			after: func(s *site) {
				exclusive(s)
				assert.Empty(s, s.volume(0).Tags.Get("reverting"))
				s.root("cmp", device(0), s.snapshot(0, 0).Path)
			}},
		{name: "SNAP_REVERT of a parked disk", before: parked, argv: verb("snap_revert", ofSnapshot("frontend", 0, 0)),
			after: func(s *site) {
				assert.True(s, s.volume(0).Tags.Has(lvm.TagParked))
				assert.Equal(s, lvm.Off, s.volume(0).Mode)
				assert.Empty(s, s.volume(0).Tags.Get("reverting"))
			}},
	}
}

func backupScenes(i sceneImages) []scene {
	document := func(s *site) string { return s.oned.Document(fakeoned.VMs, vmID) }
	backup := []string{"node1:" + home, "0", "one-42", "-", strconv.Itoa(vmID), strconv.Itoa(fakeoned.SystemDS)}
	made := func(s *site) { s.backedUp(0) }
	unmade := func(s *site) { exclusive(s); assert.False(s, exists(home+"/backup")) }
	there := func(s *site) {
		i.deployed(s)
		s.okOn(document(s), "prebackup", backup...)
	}
	restore := verb("restore", "node1:"+home, vmID, 30, -1, 0)
	restored := func(s *site, mode lvm.Mode) {
		assert.Equal(s, []string{volume(0)}, s.names())
		v := s.volume(0)
		assert.Equal(s, mode, v.Mode)
		assert.Equal(s, mode == lvm.Off, v.Tags.Has(lvm.TagParked))
		assert.Empty(s, v.Tags.Get("replacement"))
		assert.False(s, v.Tags.Has("replacement"))
		assert.Equal(s, string(must(s.T, os.ReadFile, backedUp)), s.copyOf(volume(0)))
	}
	with := func(before func(*site)) func(*site) {
		return func(s *site) { before(s); s.backupImage(30, map[int]string{0: backedUp}) }
	}
	return []scene{
		{name: "PREBACKUP", before: i.deployed, argv: verb("prebackup", backup), stdin: document, after: made},
		{name: "PREBACKUP_LIVE", before: there, argv: verb("prebackup_live", backup), stdin: document, after: made},
		{name: "POSTBACKUP", before: there, argv: verb("postbackup", backup), stdin: document, after: unmade},
		{name: "POSTBACKUP_LIVE", before: there, argv: verb("postbackup_live", backup), stdin: document, after: unmade},
		{name: "RESTORE", before: with(i.snapped), argv: restore, after: func(s *site) { restored(s, lvm.Exclusive) }},
		{name: "RESTORE of a parked disk", before: with(i.parked), argv: verb("restore", "frontend:"+home, vmID, 30, -1, 0), after: func(s *site) { restored(s, lvm.Off) }},
	}
}

// must is the result of a function that succeeds.
func must[A, R any](t *testing.T, do func(A) (R, error), argument A) R {
	t.Helper()
	result, err := do(argument)
	require.NoError(t, err)
	return result
}

func wipeScenes() []scene {
	return []scene{
		{name: "wipe-free", before: func(s *site) { s.vm(); s.renewSmallGroup() }, argv: []string{"wipe-free", smallGroup, "--node", "node1"}, after: func(s *site) {
			assert.Empty(s, s.volumesOf(smallGroup))
			s.cleanSpace()
		}},
		{name: "reap", before: func(s *site) { s.deadWipe() }, argv: []string{"reap", testbed.Group, "--node", "node1"}, after: gone},
	}
}

func smallGroupDir() string { return filepath.Join(testbed.GroupsDirectory(), smallGroup) }

// renewSmallGroup makes the small group, with old bytes in it.
func (s *site) renewSmallGroup() {
	s.Helper()
	if exists(smallGroupDir()) {
		s.root(program, "vg", "destroy", smallGroup)
	}
	s.root(program, "vg", "create", smallGroup, "--size", "64M")
	s.root("dd", "if=/dev/urandom", "of="+filepath.Join(smallGroupDir(), "pv"), "bs=1M", "count=64", "conv=notrunc", "status=none")
}

// cleanSpace: the small group says that its space is zero, and it is.
func (s *site) cleanSpace() {
	s.Helper()
	info, err := must(s.T, filevg.Open, smallGroupDir()).Info(s.Context())
	require.NoError(s, err)
	assert.True(s, info.Tags.Has(lvm.TagClean))
	assert.Equal(s, info.Size, info.Free)
	s.root("cmp", "-n", fmt.Sprint(info.Size), filepath.Join(smallGroupDir(), "pv"), "/dev/zero")
}

// deadWipe leaves what an agent leaves that dies with its node in the middle of a wipe.
func (s *site) deadWipe() {
	s.Helper()
	s.vm()
	name := lvm.QuarantineName(lvm.DefaultPrefix, "00112233aabb").String()
	_, err := s.group().Create(s.Context(), lvm.CreateRequest{Name: name, Size: 16 << 20, Tags: lvm.DiskTags(vmID, 0, fakeoned.SystemDS).With(lvm.TagQuarantine)})
	require.NoError(s, err)
	_, err = s.group().Activate(s.Context(), name, lvm.Off)
	require.NoError(s, err)
}
