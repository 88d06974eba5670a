//go:build lab

package lab

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cxmrc"
	"one-clvm/lab/cluster"
	"one-clvm/lvm"
	"one-clvm/tarmode"
	"one-clvm/test/debian"
	"one-clvm/test/fakeoned"
)

// checkers are what says of a device that a file system is whole.
var checkers = map[string][]string{
	"ext2": {"e2fsck", "-fn"}, "ext3": {"e2fsck", "-fn"}, "ext4": {"e2fsck", "-fn"}, "xfs": {"xfs_repair", "-n"},
	"btrfs": {"btrfs", "check", "--readonly"}, "vfat": {"fsck.vfat", "-n"}, "swap": {"swaplabel"},
}

// mkfsCases: datablocks of every type.
func mkfsCases() map[string]func(*worker) {
	cases := map[string]func(*worker){"mkfs of nothing": func(w *worker) {
		w.imageIs(w.register("mkfs", w.id, fields{"FORMAT": "raw"}, nil), nil)
		w.refused("mkfs", w.id+1, fields{"FORMAT": "qcow2"}, nil, "raw disk")
	}}
	for _, fstype := range cxmrc.FSTypes {
		cases["mkfs of "+fstype] = func(w *worker) { w.datablock(fstype) }
	}
	return cases
}

// smallest is a size in MiB that the type's own program takes.
func smallest(fstype string) string {
	switch fstype {
	case "xfs":
		return "300"
	case "btrfs":
		return "256"
	}
	return "16"
}

func (w *worker) datablock(fstype string) {
	w.Helper()
	image := w.register("mkfs", w.id, fields{"FORMAT": "raw", "FS": fstype, "SIZE": smallest(fstype)}, nil)
	assert.Equal(w, fstype, w.volumes(w.node)[image.Source].Tags.Get(lvm.TagFSType))
	w.whileActive(w.node, image.Source, func(path string) {
		assert.Equal(w, fstype+"\n", w.Output(w.T, w.node, "blkid", "-p", "-s", "TYPE", "-o", "value", path))
		w.Output(w.T, w.node, append(checkers[fstype], path)...)
	})
}

// deployCases: disks of images on the SAN and in files, in place and as copies, and back.
func deployCases(from images) map[string]func(*worker) {
	return map[string]func(*worker){
		"LN from the SAN":    func(w *worker) { w.inPlace(from) },
		"LN from a file":     func(w *worker) { w.ofFile(from) },
		"CLONE from the SAN": func(w *worker) { w.copies(w.register("cp", w.id, fields{"PATH": from.raw}, nil), from.disk) },
		"CLONE from a file": func(w *worker) {
			w.copies(w.imageFile(w.id, from.raw, map[string]string{"MODE": "RAW"}), from.disk)
			assert.Equal(w, from.disk, w.read(from.raw))
		},
		"save under each mode": func(w *worker) { w.savedInEachMode(from) },
	}
}

func (w *worker) read(path string) []byte {
	w.Helper()
	content, err := os.ReadFile(path)
	require.NoError(w, err)
	return content
}

const written = "what the guest wrote "

// guestWrites: the guest writes onto its disk.
func (w *worker) guestWrites() {
	w.Helper()
	w.fill(w.node, home(w.id)+"/disk.0", written, 1<<20, 1<<20)
}

// guestWrote is what becomes of the content of a disk.
func guestWrote(disk []byte) []byte {
	changed := bytes.Clone(disk)
	copy(changed[1<<20:], bytes.Repeat([]byte(written), 1<<20/len(written)))
	return changed
}

// inPlace: a persistent image is the disk itself, on the node of its VM and on no other.
func (w *worker) inPlace(from images) {
	w.Helper()
	image := w.register("cp", w.id, fields{"PATH": from.raw}, nil)
	disk := fakeoned.PersistentDisk(0, image)
	w.vm(w.id, w.node.Name, disk)
	w.ok("ln", words("frontend:"+image.Source, w.at(w.node.Name), w.imageArgs())...)
	v := w.volumes(w.node)[image.Source]
	assert.Equal(w, lvm.Exclusive, v.Mode)
	assert.Equal(w, v.Path+"\n", w.Output(w.T, w.node, "readlink", home(w.id)+"/disk.0"))
	assert.NotContains(w, w.volumes(w.node), w.name(), "nothing was copied")

	other := w.id + 1
	w.vm(other, w.other().Name, disk)
	second := w.verb(nil, "ln", words("frontend:"+image.Source, at(w.other().Name, other, 0), of(other, fakeoned.ImageDS))...)
	assert.NotZero(w, second.status)
	_, err := w.group(w.other()).Activate(w.Context(), image.Source, lvm.Exclusive)
	require.ErrorIs(w, err, lvm.ErrLocked)
	r := w.datastore("rm", image.ID, fields{"SOURCE": image.Source}, nil)
	assert.NotZero(w, r.status, "an image in use is not removed")

	w.guestWrites()
	w.ok("mvds", words(w.at(w.node.Name), image.Source, w.imageArgs())...)
	w.imageIs(image, guestWrote(from.disk))
	w.vm(other, w.other().Name, fakeoned.CloneDisk(0, image, 0))
	w.ok("clone", words("frontend:"+image.Source, at(w.other().Name, other, 0), of(other, fakeoned.ImageDS))...)
	elsewhere := *w
	elsewhere.node = w.other()
	elsewhere.deviceIs(home(other)+"/disk.0", guestWrote(from.disk))
}

