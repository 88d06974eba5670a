//go:build lab

package lab

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lab/cluster"
	"one-clvm/lvm"
	"one-clvm/test/fakeoned"
)

// act is one verb in the life of a VM.
type act struct {
	name   string
	before func(*worker)          // what it needs besides the acts before it, also where it is repeated
	argv   func(*worker) []string // the verb first
	stdin  func(*worker) string
	after  func(*worker) // how it is when it has succeeded; nil: that is seen later
}

// life is what happens to a VM with one disk, from nothing to nothing.
type life struct {
	name string
	disk func(*worker) fakeoned.Disk
	acts []act
}

// at is the VM's disk on a host, other the node that it does not begin on.
func (w *worker) at(host string) string { return at(host, w.id, 0) }

func (w *worker) other() *cluster.Node { return w.Nodes[len(w.Nodes)-w.node.Index] }

func (w *worker) name() string { return volume(w.id, 0) }

// mode: the disk's volume is complete, in that mode on the node, and in no other there.
func (w *worker) mode(n *cluster.Node, mode lvm.Mode) lvm.Volume {
	w.Helper()
	v, found := w.volumes(n)[w.name()]
	require.True(w, found, "no volume %s", w.name())
	assert.False(w, v.Tags.Has(lvm.TagBuilding))
	assert.Equal(w, mode, v.Mode)
	if mode != lvm.Off {
		assert.Equal(w, v.Path+"\n", w.Output(w.T, n, "readlink", home(w.id)+"/disk.0"))
	}
	return v
}

func on(mode lvm.Mode) func(*worker) { return func(w *worker) { w.Helper(); w.mode(w.node, mode) } }

func gone(w *worker) {
	w.Helper()
	assert.NotContains(w, w.volumes(w.node), w.name())
}

// imageArgs and diskArgs end the arguments of most verbs.
func (w *worker) imageArgs() []string  { return of(w.id, fakeoned.ImageDS) }
func (w *worker) systemArgs() []string { return of(w.id, fakeoned.SystemDS) }

func words(argv ...any) []string {
	var out []string
	for _, a := range argv {
		switch a := a.(type) {
		case []string:
			out = append(out, a...)
		case string:
			out = append(out, a)
		}
	}
	return out
}

func (w *worker) document() string {
	return base64.StdEncoding.EncodeToString([]byte(w.oned.Document(fakeoned.VMs, w.id))) + "\n"
}

func (w *worker) plainDocument() string { return w.oned.Document(fakeoned.VMs, w.id) }

func volatileDisk(*worker) fakeoned.Disk { return fakeoned.VolatileDisk(0, "", 8) }

var mkimage = act{name: "MKIMAGE", before: (*worker).forget, argv: func(w *worker) []string {
	return words("mkimage", "8", "raw", w.at(w.node.Name), w.systemArgs())
}, after: on(lvm.Exclusive)}

var deleteDisk = act{name: "DELETE", argv: func(w *worker) []string {
	return words("delete", w.at(w.node.Name), w.imageArgs())
}, after: gone}

var park = act{name: "MV to the front-end", argv: func(w *worker) []string {
	return words("mv", w.at(w.node.Name), w.at("frontend"), w.imageArgs())
}, after: func(w *worker) { assert.True(w, w.mode(w.node, lvm.Off).Tags.Has(lvm.TagParked)) }}

var unpark = act{name: "MV from the front-end", argv: func(w *worker) []string {
	return words("mv", w.at("frontend"), w.at(w.node.Name), w.imageArgs())
}, after: func(w *worker) { assert.False(w, w.mode(w.node, lvm.Exclusive).Tags.Has(lvm.TagParked)) }}

func snapshotOf(verb, host string) func(*worker) []string {
	return func(w *worker) []string {
		h := host
		if h == "" {
			h = w.node.Name
		}
		return words(verb, w.at(h), "0", w.imageArgs())
	}
}

func hasSnapshot(there bool) func(*worker) {
	return func(w *worker) {
		w.Helper()
		_, found := w.volumes(w.node)[w.name()+"_s0"]
		assert.Equal(w, there, found)
		assert.Empty(w, w.volumes(w.node)[w.name()].Tags.Get("reverting"))
	}
}

// snapshotLife: snapshots of a disk, also of one at rest, and its growth.
var snapshotLife = life{"snapshots", volatileDisk, []act{
	mkimage,
	{name: "SNAP_CREATE", argv: snapshotOf("snap_create", ""), after: hasSnapshot(true)},
	{name: "SNAP_REVERT", argv: snapshotOf("snap_revert", ""), after: hasSnapshot(true)},
	park,
	{name: "SNAP_REVERT of a parked disk", argv: snapshotOf("snap_revert", "frontend"), after: hasSnapshot(true)},
	{name: "SNAP_DELETE", argv: snapshotOf("snap_delete", "frontend"), after: hasSnapshot(false)},
	{name: "RESIZE", argv: func(w *worker) []string { return words("resize", w.at("frontend"), "12", w.imageArgs()) },
		after: func(w *worker) { assert.Equal(w, int64(12<<20), w.mode(w.node, lvm.Off).Size) }},
	unpark,
	deleteDisk,
}}

