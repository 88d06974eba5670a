//go:build lab

package lab

import (
	"cmp"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
	"one-clvm/lab/cluster"
	"one-clvm/lab/profile"
	"one-clvm/lvm"
	"one-clvm/opennebula"
	"one-clvm/tarmode"
	"one-clvm/test/debian"
	"one-clvm/test/fakeoned"
)

// fields are those of an image that oned hands to the driver; more in fakeoned.DriverAction.
type fields map[string]string

// images is what the tests of the datastore driver make images of, at the front-end.
type images struct {
	disk      []byte // 8 MiB, most of them zeros
	raw       string // a file with it
	tree      string
	tgz, tzst string // archives of it
}

// The datastore driver and what becomes of its images, on two nodes that share the SAN.
func TestDatastoreDriver(t *testing.T) {
	t.Parallel()
	s := start(t, profile.Cluster, nil)
	for _, n := range s.Nodes {
		conf := s.Output(t, n, "cat", cluster.AgentConf) + "READ_GUEST_FS=True\n"
		require.NoError(t, n.Put(t.Context(), cluster.AgentConf, strings.NewReader(conf), 0o644, 0))
	}
	require.NoError(t, os.Mkdir(s.files(), 0o755))
	s.putDatastore(fakeoned.ImageDS, nil)
	from := s.sources()
	cases := sourceCases(from)
	maps.Copy(cases, mkfsCases())
	maps.Copy(cases, deployCases(from))
	s.spread(cases)
}

// longest are cases that must not begin when one node has nothing else to do any more.
var longest = []string{"CLONE from the SAN", "save under each mode", "LN from the SAN", "vol, clone, export, rm"}

func longestFirst(a, b string) int {
	return cmp.Or(slices.Index(longest, b)-slices.Index(longest, a), cmp.Compare(a, b))
}

// spread runs cases side by side, one at a time on each node. A case has the number of a VM
// for itself, and the numbers of images from that on to the next case's.
func (s *site) spread(cases map[string]func(*worker)) {
	type numbered struct {
		name string
		id   int
	}
	queue := make(chan numbered, len(cases))
	for _, name := range slices.SortedFunc(maps.Keys(cases), longestFirst) {
		queue <- numbered{name, 100 + 10*len(queue)}
	}
	close(queue)
	var all sync.WaitGroup
	for _, n := range s.Nodes {
		all.Add(1)
		go func() {
			defer all.Done()
			for c := range queue {
				s.Run(c.name, func(t *testing.T) {
					own := *s
					own.T = t
					cases[c.name](&worker{site: &own, id: c.id, node: n})
				})
			}
		}()
	}
	all.Wait()
}

// files is where the image datastores have their files.
func (s *site) files() string { return filepath.Join(s.directory, "images") }

// imageDatastore is the document of an image datastore with these settings.
func (s *site) imageDatastore(id int, settings map[string]string) string {
	template := map[string]string{"VG_NAME": cluster.Group, "SAFE_DIRS": s.directory}
	maps.Copy(template, settings)
	return strings.NewReplacer("<ID>100</ID>", fmt.Sprintf("<ID>%d</ID>", id), "/var/lib/one//datastores/100", s.files()).Replace(fakeoned.ImageDatastore(template))
}

func (s *site) putDatastore(id int, settings map[string]string) {
	s.oned.Put(fakeoned.Datastores, id, s.imageDatastore(id, settings))
}

// datastore runs a verb of the datastore driver as oned 7.4 does, on the case's own node.
func (w *worker) datastore(verb string, id int, f fields, settings map[string]string) result {
	w.Helper()
	all := map[string]string{"BRIDGE_LIST": w.node.Name}
	maps.Copy(all, settings)
	document := fakeoned.DriverAction(id, f, w.imageDatastore(fakeoned.ImageDS, all))
	return w.verb(strings.NewReader(string(opennebula.EncodeDocument([]byte(document)))), "datastore/"+verb, strconv.Itoa(id))
}

// register makes an image and oned's record of it.
func (w *worker) register(verb string, id int, f fields, settings map[string]string) fakeoned.Image {
	w.Helper()
	r := w.datastore(verb, id, f, settings)
	require.Zero(w, r.status, "%s: %s", verb, r.stderr)
	source, format, _ := strings.Cut(strings.TrimSpace(r.stdout), " ")
	assert.Equal(w, map[string]string{"cp": "raw"}[verb], format)
	image := fakeoned.Image{ID: id, Name: fmt.Sprintf("image-%d", id), Source: source, SizeMiB: 8, Template: map[string]string{}}
	for name, value := range f {
		if inner, ok := strings.CutPrefix(name, "TEMPLATE/"); ok {
			image.Template[inner] = value
		}
	}
	w.oned.Put(fakeoned.Images, id, image.Document())
	return image
}

