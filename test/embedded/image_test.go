//go:build embedded

package embedded

import (
	"context"
	"fmt"
	"os"
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

// sanImage is the id of the image on the SAN, and savedImage that of one made of a disk.
const (
	sanImage   = 8
	savedImage = 9
)

func imageVolume(id int) string { return "lv-oneimg-" + strconv.Itoa(id) }

func (s *site) group() lvm.Group {
	s.Helper()
	g, err := filevg.Open(groupDir())
	require.NoError(s, err)
	return g
}

// putImage makes an image of 8 MiB on the SAN, as the datastore driver does, known to oned;
// it is gone after the test.
func (s *site) putImage(id int) fakeoned.Image {
	s.Helper()
	s.Cleanup(func() { s.dropImage(id) })
	v, err := s.group().Create(s.Context(), lvm.CreateRequest{Name: imageVolume(id), Size: 8 << 20, Tags: lvm.NewTags("one", lvm.KeyTag("image", id))})
	require.NoError(s, err)
	device, err := os.OpenFile(v.Path, os.O_RDWR, 0)
	require.NoError(s, err)
	for _, at := range []int64{0, 3 << 20, 8<<20 - 4096} {
		_, err = device.WriteAt(randomBytes(s.T, 4096), at)
		require.NoError(s, err)
	}
	require.NoError(s, device.Sync())
	require.NoError(s, device.Close())
	_, err = s.group().Activate(s.Context(), v.Name, lvm.Off)
	require.NoError(s, err)
	return s.imageOnSAN(id)
}

// oldVolume is what gfs2clvm 3.8 called image sanImage, and oldSource what oned has of it.
var (
	oldVolume = "lv-one-" + strconv.Itoa(sanImage)
	oldSource = "node9:" + testbed.Group + "." + oldVolume
)

// putOldImage makes an image as gfs2clvm left it: under another name, without tags.
func (s *site) putOldImage() fakeoned.Image {
	s.Helper()
	image := s.putImage(sanImage)
	require.NoError(s, s.group().Rename(s.Context(), image.Source, oldVolume))
	_, err := s.group().Tag(s.Context(), oldVolume, nil, lvm.NewTags("one", lvm.KeyTag("image", sanImage)))
	require.NoError(s, err)
	s.Cleanup(func() {
		if slices.Contains(s.names(), oldVolume) {
			assert.NoError(s, s.group().Remove(context.WithoutCancel(s.Context()), oldVolume))
		}
	})
	image.Source = oldSource
	s.oned.Put(fakeoned.Images, sanImage, image.Document())
	return image
}

// What gfs2clvm has left is used as it is: read, given to a VM, copied and removed.
func TestImageOfGfs2clvm(t *testing.T) {
	s := start(t, testbed.Options{})
	image := s.putOldImage()
	before := s.copyOf(oldVolume)
	s.vm(fakeoned.CloneDisk(0, image, 0))
	s.ok("clone", append([]string{image.Source, at("node1", 0)}, ofImage...)...)
	assert.Equal(t, before, s.copyOf(volume(0)))
	s.deleteHome()
	s.vm(fakeoned.PersistentDisk(0, image))
	s.ok("ln", append([]string{image.Source, at("node1", 0)}, ofImage...)...)
	s.scribble(0, 'x')
	s.ok("mvds", append([]string{at("node1", 0), image.Source}, ofImage...)...)
	s.deleteHome()
	copied := s.register("clone", savedImage, imageFields{"PATH": image.Source}, nil)
	assert.Equal(t, imageVolume(savedImage), copied.Source)
	assert.Equal(t, s.copyOf(oldVolume), s.copyOf(copied.Source))
	assert.NotEqual(t, before, s.copyOf(oldVolume))
	s.unregister(copied)
	s.unregister(image)
}

func (s *site) imageOnSAN(id int) fakeoned.Image {
	image := fakeoned.Image{ID: id, Name: imageVolume(id), SizeMiB: 8, Source: imageVolume(id)}
	s.oned.Put(fakeoned.Images, id, image.Document())
	return image
}

// dropImage removes an image as its datastore would; one that is not there is fine.
func (s *site) dropImage(id int) {
	s.Helper()
	volumes := s.volumes()
	slices.Reverse(volumes) // snapshots come first
	for _, v := range volumes {
		if v.Name == imageVolume(id) || v.Origin == imageVolume(id) {
			assert.NoError(s, s.group().Remove(context.WithoutCancel(s.Context()), v.Name))
		}
	}
}

// copyOf is what a volume holds, active or not.
func (s *site) copyOf(name string) string {
	s.Helper()
	v, err := s.group().Volume(s.Context(), name)
	require.NoError(s, err)
	if v.Mode == lvm.Off {
		v, err = s.group().Activate(s.Context(), name, lvm.Exclusive)
		require.NoError(s, err)
		defer func() {
			_, err := s.group().Activate(s.Context(), name, lvm.Off)
			require.NoError(s, err)
		}()
	}
	content, err := os.ReadFile(v.Path)
	require.NoError(s, err)
	return string(content)
}

// imageScenes are those of images on the SAN.
func imageScenes() []scene {
	same := func(s *site, a, b string) { assert.Equal(s, s.copyOf(a), s.copyOf(b)) }
	onVM := func(s *site) { s.vm(fakeoned.CloneDisk(0, s.putImage(sanImage), 0)) }
	clone := verb("clone", "frontend:"+imageVolume(sanImage), at("node1", 0), ofImage)
	link := verb("ln", clone[1:])
	cloned := func(s *site) { onVM(s); s.ok("clone", clone[1:]...) }
	linked := func(s *site) { onVM(s); s.ok("ln", link[1:]...) }
	cpds := verb("cpds", at("node1", 0), imageVolume(savedImage), -1, ofImage)
	target := func(s *site) { s.Cleanup(func() { s.dropImage(savedImage) }); s.imageOnSAN(savedImage) }
	saved := func(s *site) { exclusive(s); same(s, volume(0), imageVolume(savedImage)) }
	free := func(s *site) {
		assert.False(s, exists(device(0)))
		v, err := s.group().Volume(s.Context(), imageVolume(sanImage))
		require.NoError(s, err)
		assert.Equal(s, lvm.NewTags("one", lvm.KeyTag("image", sanImage)), v.Tags)
		assert.Equal(s, lvm.Off, v.Mode)
	}
	return []scene{
		{name: "CLONE of a volume", before: onVM, argv: clone, after: func(s *site) { exclusive(s); same(s, volume(0), imageVolume(sanImage)) }},
		{name: "LN of a volume", before: onVM, argv: link, after: func(s *site) {
			target, err := os.Readlink(device(0))
			require.NoError(s, err)
			v, err := s.group().Volume(s.Context(), imageVolume(sanImage))
			require.NoError(s, err)
			assert.Equal(s, v.Path, target)
			assert.Equal(s, lvm.Exclusive, v.Mode)
		}},
		{name: "MVDS of a volume", before: linked, argv: verb("mvds", at("node1", 0), imageVolume(sanImage), ofImage), after: free},
		{name: "DELETE of a volume in place", before: linked, argv: verb("delete", at("node1", 0), ofImage), after: free},
		{name: "CPDS to a new volume", before: func(s *site) { cloned(s); target(s) }, argv: cpds, after: saved},
		{name: "CPDS to a volume", before: func(s *site) { cloned(s); s.putImage(savedImage) }, argv: cpds, after: saved},
		{name: "CPDS of a snapshot to a volume", before: func(s *site) { cloned(s); s.ok("snap_create", ofSnapshot("node1", 0, 0)...); target(s) },
			argv: verb("cpds", at("node1", 0), imageVolume(savedImage), 0, ofImage), after: saved},
		{name: "MVDS to a new volume", before: func(s *site) { cloned(s); target(s) }, argv: verb("mvds", at("node1", 0), imageVolume(savedImage), ofImage),
			after: func(s *site) {
				assert.False(s, exists(device(0)))
				same(s, imageVolume(sanImage), imageVolume(savedImage))
			}},
	}
}

// snapCloneScenes are those of disks that are snapshots of their image.
func snapCloneScenes() []scene {
	snapshots := map[string]string{"CLONE": "snapshot"}
	same := func(s *site) {
		v := s.volume(0)
		assert.Equal(s, imageVolume(sanImage), v.Origin)
		assert.False(s, v.Tags.Has(lvm.TagBuilding))
	}
	onVM := func(s *site) { s.vm(fakeoned.CloneDisk(0, s.putImage(sanImage), 0)) }
	clone := verb("clone", "frontend:"+imageVolume(sanImage), at("node1", 0), ofImage)
	cloned := func(s *site) { onVM(s); s.ok("clone", clone[1:]...) }
	parked := func(s *site) { cloned(s); s.ok("mv", at("node1", 0), at("frontend", 0), ofImage[0], ofImage[1]) }
	is := func(mode lvm.Mode) func(*site) {
		return func(s *site) {
			same(s)
			s.complete(0, mode)
			v, err := s.group().Volume(s.Context(), imageVolume(sanImage))
			require.NoError(s, err)
			assert.Equal(s, mode, v.Mode)
		}
	}
	return []scene{
		{name: "CLONE by snapshot", cxmrc: snapshots, before: onVM, argv: clone, after: is(lvm.Exclusive)},
		{name: "CLONE by snapshot over an earlier one", cxmrc: snapshots, before: cloned, argv: clone, after: is(lvm.Exclusive)},
		{name: "MV of a snapshot to the front-end", cxmrc: snapshots, before: cloned, argv: verb("mv", at("node1", 0), at("frontend", 0), ofImage), after: is(lvm.Off)},
		{name: "MV of a snapshot from the front-end", cxmrc: snapshots, before: parked, argv: verb("mv", at("frontend", 0), at("node2", 0), ofImage), after: is(lvm.Exclusive)},
		{name: "DELETE of a snapshot", cxmrc: snapshots, before: cloned, argv: verb("delete", at("node1", 0), ofImage), after: func(s *site) {
			assert.Equal(s, []string{imageVolume(sanImage)}, s.names())
			assert.False(s, exists(device(0)))
			v, err := s.group().Volume(s.Context(), imageVolume(sanImage))
			require.NoError(s, err)
			assert.Equal(s, lvm.Off, v.Mode)
		}},
	}
}

// A disk that is a snapshot of its image through the life of its VM.
func TestClonesBySnapshot(t *testing.T) {
	s := start(t, testbed.Options{})
	for _, c := range snapCloneScenes() {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			s.settings(nil, c.cxmrc)
			c.before(s)
			s.ok(c.argv[0], c.argv[1:]...)
			c.after(s)
			s.deleteHome()
			assert.Equal(t, []string{imageVolume(sanImage)}, s.names())
		})
	}
	t.Run("the image stays", func(t *testing.T) {
		s := s.in(t)
		s.settings(nil, map[string]string{"CLONE": "snapshot"})
		image := s.putImage(sanImage)
		before := s.copyOf(image.Source)
		s.vm(fakeoned.CloneDisk(0, image, 0))
		s.clone(image, 0)
		assert.Equal(t, before, s.copyOf(volume(0)))
		s.scribble(0, 'x')
		s.failed(s.datastore("rm", sanImage, imageFields{"SOURCE": image.Source}, nil), "disk 0 of VM 42")
		document := encoded(s.oned.Document(fakeoned.VMs, vmID))
		s.failed(s.verbOn(document, "premigrate", "node1", "node2", home, ofSystem[0], ofSystem[1]), "no live migration of VM 42", "CLONE=snapshot")
		s.fails([]string{"CLONE=snapshot"}, "resize", append([]string{at("node1", 0), "48"}, ofImage...)...)
		saved := s.imageOnSAN(savedImage)
		s.Cleanup(func() { s.dropImage(savedImage) })
		s.ok("cpds", append([]string{at("node1", 0), saved.Source, "-1"}, ofImage...)...)
		assert.Equal(t, s.copyOf(volume(0)), s.copyOf(saved.Source))
		s.deleteHome()
		assert.Equal(t, before, s.copyOf(image.Source), "no VM's end touches an image")
		s.unregister(image)
	})
}