// file is the image file of the worker's VM, made where there is none.
func (w *worker) file(name string) string {
	w.Helper()
	path := filepath.Join(w.directory, name)
	if !exists(path) {
		require.NoError(w, os.WriteFile(path, []byte(strings.Repeat("an image file's text ", 1000)), 0o600))
		require.NoError(w, os.Truncate(path, 8<<20))
	}
	return path
}

func (w *worker) fileImage() fakeoned.Image {
	image := fakeoned.Image{ID: 1000 + w.id, Name: "image", Source: w.file("image"), SizeMiB: 8, Template: map[string]string{"MODE": "RAW"}}
	w.oned.Put(fakeoned.Images, image.ID, image.Document())
	return image
}

func (w *worker) newFile() string {
	path := filepath.Join(w.directory, "new")
	image := fakeoned.Image{ID: 1100 + w.id, Name: "new", Source: path, SizeMiB: 8, Template: map[string]string{"MODE": "RAW"}}
	w.oned.Put(fakeoned.Images, image.ID, image.Document())
	return path
}

func sameFile(name string) func(*worker) {
	return func(w *worker) {
		w.Helper()
		want, err := os.ReadFile(w.file("image"))
		require.NoError(w, err)
		is, err := os.ReadFile(filepath.Join(w.directory, name))
		require.NoError(w, err)
		assert.True(w, string(want) == string(is), "%s has another content", name)
	}
}

func backupArgs(verb string) func(*worker) []string {
	return func(w *worker) []string {
		return words(verb, w.node.Name+":"+home(w.id), "0", "one", "-", w.systemArgs())
	}
}

// saveLife: a persistent image file, saved, backed up and restored.
var saveLife = life{"files", func(w *worker) fakeoned.Disk { return fakeoned.PersistentDisk(0, w.fileImage()) }, []act{
	{name: "LN", before: (*worker).forget, argv: func(w *worker) []string {
		return words("ln", "frontend:"+w.file("image"), w.at(w.node.Name), w.imageArgs())
	}, after: on(lvm.Exclusive)},
	{name: "CPDS of a disk in use", before: (*worker).hold, argv: func(w *worker) []string {
		return words("cpds", w.at(w.node.Name), w.newFile(), w.imageArgs())
	}, after: func(w *worker) { w.release(); sameFile("new")(w) }},
	{name: "PREBACKUP", argv: backupArgs("prebackup"), stdin: (*worker).plainDocument},
	{name: "POSTBACKUP", argv: backupArgs("postbackup")},
	{name: "PREBACKUP_LIVE", before: (*worker).hold, argv: backupArgs("prebackup_live"), stdin: (*worker).plainDocument, after: (*worker).release},
	{name: "POSTBACKUP_LIVE", argv: backupArgs("postbackup_live")},
	{name: "RESTORE", argv: func(w *worker) []string {
		w.backupImage()
		return words("restore", w.node.Name+":"+home(w.id), strconv.Itoa(w.id), strconv.Itoa(1200+w.id), "-1", "0")
	}, after: on(lvm.Exclusive)},
	{name: "MVDS", argv: func(w *worker) []string {
		return words("mvds", w.at(w.node.Name), w.file("image"), w.imageArgs())
	}, after: func(w *worker) { gone(w); sameFile("image")(w) }},
}}

// hold has something open the disk on its node, as a hypervisor would, until release.
func (w *worker) hold() {
	w.Helper()
	if w.holder == "" {
		script := fmt.Sprintf("(exec 3<%s/disk.0; exec sleep 3600) >/dev/null 2>&1 & echo $!", home(w.id))
		w.holder = strings.TrimSpace(w.Output(w.T, w.node, "sh", "-c", script))
	}
}

func (w *worker) release() {
	w.Helper()
	w.Output(w.T, w.node, "sh", "-c", fmt.Sprintf("kill %s; while test -d /proc/%s; do sleep 0.1; done", w.holder, w.holder))
	w.holder = ""
}

// forget has the front-end prove anew that the group's disks are one node's own.
func (w *worker) forget() {
	w.Helper()
	require.NoError(w, os.RemoveAll(w.directory+"/state"))
}

// backupImage stands in for the programs of OpenNebula that find and fetch a backup.
func (w *worker) backupImage() {
	w.Helper()
	image := fakeoned.Image{ID: 1200 + w.id, Name: "backup", Source: "backup", SizeMiB: 8}
	w.oned.Put(fakeoned.Images, image.ID, image.Document())
	for name, text := range map[string]string{
		"clvm/ls":       "#!/bin/sh\necho '{\"0\": \"rsync://backup\"}'\n",
		"downloader.sh": "#!/bin/sh\nexec cat " + w.file("image") + "\n",
	} {
		path := w.write("var/remotes/datastore/"+name, text)
		require.NoError(w, os.Chmod(path, 0o700))
	}
}

