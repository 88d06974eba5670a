//go:build embedded

package embedded

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/tarmode"
	"one-clvm/test/build"
	"one-clvm/test/debian"
	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

// inbox is where users put files that become images.
const inbox = testbed.Scratch + "/inbox"

// imageFields are what a test changes in an image's document; those of the template have
// TEMPLATE/ before their name.
type imageFields map[string]string

// request is the document of a datastore verb, in which the image has no SOURCE yet.
func (*site) action(id int, fields imageFields, settings map[string]string) string {
	ds := map[string]string{"VG_NAME": testbed.Group, "SAFE_DIRS": inbox}
	maps.Copy(ds, settings)
	return fakeoned.DriverAction(id, fields, fakeoned.ImageDatastore(ds))
}

// datastore runs a verb of the datastore driver as oned 7.4 does.
func (s *site) datastore(verb string, id int, fields imageFields, settings map[string]string) testbed.Result {
	s.Helper()
	result, err := s.machine.Run(s.Context(), testbed.Command{
		Argv: []string{testbed.DatastoreVerb(verb), strconv.Itoa(id)}, Stdin: encoded(s.action(id, fields, settings)),
	})
	require.NoError(s, err)
	return result
}

// register makes an image and the record of it; the result is its SOURCE.
func (s *site) register(verb string, id int, fields imageFields, settings map[string]string) fakeoned.Image {
	s.Helper()
	result := s.datastore(verb, id, fields, settings)
	require.Zero(s, result.Status, "%s: %s", verb, result.Stderr)
	require.Empty(s, messages(result.Stderr))
	words := strings.Fields(result.Stdout)
	if verb == "cp" {
		require.Len(s, words, 2, "%q", result.Stdout)
		require.Equal(s, "raw", words[1])
	} else {
		require.Len(s, words, 1, "%q", result.Stdout)
	}
	image := fakeoned.Image{ID: id, Name: fmt.Sprintf("image-%d", id), Source: words[0], SizeMiB: 8, Template: map[string]string{}}
	for name, value := range fields {
		if inner, ok := strings.CutPrefix(name, "TEMPLATE/"); ok {
			image.Template[inner] = value
		}
	}
	s.oned.Put(fakeoned.Images, id, image.Document())
	return image
}

func (s *site) unregister(image fakeoned.Image) {
	s.Helper()
	for range 2 { // what is gone is gone
		result := s.datastore("rm", image.ID, imageFields{"SOURCE": image.Source}, nil)
		require.Zero(s, result.Status, result.Stderr)
		require.Empty(s, result.Stdout)
	}
}

// deposit puts a file into the inbox.
func (s *site) deposit(name string, content []byte) string {
	s.Helper()
	require.NoError(s, os.MkdirAll(inbox, 0o755))
	path := filepath.Join(inbox, name)
	require.NoError(s, os.WriteFile(path, content, 0o644))
	return path
}

// packedBy is a file's content, compressed by a program.
func (s *site) packedBy(path string, argv ...string) []byte {
	s.Helper()
	return []byte(s.root(append(argv, path)...))
}

