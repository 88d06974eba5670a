//go:build lab

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
	"one-clvm/lab/cluster"
	"one-clvm/lab/labtest"
	"one-clvm/lab/profile"
	"one-clvm/lvm"
	"one-clvm/lvm/lvm2"
	"one-clvm/test/build"
	"one-clvm/test/fakeoned"
)

const (
	datastores = "/var/lib/one//datastores" // with the doubled slash that oned writes
	vmID       = 42
)

// site is a cluster with a front-end, as one test sees it.
type site struct {
	*testing.T
	labtest.Cluster
	oned      *fakeoned.Server
	directory string // of the front-end: ONE_LOCATION
	program   string
	settings  map[string]string // cxmrc
}

// start starts a cluster and a front-end of OpenNebula 7.4 with these settings in cxmrc.
func start(t *testing.T, p profile.Profile, settings map[string]string) *site {
	t.Helper()
	s := &site{T: t, Cluster: labtest.Start(t, p), directory: t.TempDir()}
	s.program = filepath.Join(s.directory, "tm-clvm")
	require.NoError(t, build.Program(t.Context(), s.program, "./cmd/tm-clvm"))
	var err error
	s.oned, err = fakeoned.Listen("127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.oned.Close()) })
	s.oned.Put(fakeoned.Datastores, fakeoned.ImageDS, fakeoned.ImageDatastore(map[string]string{"VG_NAME": cluster.Group}))
	s.oned.Put(fakeoned.Datastores, fakeoned.SystemDS, fakeoned.SystemDatastore(map[string]string{"VG_NAME": cluster.Group}))
	for i, n := range s.Nodes {
		s.oned.Put(fakeoned.Hosts, i, fakeoned.Host(i, n.Name, 2))
		s.shareHome(n)
	}
	s.settings = map[string]string{"VG_NAME": cluster.Group, "FRONTEND": "frontend", "CONNECT_TIMEOUT": "120", "SSH_OPTIONS": "-F " + s.SSHConfig() + " -l oneadmin"}
	maps.Copy(s.settings, settings)
	s.write("var/remotes/VERSION", "7.4.0\n")
	s.write("one_auth", fakeoned.Session+"\n")
	s.writeSettings()
	return s
}

// set changes a setting in cxmrc.
func (s *site) set(name, value string) {
	s.Helper()
	s.settings[name] = value
	s.writeSettings()
}

func (s *site) writeSettings() {
	s.Helper()
	text := ""
	for _, name := range slices.Sorted(maps.Keys(s.settings)) {
		text += fmt.Sprintf("%s=%q\n", name, s.settings[name])
	}
	s.write("var/remotes/etc/tm/clvm/cxmrc", text)
}

// shareHome gives the lab's system datastore the number of the recorded one.
func (s *site) shareHome(n *cluster.Node) {
	at := fmt.Sprintf("%s/%d", filepath.Dir(cluster.Home), fakeoned.SystemDS)
	s.Output(s.T, n, "mkdir", "-p", at)
	s.Output(s.T, n, "mount", "--bind", cluster.Home, at)
}

func (s *site) write(name, text string) string {
	s.Helper()
	path := filepath.Join(s.directory, name)
	require.NoError(s, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(s, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// result is a verb that has ended.
type result struct {
	status         int
	stdout, stderr string
}

// verb runs a verb as oned does, with its document on standard input.
func (s *site) verb(stdin io.Reader, name string, argv ...string) result {
	r, err := run.Exec{}.Run(s.Context(), run.Cmd{
		Path: s.program, Args: append([]string{name}, argv...), Stdin: stdin,
		Env: s.environment(),
	})
	var failed *run.Error
	if err != nil && !errors.As(err, &failed) {
		s.Errorf("%s: %v", name, err)
	}
	return result{r.Status, string(r.Stdout), string(r.Stderr)}
}

// environment is that of programs of the front-end.
func (s *site) environment() []string {
	return []string{"ONE_LOCATION=" + s.directory, "ONE_AUTH=" + s.directory + "/one_auth", "ONE_XMLRPC=" + s.oned.URL()}
}

func (s *site) ok(name string, argv ...string) {
	s.Helper()
	r := s.verb(nil, name, argv...)
	require.Zero(s, r.status, "%s %v: %s", name, argv, r.stderr)
}

func home(vm int) string { return fmt.Sprintf("%s/%d/%d", datastores, fakeoned.SystemDS, vm) }

func at(host string, vm, disk int) string { return fmt.Sprintf("%s:%s/disk.%d", host, home(vm), disk) }

func volume(vm, disk int) string { return lvm.DiskName(lvm.DefaultPrefix, vm, disk).String() }

// of are the last two arguments of most verbs.
func of(vm, datastore int) []string { return []string{strconv.Itoa(vm), strconv.Itoa(datastore)} }

// group is the volume group as a node sees it.
func (s *site) group(n *cluster.Node) *lvm2.Group {
	g := lvm2.New(cluster.Group, n, lvm2.Options{})
	g.Permit(func(context.Context, []lvm.PhysicalVolume) error { return nil }) // nothing else runs
	return g
}

// volumes are the group's by name, with the modes that they have on the node.
func (s *site) volumes(n *cluster.Node) map[string]lvm.Volume {
	s.Helper()
	list, err := s.group(n).Volumes(s.Context())
	require.NoError(s, err)
	all := map[string]lvm.Volume{}
	for _, v := range list {
		all[v.Name] = v
	}
	return all
}

// vm makes a VM known, with these disks, on a host.
func (s *site) vm(id int, host string, disks ...fakeoned.Disk) {
	s.oned.Put(fakeoned.VMs, id, fakeoned.VM{ID: id, Name: fmt.Sprintf("vm-%d", id), Host: host, Disks: disks}.Document())
}

// imageFile makes a file an image known to oned.
func (s *site) imageFile(id int, path string, template map[string]string) fakeoned.Image {
	st, err := os.Stat(path)
	require.NoError(s, err)
	image := fakeoned.Image{ID: id, Name: fmt.Sprintf("image-%d", id), Source: path, SizeMiB: st.Size()>>20 + 1, Template: template}
	s.oned.Put(fakeoned.Images, id, image.Document())
	return image
}

// fill writes a repeated text onto a volume that is active on the node, from an offset.
func (s *site) fill(n *cluster.Node, path, text string, at, size int64) {
	s.Helper()
	_, err := n.Run(s.Context(), run.Cmd{
		Path: "dd", Args: []string{"of=" + path, "bs=1M", "conv=notrunc,fsync", "oflag=seek_bytes", "iflag=fullblock", fmt.Sprintf("seek=%d", at), "status=none"},
		Stdin: bytes.NewReader(bytes.Repeat([]byte(text), int(size)/len(text))),
	})
	require.NoError(s, err)
}

// peek reads a part of a volume that is active on the node.
func (s *site) peek(n *cluster.Node, path string, at, size int) string {
	s.Helper()
	return s.Output(s.T, n, "dd", "if="+path, "iflag=skip_bytes,count_bytes", fmt.Sprintf("skip=%d", at), fmt.Sprintf("count=%d", size), "bs=4096", "status=none")
}

// whileActive runs a function while a volume that is off is active on the node.
func (s *site) whileActive(n *cluster.Node, name string, do func(path string)) {
	s.Helper()
	v, err := s.group(n).Activate(s.Context(), name, lvm.Exclusive)
	require.NoError(s, err)
	do(v.Path)
	_, err = s.group(n).Activate(context.WithoutCancel(s.Context()), name, lvm.Off)
	require.NoError(s, err)
}