func window(verb string) func(*worker) []string {
	return func(w *worker) []string {
		return words(verb, w.node.Name, w.other().Name, home(w.id), w.systemArgs())
	}
}

// windowLife: live migrations, and between nodes.
var windowLife = life{"migrations", volatileDisk, []act{
	mkimage,
	{name: "PREMIGRATE", argv: window("premigrate"), stdin: (*worker).document, after: func(w *worker) { on(lvm.Shared)(w); w.mode(w.other(), lvm.Shared) }},
	{name: "FAILMIGRATE", argv: window("failmigrate"), stdin: (*worker).document, after: func(w *worker) { on(lvm.Exclusive)(w); w.isOff(w.other()) }},
	{name: "PREMIGRATE again", argv: window("premigrate"), stdin: (*worker).document},
	{name: "POSTMIGRATE", argv: window("postmigrate"), stdin: (*worker).document, after: func(w *worker) { w.mode(w.other(), lvm.Exclusive); w.isOff(w.node) }},
	{name: "MV between nodes", argv: func(w *worker) []string {
		return words("mv", w.at(w.other().Name), w.at(w.node.Name), w.imageArgs())
	}, after: func(w *worker) { on(lvm.Exclusive)(w); w.isOff(w.other()) }},
	park,
	{name: "MV to the other node", argv: func(w *worker) []string {
		return words("mv", w.at("frontend"), w.at(w.other().Name), w.imageArgs())
	}, after: func(w *worker) { w.mode(w.other(), lvm.Exclusive) }},
	{name: "DELETE on the other node", argv: func(w *worker) []string {
		return words("delete", w.other().Name+":"+home(w.id), w.systemArgs())
	}, after: gone},
}}

func (w *worker) isOff(n *cluster.Node) {
	w.Helper()
	assert.Equal(w, lvm.Off, w.volumes(n)[w.name()].Mode, "on %s", n.Name)
}

func (w *worker) sanImage(offset int) fakeoned.Image {
	id := offset + w.id
	name := "lv-oneimg-" + strconv.Itoa(id)
	image := fakeoned.Image{ID: id, Name: name, Source: name, SizeMiB: 8}
	w.oned.Put(fakeoned.Images, id, image.Document())
	return image
}

// imageLife: the disk becomes an image on the SAN, which is cloned, and used in place.
var imageLife = life{"images", volatileDisk, []act{
	mkimage,
	{name: "MVDS to a new volume", argv: func(w *worker) []string {
		return words("mvds", w.at(w.node.Name), w.sanImage(2000).Source, w.imageArgs())
	}, after: func(w *worker) { gone(w); w.free() }},
	{name: "CLONE of a volume", argv: func(w *worker) []string {
		w.vm(w.id, w.node.Name, fakeoned.CloneDisk(0, w.sanImage(2000), 0))
		return words("clone", "frontend:"+w.sanImage(2000).Source, w.at(w.node.Name), w.imageArgs())
	}, after: on(lvm.Exclusive)},
	{name: "CPDS of a disk in use to a volume", before: (*worker).hold, argv: func(w *worker) []string {
		return words("cpds", w.at(w.node.Name), w.sanImage(2000).Source, "-1", w.imageArgs())
	}, after: func(w *worker) { w.release(); w.free() }},
	deleteDisk,
	{name: "LN of a volume", argv: func(w *worker) []string {
		w.vm(w.id, w.node.Name, fakeoned.PersistentDisk(0, w.sanImage(2000)))
		return words("ln", "frontend:"+w.sanImage(2000).Source, w.at(w.node.Name), w.imageArgs())
	}},
	{name: "MVDS of a volume", argv: func(w *worker) []string {
		return words("mvds", w.at(w.node.Name), w.sanImage(2000).Source, w.imageArgs())
	}, after: func(w *worker) {
		w.free()
		w.vm(w.id, w.node.Name, volatileDisk(w))
		require.NoError(w, w.group(w.node).Remove(w.Context(), w.sanImage(2000).Source))
	}},
}}

// free: the image is there, whole, and active nowhere.
func (w *worker) free() {
	w.Helper()
	for _, n := range w.Nodes {
		v, found := w.volumes(n)[w.sanImage(2000).Source]
		assert.True(w, found)
		assert.Equal(w, lvm.Off, v.Mode, "on %s", n.Name)
		assert.True(w, v.Tags.Has("one", lvm.KeyTag("image", 2000+w.id)), "tags %q", v.Tags)
		assert.Empty(w, v.Tags.Get(lvm.TagVM))
		assert.False(w, v.Tags.Has(lvm.TagBuilding))
	}
}