// Every form of a source becomes the same image on the SAN, and every VM's disk is a copy.
func TestImagesFromEverySource(t *testing.T) {
	s := start(t, testbed.Options{})
	disk := make([]byte, 8<<20)
	for _, at := range []int{0, 3 << 20, 8<<20 - 4096} {
		copy(disk[at:], randomBytes(t, 4096))
	}
	raw := s.deposit("disk.raw", disk)
	converted := filepath.Join(inbox, "disk.qcow2")
	s.root("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, converted)
	s.root("chmod", "644", converted)
	server := httptest.NewServer(http.FileServer(http.Dir(inbox)))
	t.Cleanup(server.Close)
	paths := map[string]string{"raw": raw, "qcow2": converted, "http": server.URL + "/disk.raw", "http, qcow2": server.URL + "/disk.qcow2"}
	for name, argv := range map[string][]string{"gzip": {"gzip", "-c"}, "bzip2": {"bzip2", "-c"}, "xz": {"xz", "-c"}, "zstd": {"zstd", "-q", "-c"}} {
		paths[name] = s.deposit("disk."+name, s.packedBy(raw, argv...))
		paths["qcow2, "+name] = s.deposit("disk.qcow2."+name, s.packedBy(converted, argv...))
	}
	for name, path := range paths {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			stat := s.datastore("stat", 0, imageFields{"PATH": path}, nil)
			require.Zero(t, stat.Status, stat.Stderr)
			assert.Equal(t, "8\n", stat.Stdout)
			image := s.register("cp", sanImage, imageFields{"PATH": path}, nil)
			assert.Equal(t, imageVolume(sanImage), image.Source)
			assert.True(t, string(disk) == s.copyOf(image.Source), "the image is the disk")
			v, err := s.group().Volume(t.Context(), image.Source)
			require.NoError(t, err)
			assert.Equal(t, lvm.Off, v.Mode)
			assert.Equal(t, "20:iQ", v.Tags.Get(lvm.TagData), "MiB 0, 3 and 7")
			s.vm(fakeoned.CloneDisk(0, image, 0))
			s.clone(image, 0)
			assert.True(t, string(disk) == s.copyOf(volume(0)), "so is the VM's disk")
			s.deleteHome()
			s.unregister(image)
		})
	}
	t.Run("vol and clone", func(t *testing.T) {
		s := s.in(t)
		image := s.register("cp", sanImage, imageFields{"PATH": raw}, nil)
		s.oned.Put(fakeoned.Datastores, fakeoned.ImageDS, fakeoned.ImageDatastore(map[string]string{"VG_NAME": testbed.Group}))
		second := s.register("cp", savedImage, imageFields{"PATH": fmt.Sprintf("vol://%d", sanImage)}, nil)
		third := s.register("clone", 10, imageFields{"PATH": image.Source}, nil)
		for _, one := range []fakeoned.Image{second, third} {
			assert.True(t, string(disk) == s.copyOf(one.Source))
			s.unregister(one)
		}
		s.unregister(image)
	})
	t.Run("lvm", func(t *testing.T) {
		s := s.in(t)
		image := s.register("cp", sanImage, imageFields{"PATH": raw}, nil)
		vm := fakeoned.VM{ID: vmID, Name: "vm", Host: "node1", Disks: []fakeoned.Disk{fakeoned.CloneDisk(0, image, 0)}}
		s.oned.Put(fakeoned.VMs, vmID, vm.Document())
		s.clone(image, 0)
		path := imageFields{"PATH": fmt.Sprintf("lvm://%d/0", vmID)}
		s.failed(s.datastore("cp", savedImage, path, nil), "may be writing")
		vm.State = 5 // SUSPENDED
		s.oned.Put(fakeoned.VMs, vmID, vm.Document())
		saved := s.register("cp", savedImage, path, nil)
		assert.True(t, string(disk) == s.copyOf(saved.Source))
		s.complete(0, lvm.Exclusive)
		s.deleteHome()
		s.unregister(saved)
		s.unregister(image)
	})
	t.Run("refused", func(t *testing.T) {
		s := s.in(t)
		secret := filepath.Join(testbed.Scratch, "secret")
		require.NoError(t, os.WriteFile(secret, []byte("key"), 0o644))
		require.NoError(t, os.Symlink(secret, filepath.Join(inbox, "link")))
		s.root("qemu-img", "create", "-q", "-f", "qcow2", "-b", raw, "-F", "raw", filepath.Join(inbox, "backed"))
		s.root("chmod", "644", filepath.Join(inbox, "backed"))
		for path, want := range map[string]string{
			secret: "restricted", filepath.Join(inbox, "link"): "restricted", filepath.Join(inbox, "backed"): "backing file",
			"/var/lib/one/.one/one_auth": "restricted", server.URL + "/none": "404",
		} {
			s.failed(s.datastore("cp", sanImage, imageFields{"PATH": path}, nil), want)
		}
		s.failed(s.datastore("cp", sanImage, imageFields{"PATH": raw, "TEMPLATE/SHA256": strings.Repeat("0", 64)}, nil), "checksum")
	})
}

