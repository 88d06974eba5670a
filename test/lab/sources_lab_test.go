//go:build lab

package lab

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/test/fakeoned"
)

// sourceCases: each form of a source of cp becomes an image with just its content.
func sourceCases(from images) map[string]func(*worker) {
	cases := map[string]func(*worker){
		"http, cut off once":      func(w *worker) { w.fetched(from) },
		"lvm of a suspended VM":   func(w *worker) { w.copiedOfVM(suspended) },
		"lvm of a stopped VM":     func(w *worker) { w.copiedOfVM(stopped) },
		"vol, clone, export, rm":  func(w *worker) { w.copiedOfImage(from) },
		"checksums":               func(w *worker) { w.checked(from) },
		"NO_DECOMPRESS":           func(w *worker) { w.asItIs(from) },
		"LIMIT_TRANSFER_BW":       func(w *worker) { w.slowly() },
		"an archive that is kept": func(w *worker) { w.archived(from, from.tgz, "TGZ", nil) },
		"an archive that is unpacked": func(w *worker) {
			w.archived(from, from.tzst, "TZST", map[string]string{"UNPACK": "True"})
		},
	}
	qcow2 := func(w *worker) string { return w.packed(from.raw, "qemu-img", "convert", "-f", "raw", "-O", "qcow2") }
	for name, path := range map[string]func(*worker) string{
		"a path":         func(*worker) string { return from.raw },
		"gzip":           func(w *worker) string { return w.packed(from.raw, "gzip", "-c") },
		"bzip2":          func(w *worker) string { return w.packed(from.raw, "bzip2", "-c") },
		"xz":             func(w *worker) string { return w.packed(from.raw, "xz", "-c") },
		"zstd":           func(w *worker) string { return w.packed(from.raw, "zstd", "-q", "-c") },
		"QCOW2":          qcow2,
		"QCOW2, in zstd": func(w *worker) string { return w.packed(qcow2(w), "zstd", "-q", "-c") },
	} {
		cases[name] = func(w *worker) {
			path := path(w)
			stat := w.datastore("stat", w.id, fields{"PATH": path}, nil)
			require.Zero(w, stat.status, stat.stderr)
			assert.Equal(w, "8\n", stat.stdout)
			w.imageIs(w.register("cp", w.id, fields{"PATH": path}, nil), from.disk)
		}
	}
	return cases
}

// breaking serves a directory; the first answer breaks off in the middle.
type breaking struct {
	http.Handler
	mutex  sync.Mutex
	ranges []string // that were asked for
}

func (b *breaking) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mutex.Lock()
	first := len(b.ranges) == 0
	b.ranges = append(b.ranges, r.Header.Get("Range"))
	b.mutex.Unlock()
	if first {
		w = &brokenOff{w, 3 << 20}
	}
	b.Handler.ServeHTTP(w, r)
}

type brokenOff struct {
	http.ResponseWriter
	left int
}

func (b *brokenOff) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		panic(http.ErrAbortHandler)
	}
	return b.ResponseWriter.Write(p)
}

// fetched: what a broken connection did not bring, another one does, and only that.
func (w *worker) fetched(from images) {
	w.Helper()
	b := &breaking{Handler: http.FileServer(http.Dir(filepath.Dir(from.raw)))}
	server := httptest.NewServer(b)
	defer server.Close()
	w.imageIs(w.register("cp", w.id, fields{"PATH": server.URL + "/" + filepath.Base(from.raw)}, nil), from.disk)
	require.Len(w, b.ranges, 2)
	assert.Regexp(w, `^bytes=[1-9][0-9]*-$`, b.ranges[1])
	w.refused("cp", w.id+1, fields{"PATH": server.URL + "/none"}, nil, "404")
}

// The states of VMs whose disks can be copied, by oned's numbers.
const (
	stopped   = 4
	suspended = 5
)

// copiedOfVM: the disk of a VM at rest becomes an image, and stays as and where it is.
func (w *worker) copiedOfVM(state int) {
	w.Helper()
	disk := volatileDisk(w)
	vm := fakeoned.VM{ID: w.id, Name: "vm", Host: w.node.Name, Disks: []fakeoned.Disk{disk}}
	w.oned.Put(fakeoned.VMs, w.id, vm.Document())
	w.ok("mkimage", words("8", "raw", w.at(w.node.Name), w.systemArgs())...)
	content := bytes.Repeat([]byte("guest"), 100_000)
	w.fill(w.node, home(w.id)+"/disk.0", string(content), 0, int64(len(content)))
	path := fields{"PATH": fmt.Sprintf("lvm://%d/0", w.id)}
	w.refused("cp", w.id, path, nil, "may be writing")

	mode := lvm.Exclusive
	if state == stopped {
		mode = lvm.Off
		w.ok("mv", words(w.at(w.node.Name), w.at("frontend"), w.imageArgs())...)
	}
	vm.State = state
	w.oned.Put(fakeoned.VMs, w.id, vm.Document())
	before := w.volumes(w.node)[w.name()]
	require.Equal(w, mode, before.Mode)
	w.imageIs(w.register("cp", w.id, path, nil), content)
	assert.Equal(w, before, w.volumes(w.node)[w.name()])
}