// refused is a verb that fails for that reason and leaves no image.
func (w *worker) refused(verb string, id int, f fields, settings map[string]string, why string) {
	w.Helper()
	r := w.datastore(verb, id, f, settings)
	assert.NotZero(w, r.status)
	assert.Contains(w, r.stderr, why)
	assert.Empty(w, r.stdout)
	assert.NotContains(w, w.volumes(w.node), lvm.ImageName(lvm.DefaultPrefix, id).String())
}

// imageIs: a complete image on the SAN with that content, zeros behind it, active nowhere.
func (w *worker) imageIs(image fakeoned.Image, content []byte) {
	w.Helper()
	for _, n := range w.Nodes {
		v, found := w.volumes(n)[image.Source]
		require.True(w, found, "no volume %s", image.Source)
		assert.Equal(w, lvm.Off, v.Mode, "on %s", n.Name)
		assert.True(w, v.Tags.Has("one", lvm.KeyTag("image", image.ID)), "tags %q", v.Tags)
		assert.False(w, v.Tags.Has(lvm.TagBuilding))
	}
	w.whileActive(w.node, image.Source, func(path string) { w.deviceIs(path, content) })
}

// deviceIs: a device of the case's node has that content, and zeros behind it.
func (w *worker) deviceIs(path string, content []byte) {
	w.Helper()
	size, err := strconv.Atoi(strings.TrimSpace(w.Output(w.T, w.node, "blockdev", "--getsize64", path)))
	require.NoError(w, err)
	require.GreaterOrEqual(w, size, len(content))
	whole := make([]byte, size)
	copy(whole, content)
	sum := sha256.Sum256(whole)
	assert.Equal(w, hex.EncodeToString(sum[:]), w.sum(path), "%s has another content", path)
}

// sum is the checksum of a device of the case's node.
func (w *worker) sum(path string) string {
	w.Helper()
	return strings.Fields(w.Output(w.T, w.node, "sha256sum", path))[0]
}

// sources makes the files that become images.
func (s *site) sources() images {
	s.Helper()
	at := func(name string) string { return filepath.Join(s.directory, name) }
	from := images{disk: make([]byte, 8<<20), raw: at("disk.raw"), tree: at("tree"), tgz: at("tree.tgz"), tzst: at("tree.tzst")}
	random := rand.New(rand.NewPCG(1, 1))
	for _, at := range []int{0, 3 << 20, 8<<20 - 4096} {
		for i := range 4096 {
			from.disk[at+i] = byte(random.Uint32())
		}
	}
	require.NoError(s, os.WriteFile(from.raw, from.disk, 0o644))
	require.NoError(s, os.MkdirAll(filepath.Join(from.tree, "etc"), 0o755))
	require.NoError(s, os.WriteFile(filepath.Join(from.tree, "etc/hostname"), []byte("guest\n"), 0o644))
	for path, mode := range map[string]tarmode.Mode{from.tgz: tarmode.TGZ, from.tzst: tarmode.TZST} {
		_, err := debian.Pack(s.Context(), from.tree, path, mode)
		require.NoError(s, err)
	}
	return from
}

// packed is a file, converted by a program whose last arguments are its name and, for
// qemu-img, that of the result.
func (w *worker) packed(path string, argv ...string) string {
	w.Helper()
	to := filepath.Join(w.files(), fmt.Sprintf("source-%d-%s", w.id, argv[0]))
	argv = append(argv, path)
	if argv[0] == "qemu-img" {
		argv = append(argv, to)
	}
	r, err := run.Exec{}.Run(w.Context(), run.Cmd{Path: argv[0], Args: argv[1:]})
	require.NoError(w, err)
	if argv[0] != "qemu-img" {
		require.NoError(w, os.WriteFile(to, r.Stdout, 0o644))
	}
	return to
}

// sums are a file's checksums as an image's record tells them.
func sums(content []byte) fields {
	a, b, c := md5.Sum(content), sha1.Sum(content), sha256.Sum256(content)
	return fields{"TEMPLATE/MD5": hex.EncodeToString(a[:]), "TEMPLATE/SHA1": hex.EncodeToString(b[:]), "TEMPLATE/SHA256": hex.EncodeToString(c[:])}
}

// with is fields and more.
func (f fields) with(name, value string) fields {
	all := maps.Clone(f)
	all[name] = value
	return all
}