// An archive stays one, or becomes a volume with a file system; either deploys.
func TestImagesFromArchives(t *testing.T) {
	s := start(t, testbed.Options{})
	require.NoError(t, os.MkdirAll(inbox, 0o755))
	tree := smallTree(t)
	path := filepath.Join(inbox, "root.tgz")
	_, err := debian.Pack(t.Context(), tree, path, tarmode.TGZ)
	require.NoError(t, err)
	for name, settings := range map[string]map[string]string{"archive": nil, "volume": {"UNPACK": "True"}} {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			image := s.register("cp", sanImage, imageFields{"PATH": path, "TEMPLATE/MODE": "TGZ", "TEMPLATE/SIZE": "64M", "TEMPLATE/FSTYPE": "ext4"}, settings)
			assert.Equal(t, name == "archive", strings.HasPrefix(image.Source, "/"))
			s.vm(fakeoned.CloneDisk(0, image, 0))
			s.clone(image, 0)
			s.sameTree(tree, 0, "ext4")
			s.checked(0, "ext4")
			s.deleteHome()
			s.unregister(image)
		})
	}
}

// A datablock of every type, used in place by a VM.
func TestDatablocks(t *testing.T) {
	s := start(t, testbed.Options{})
	for _, fstype := range []string{"ext2", "ext3", "ext4", "xfs", "btrfs", "vfat", "swap", ""} {
		t.Run("FS "+fstype, func(t *testing.T) {
			s := s.in(t)
			_, mib := sizeFor(fstype)
			image := s.register("mkfs", sanImage, imageFields{"SIZE": strconv.FormatInt(mib, 10), "FORMAT": "raw", "FS": fstype}, nil)
			s.vm(fakeoned.PersistentDisk(1, image))
			s.ok("ln", append([]string{"frontend:" + image.Source, at("node1", 1)}, ofImage...)...)
			s.isFileSystem(1, fstype)
			s.ok("mvds", append([]string{at("node1", 1), image.Source}, ofImage...)...)
			s.deleteHome()
			s.unregister(image)
		})
	}
}

// What an image waits for: the content of a disk, as a volume, or as what MODE says.
func TestSaveAs(t *testing.T) {
	s := start(t, testbed.Options{Agent: map[string]string{"READ_GUEST_FS": "True"}})
	tree := smallTree(t)
	base := s.tarImage(7, "64M", nil)
	s.pack(tree, base)
	for _, mode := range []string{"RAW", "GZIP", "TGZ", "ZSTD", "TZST"} {
		t.Run(mode, func(t *testing.T) {
			s := s.in(t)
			settings := map[string]string{"MODE": mode, "VG_NAME": testbed.Group}
			s.oned.Put(fakeoned.Datastores, fakeoned.ImageDS, fakeoned.ImageDatastore(settings))
			saved := s.register("mkfs", savedImage, imageFields{"FORMAT": "save_as", "SIZE": "64"}, settings)
			assert.Equal(t, mode == "RAW", saved.Source == imageVolume(savedImage))
			s.vm(fakeoned.CloneDisk(0, base, 0))
			s.clone(base, 0)
			s.ok("cpds", append([]string{at("node1", 0), saved.Source, "-1"}, ofImage...)...)
			s.deleteHome()
			s.vm(fakeoned.CloneDisk(0, saved, 0))
			s.ok("clone", append([]string{"frontend:" + saved.Source, at("node1", 0)}, ofImage...)...)
			s.sameTree(tree, 0, "ext4")
			s.deleteHome()
			s.unregister(saved)
		})
	}
}