// ofFile: a persistent image in a file is copied onto the SAN and back.
func (w *worker) ofFile(from images) {
	w.Helper()
	path := filepath.Join(w.files(), "persistent")
	require.NoError(w, os.WriteFile(path, from.disk, 0o644))
	image := w.imageFile(w.id, path, map[string]string{"MODE": "RAW"})
	w.vm(w.id, w.node.Name, fakeoned.PersistentDisk(0, image))
	w.ok("ln", words("frontend:"+image.Source, w.at(w.node.Name), w.imageArgs())...)
	w.mode(w.node, lvm.Exclusive)
	w.isOff(w.other())
	w.guestWrites()
	w.ok("mvds", words(w.at(w.node.Name), image.Source, w.imageArgs())...)
	gone(w)
	content := w.read(path)
	require.GreaterOrEqual(w, len(content), len(from.disk))
	assert.True(w, bytes.Equal(guestWrote(from.disk), content[:len(from.disk)]), "the file has another content")
	assert.Empty(w, bytes.Trim(content[len(from.disk):], "\x00"))
}

// copies: every VM has a disk of its own, on its node, and the image stays as it is.
func (w *worker) copies(image fakeoned.Image, content []byte) {
	w.Helper()
	for i, n := range []*cluster.Node{w.node, w.other()} {
		own := *w
		own.id, own.node = w.id+i, n
		own.vm(own.id, n.Name, fakeoned.CloneDisk(0, image, 0))
		own.ok("clone", words("frontend:"+image.Source, own.at(n.Name), own.imageArgs())...)
		own.mode(n, lvm.Exclusive)
		own.isOff(own.other())
		own.deviceIs(home(own.id)+"/disk.0", content)
		own.guestWrites()
	}
	if !strings.HasPrefix(image.Source, "/") {
		w.imageIs(image, content)
	}
}

// savedInEachMode: one disk, saved as all that the datastore's MODE can say.
func (w *worker) savedInEachMode(from images) {
	w.Helper()
	base := w.imageFile(w.id, from.tgz, map[string]string{"MODE": "TGZ", "SIZE": "16M", "FSTYPE": "ext4"})
	w.vm(w.id, w.node.Name, fakeoned.CloneDisk(0, base, 0))
	w.ok("clone", words("frontend:"+base.Source, w.at(w.node.Name), w.imageArgs())...)
	path := home(w.id) + "/disk.0"
	sum := w.sum(path)
	for i, mode := range []tarmode.Mode{tarmode.RAW, tarmode.GZIP, tarmode.TGZ, tarmode.ZSTD, tarmode.TZST} {
		ds, settings := 110+i, map[string]string{"MODE": string(mode)}
		w.putDatastore(ds, settings)
		saved := w.register("mkfs", w.id+1+i, fields{"FORMAT": "save_as", "SIZE": "16"}, settings)
		assert.NotContains(w, w.volumes(w.node), saved.Source, "it waits for the disk")
		w.ok("cpds", words(w.at(w.node.Name), saved.Source, "-1", strconv.Itoa(w.id), strconv.Itoa(ds))...)
		switch {
		case mode == tarmode.RAW:
			w.whileActive(w.node, saved.Source, func(path string) { w.hasTree(from, path); assert.Equal(w, sum, w.sum(path)) })
		case mode.Tar():
			tree := filepath.Join(w.files(), "unpacked-"+string(mode))
			require.NoError(w, debian.Unpack(w.Context(), saved.Source, tree))
			differences, err := debian.Differences(w.Context(), from.tree, tree)
			require.NoError(w, err)
			assert.Empty(w, differences)
			assert.Contains(w, w.oned.Document(fakeoned.Images, saved.ID), "<MODE><![CDATA["+string(mode)+"]]>")
		default:
			assert.Equal(w, sum, w.sumOfFile(saved.Source, mode))
		}
	}
}

// sumOfFile is the checksum of the disk in a compressed file.
func (w *worker) sumOfFile(path string, mode tarmode.Mode) string {
	w.Helper()
	file, err := os.Open(path)
	require.NoError(w, err)
	defer file.Close() // only read
	plain, err := tarmode.Decompress(file, mode)
	require.NoError(w, err)
	sum := sha256.New()
	_, err = io.Copy(sum, plain)
	require.NoError(w, errors.Join(err, plain.Close()))
	return hex.EncodeToString(sum.Sum(nil))
}