// copiedOfImage: images of an image on the SAN, of one that is a file, and the image's end.
func (w *worker) copiedOfImage(from images) {
	w.Helper()
	first := w.register("cp", w.id, fields{"PATH": from.raw}, nil)
	second := w.register("cp", w.id+1, fields{"PATH": fmt.Sprintf("vol://%d", first.ID)}, nil)
	w.imageIs(second, from.disk)
	w.imageIs(w.register("clone", w.id+2, fields{"PATH": first.Source}, nil), from.disk)
	path := filepath.Join(w.files(), fmt.Sprintf("image-%d", w.id+3))
	require.NoError(w, os.Link(from.raw, path))
	file := w.imageFile(w.id+3, path, map[string]string{"MODE": "RAW"})
	w.imageIs(w.register("cp", w.id+4, fields{"PATH": fmt.Sprintf("vol://%d", file.ID)}, nil), from.disk)

	exported := w.datastore("export", first.ID, fields{"SOURCE": first.Source}, nil)
	require.Zero(w, exported.status, exported.stderr)
	var market struct {
		Source string `xml:"IMPORT_SOURCE"`
	}
	require.NoError(w, xml.Unmarshal([]byte(exported.stdout), &market))
	w.imageIs(w.register("cp", w.id+5, fields{"PATH": market.Source}, map[string]string{"SAFE_DIRS": filepath.Dir(market.Source)}), from.disk)
	require.NoError(w, os.Remove(market.Source))

	monitor := w.datastore("monitor", 100, nil, nil)
	require.Zero(w, monitor.status, monitor.stderr)
	assert.Regexp(w, `^USED_MB=\d+\nTOTAL_MB=\d+\nFREE_MB=\d+\n$`, monitor.stdout)
	for range 2 { // what is gone is gone
		gone := w.datastore("rm", first.ID, fields{"SOURCE": first.Source}, nil)
		require.Zero(w, gone.status, gone.stderr)
		assert.NotContains(w, w.volumes(w.node), first.Source)
	}
	w.imageIs(second, from.disk)
}

// checked: a file that is not the one that the record means becomes no image.
func (w *worker) checked(from images) {
	w.Helper()
	right := sums(from.disk).with("PATH", from.raw)
	w.imageIs(w.register("cp", w.id, right, nil), from.disk)
	for name, value := range sums(from.disk[1:]) {
		w.refused("cp", w.id+1, right.with(name, value), nil, "wrong checksum")
	}
}

// asItIs: the file's bytes are the disk, whatever they look like.
func (w *worker) asItIs(from images) {
	w.Helper()
	path := w.packed(from.raw, "gzip", "-c")
	content, err := os.ReadFile(path)
	require.NoError(w, err)
	w.imageIs(w.register("cp", w.id, fields{"PATH": path}, map[string]string{"NO_DECOMPRESS": "YES"}), content)
	w.imageIs(w.register("cp", w.id+1, fields{"PATH": path, "TEMPLATE/MODE": "RAW"}, nil), content)
}

// slowly: 4 MiB at 2 MiB a second cannot be there any sooner, however quick the machine.
func (w *worker) slowly() {
	w.Helper()
	content := bytes.Repeat([]byte("data"), 1<<20)
	path := filepath.Join(w.files(), "slow")
	require.NoError(w, os.WriteFile(path, content, 0o644))
	began := time.Now()
	image := w.register("cp", w.id, fields{"PATH": path}, map[string]string{"LIMIT_TRANSFER_BW": "2m"})
	assert.Greater(w, time.Since(began), 1900*time.Millisecond)
	w.imageIs(image, content)
}

// archived: a VM gets a disk with the archive's files, whichever way it is kept.
func (w *worker) archived(from images, path, mode string, settings map[string]string) {
	w.Helper()
	image := w.register("cp", w.id, fields{"PATH": path, "SIZE": "64", "TEMPLATE/MODE": mode, "TEMPLATE/SIZE": "64M", "TEMPLATE/FSTYPE": "ext4"}, settings)
	assert.Equal(w, settings == nil, strings.HasPrefix(image.Source, w.files()), image.Source)
	w.vm(w.id, w.node.Name, fakeoned.CloneDisk(0, image, 0))
	w.ok("clone", words("frontend:"+image.Source, w.at(w.node.Name), w.imageArgs())...)
	w.mode(w.node, lvm.Exclusive)
	w.hasTree(from, home(w.id)+"/disk.0")
}

// hasTree: the file system on a device of the case's node has the files of the tree.
func (w *worker) hasTree(from images, path string) {
	w.Helper()
	want, err := os.ReadFile(filepath.Join(from.tree, "etc/hostname"))
	require.NoError(w, err)
	w.Output(w.T, w.node, "e2fsck", "-fn", path)
	assert.Equal(w, string(want), w.Output(w.T, w.node, "debugfs", "-R", "cat /etc/hostname", path))
}