// datastoreScenes are the verbs that change something on the SAN, for the kill matrix.
func datastoreScenes() []scene {
	content := strings.Repeat("data", 2<<20)
	fields := imageFields{"PATH": filepath.Join(inbox, "scene.raw")}
	on := func(id int, fields imageFields) func(*site) string {
		return func(s *site) string { return encoded(s.action(id, fields, nil)) }
	}
	source := func(s *site) {
		s.Cleanup(func() { s.dropImage(sanImage) })
		s.deposit("scene.raw", []byte(content))
	}
	made := func(s *site) { source(s); s.register("cp", sanImage, fields, nil) }
	whole := func(id int) func(*site) {
		return func(s *site) { assert.True(s, content == s.copyOf(imageVolume(id))) }
	}
	return []scene{
		{name: "cp of an image", before: source, argv: verb("datastore/cp", sanImage), stdin: on(sanImage, fields), after: whole(sanImage)},
		{name: "mkfs of an image", before: source, argv: verb("datastore/mkfs", sanImage), stdin: on(sanImage, imageFields{"FORMAT": "raw", "FS": "ext4"}),
			after: func(s *site) {
				v, err := s.group().Volume(s.Context(), imageVolume(sanImage))
				require.NoError(s, err)
				assert.Equal(s, "ext4", v.Tags.Get(lvm.TagFSType))
				assert.Equal(s, lvm.Off, v.Mode)
			}},
		{name: "clone of an image", before: func(s *site) { made(s); s.Cleanup(func() { s.dropImage(savedImage) }) }, argv: verb("datastore/clone", savedImage),
			stdin: on(savedImage, imageFields{"PATH": imageVolume(sanImage)}), after: whole(savedImage)},
		{name: "rm of an image of gfs2clvm", before: func(s *site) { s.putOldImage() }, argv: verb("datastore/rm", sanImage), stdin: on(sanImage, imageFields{"SOURCE": oldSource}),
			after: func(s *site) { assert.NotContains(s, s.names(), oldVolume) }},
		{name: "rm of an image", before: made, argv: verb("datastore/rm", sanImage), stdin: on(sanImage, imageFields{"SOURCE": imageVolume(sanImage)}),
			after: func(s *site) { assert.NotContains(s, s.names(), imageVolume(sanImage)) }},
	}
}

// imageSnapshotScenes are the verbs on the snapshots of an image: 0 and 1 were taken while a
// VM used it in place.
func imageSnapshotScenes() []scene {
	var contents []string
	before := func(s *site) {
		contents = s.snappedImage()
	}
	on := func(number string) func(*site) string {
		return func(s *site) string {
			return encoded(s.action(sanImage, imageFields{"SOURCE": imageVolume(sanImage), "TARGET_SNAPSHOT": number}, nil))
		}
	}
	is := func(content int, left ...string) func(*site) {
		return func(s *site) {
			assert.Equal(s, append([]string{imageVolume(sanImage)}, left...), s.names())
			assert.True(s, contents[content] == s.copyOf(imageVolume(sanImage)), "the content")
			v, err := s.group().Volume(s.Context(), imageVolume(sanImage))
			require.NoError(s, err)
			assert.Equal(s, lvm.NewTags("one", lvm.KeyTag("image", sanImage)), v.Tags)
			assert.Equal(s, lvm.Off, v.Mode)
		}
	}
	first, second := imageVolume(sanImage)+"_s0", imageVolume(sanImage)+"_s1"
	return []scene{
		{name: "snap_delete of an image", before: before, argv: verb("datastore/snap_delete", sanImage), stdin: on("0"), after: is(2, second)},
		{name: "snap_revert of an image", before: before, argv: verb("datastore/snap_revert", sanImage), stdin: on("1"), after: is(1, first, second)},
		{name: "snap_flatten of an image", before: before, argv: verb("datastore/snap_flatten", sanImage), stdin: on("0"), after: is(0)},
	}
}

// snappedImage makes an image, and has a VM use it in place and take snapshots 0 and 1 of it.
// The result are their contents, and what the image holds at the end.
func (s *site) snappedImage() (contents []string) {
	s.Helper()
	image := s.putImage(sanImage)
	s.vm(fakeoned.PersistentDisk(0, image))
	s.ok("ln", append([]string{"frontend:" + image.Source, at("node1", 0)}, ofImage...)...)
	for number := range 2 {
		contents = append(contents, s.copyOf(image.Source))
		s.ok("snap_create", ofSnapshot("node1", 0, number)...)
		s.scribble(0, byte(number))
	}
	contents = append(contents, s.copyOf(image.Source))
	s.ok("mvds", append([]string{at("node1", 0), image.Source}, ofImage...)...)
	return contents
}