// A CLONE that is killed while the image is active for it, and given up, leaves the image as
// it was.
func TestDeleteAfterKilledCloneOfImage(t *testing.T) {
	s := withFailpoints(t, start)
	image := imageVolume(sanImage)
	mode := func() lvm.Mode {
		v, err := s.group().Volume(t.Context(), image)
		require.NoError(t, err)
		return v.Mode
	}
	for where, settings := range map[string]map[string]string{"clone.active": nil, "origin.active": {"CLONE": "snapshot"}} {
		s.settings(nil, settings)
		s.vm(fakeoned.CloneDisk(0, s.putImage(sanImage), 0))
		clone := s.stopAt(scene{argv: verb("clone", "frontend:"+image, at("node1", 0), ofImage)}, instant{name: where})
		require.True(t, killAgents(s, clone))
		s.goOn()
		clone.Wait()
		require.NotEqual(t, lvm.Off, mode(), where)
		s.ok("delete", at("node1", 0), ofImage[0], ofImage[1])
		assert.Equal(t, lvm.Off, mode(), where)
		s.deleteHome()
		s.dropImage(sanImage)
	}
}

// An image on the SAN through the life of a VM: a copy, the image itself, a new image.
func TestImagesOnSAN(t *testing.T) {
	s := start(t, testbed.Options{})
	for _, c := range imageScenes() {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			c.before(s)
			before := s.copyOf(imageVolume(sanImage))
			s.ok(c.argv[0], c.argv[1:]...)
			c.after(s)
			s.deleteHome()
			assert.Equal(t, before, s.copyOf(imageVolume(sanImage)), "no VM's end touches an image")
		})
	}
}

// A persistent image is the disk of one VM only, and stays what the VM made of it.
func TestPersistentImageOnSAN(t *testing.T) {
	s := start(t, testbed.Options{})
	image := s.putImage(sanImage)
	s.vm(fakeoned.CloneDisk(0, image, 0))
	link := append([]string{"frontend:" + image.Source, at("node1", 0)}, ofImage...)
	s.ok("ln", link...)
	other := fmt.Sprintf("node1:%s//datastores/%d/43/disk.1", testbed.Home, fakeoned.SystemDS)
	s.fails([]string{"disk 0 of VM 42"}, "ln", "frontend:"+image.Source, other, "43", strconv.Itoa(fakeoned.ImageDS))
	s.ok("mv", append([]string{at("node1", 0), at("frontend", 0)}, ofImage...)...)
	s.ok("mv", append([]string{at("frontend", 0), at("node2", 0)}, ofImage...)...)
	copied := s.scribble(0, 'x')
	s.deleteDisk(0)
	written, err := os.ReadFile(copied)
	require.NoError(t, err)
	assert.Equal(t, string(written), s.copyOf(image.Source))
	s.deleteHome()
}