// The snapshots of an image are its own: they outlive the VM in which they were taken, and
// the next one has them.
func TestSnapshotsOfImages(t *testing.T) {
	s := start(t, testbed.Options{})
	for _, c := range imageSnapshotScenes() {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			c.before(s)
			result, err := s.machine.Run(t.Context(), testbed.Command{Argv: []string{testbed.DatastoreVerb(strings.TrimPrefix(c.argv[0], "datastore/")), c.argv[1]}, Stdin: c.stdin(s)})
			require.NoError(t, err)
			require.Zero(t, result.Status, result.Stderr)
			require.Empty(t, result.Stdout)
			c.after(s)
			s.deleteHome()
		})
	}
	t.Run("in the next VM", func(t *testing.T) {
		s := s.in(t)
		contents := s.snappedImage()
		s.ok("ln", append([]string{"frontend:" + imageVolume(sanImage), at("node1", 0)}, ofImage...)...)
		s.ok("snap_revert", ofSnapshot("node1", 0, 0)...)
		s.ok("snap_delete", ofSnapshot("node1", 0, 1)...)
		s.deleteDisk(0)
		s.deleteHome()
		assert.True(t, contents[0] == s.copyOf(imageVolume(sanImage)))
		assert.Equal(t, []string{imageVolume(sanImage), imageVolume(sanImage) + "_s0"}, s.names())
		s.unregister(fakeoned.Image{ID: sanImage, Source: imageVolume(sanImage)})
	})
}

// The calls that a real oned made, as it made them.
func TestRecordedDatastoreCalls(t *testing.T) {
	s := start(t, testbed.Options{})
	raw := make([]byte, 64<<20)
	copy(raw, "boot")
	path := s.deposit("test.raw", raw)
	root, err := build.Repository()
	require.NoError(t, err)
	trace, err := os.ReadFile(filepath.Join(root, "opennebula/testdata/trace.txt"))
	require.NoError(t, err)
	call := regexp.MustCompile(`(?m)^datastore/clvm/([a-z_]+) ([0-9]+) .*calls/(\S+?)>`)
	made := map[string]string{}
	seen := map[string]int{}
	for _, m := range call.FindAllStringSubmatch(string(trace), -1) {
		verb, id := m[1], m[2]
		document, err := os.ReadFile(filepath.Join(root, "opennebula/testdata/calls", m[3]))
		require.NoError(t, err)
		text := strings.NewReplacer("/srv/images/test.raw", path, "<![CDATA[/var/tmp]]>", "<![CDATA["+inbox+"]]>", "<SIZE>2048</SIZE>", "<SIZE>64</SIZE>", "<SIZE>1024</SIZE>", "<SIZE>64</SIZE>").Replace(string(document))
		result, err := s.machine.Run(t.Context(), testbed.Command{Argv: []string{testbed.DatastoreVerb(verb), id}, Stdin: encoded(text)})
		require.NoError(t, err)
		require.Zero(t, result.Status, "%s: %s", m[0], result.Stderr)
		seen[verb]++
		switch verb {
		case "monitor":
			assert.Regexp(t, `^USED_MB=\d+\nTOTAL_MB=\d+\nFREE_MB=\d+\n$`, result.Stdout)
		case "stat":
			assert.Equal(t, "64\n", result.Stdout)
		case "cp":
			assert.Equal(t, "lv-oneimg-"+id+" raw\n", result.Stdout)
			made[id] = text
		case "mkfs":
			assert.Equal(t, "lv-oneimg-"+id+"\n", result.Stdout)
			made[id] = text
		}
	}
	assert.Equal(t, map[string]int{"monitor": 10, "stat": 2, "cp": 2, "mkfs": 5}, seen)
	assert.Equal(t, []string{"lv-oneimg-0", "lv-oneimg-1", "lv-oneimg-2", "lv-oneimg-3"}, s.names(), "the others wait for a disk")
	for id, text := range made {
		text = strings.Replace(text, "<SOURCE><![CDATA[]]></SOURCE>", "<SOURCE>lv-oneimg-"+id+"</SOURCE>", 1)
		result, err := s.machine.Run(t.Context(), testbed.Command{Argv: []string{testbed.DatastoreVerb("rm"), id}, Stdin: encoded(text)})
		require.NoError(t, err)
		require.Zero(t, result.Status, result.Stderr)
	}
}
