package tm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/agent"
	"one-clvm/cxmrc"
	"one-clvm/internal/run"
	"one-clvm/lvm"
	"one-clvm/opennebula"
	"one-clvm/plan"
	"one-clvm/tarmode"
)

// oned answers from memory.
type oned struct {
	vm         *opennebula.VM
	images     map[int]*opennebula.Image
	datastores map[int]*opennebula.Datastore
	hosts      []opennebula.Host
	updates    []string
	err        error
}

func (o *oned) VM(context.Context, int) (*opennebula.VM, error) { return o.vm, o.err }
func (o *oned) VMs(context.Context) ([]opennebula.VM, error)    { return []opennebula.VM{*o.vm}, o.err }

func (o *oned) Hosts(context.Context) ([]opennebula.Host, error) { return o.hosts, o.err }
func (o *oned) Image(_ context.Context, id int) (*opennebula.Image, error) {
	if image, ok := o.images[id]; ok {
		return image, nil
	}
	return nil, opennebula.ErrNoSuchObject
}
func (o *oned) ImageBySource(_ context.Context, source string) (*opennebula.Image, error) {
	for _, image := range o.images {
		if image.Source == source {
			return image, nil
		}
	}
	return nil, opennebula.ErrNoSuchObject
}
func (o *oned) Datastore(_ context.Context, id int) (*opennebula.Datastore, error) {
	if ds, ok := o.datastores[id]; ok {
		return ds, nil
	}
	return nil, opennebula.ErrNoSuchObject
}
func (o *oned) Documents(_ context.Context, vm, image, datastore int) (string, error) {
	return fmt.Sprintf("<DATASTORE><ID>%d</ID></DATASTORE><VM><ID>%d</ID></VM><IMAGE><ID>%d</ID></IMAGE>", datastore, vm, image), o.err
}
func (o *oned) UpdateImage(_ context.Context, id int, template string) error {
	o.updates = append(o.updates, fmt.Sprintf("%d: %s", id, template))
	return nil
}

// nodes note what they are asked.
type nodes struct {
	mu      sync.Mutex
	volumes map[string][]lvm.Volume // by volume group
	digest  map[string]string       // by host

	asked []string
	reqs  []agent.Request
	sent  map[string][]byte // payload by operation
	reply map[agent.Op][]byte
	start agent.Start
	fail  map[string]error // by "host op"
	res   agent.Result
}

func (n *nodes) Do(_ context.Context, host string, q agent.Request, t agent.Transfer) (agent.Result, error) {
	line := fmt.Sprintf("%s %s disk %d", host, q.Op, q.Disk)
	if q.Op == agent.OpActivate {
		line += " " + q.Activate.String()
	}
	n.mu.Lock()
	n.asked, n.reqs = append(n.asked, line), append(n.reqs, q)
	err := n.fail[host+" "+string(q.Op)]
	n.mu.Unlock()
	if err != nil {
		return agent.Result{}, err
	}
	switch q.Op {
	case agent.OpVolumes:
		return agent.Result{Volumes: n.volumes[q.Group]}, nil
	case agent.OpDigest:
		return agent.Result{Digest: n.digest[host]}, nil
	}
	if t.Send != nil {
		var b bytes.Buffer
		if err := t.Send(&b); err != nil {
			return agent.Result{}, err
		}
		n.mu.Lock()
		n.sent[string(q.Op)] = b.Bytes()
		n.mu.Unlock()
	}
	if t.Receive != nil {
		return n.res, n.save(t)
	}
	return n.res, nil
}

func (n *nodes) save(t agent.Transfer) error {
	w, err := t.Receive(n.start)
	if err != nil {
		return err
	}
	if _, err := w.Write(n.reply[agent.OpSave]); err != nil {
		return err
	}
	return t.Received(n.start)
}

// bench is a driver between the two.
type bench struct {
	*Driver
	*testing.T
	oned   *oned
	nodes  *nodes
	stdout *bytes.Buffer
	stderr *bytes.Buffer
	image  string // path of image 0's file
}

func newBench(t *testing.T) *bench {
	document, err := os.Open("../opennebula/testdata/vm/vm0-after-deploy.xml")
	require.NoError(t, err)
	defer document.Close()
	vm, err := opennebula.ParseVM(document)
	require.NoError(t, err)
	b := &bench{T: t, stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}, image: filepath.Join(t.TempDir(), "image")}
	b.oned = &oned{
		vm: vm,
		images: map[int]*opennebula.Image{
			0: {ID: 0, Source: b.image, Template: map[string]string{"MODE": "TGZ", "SIZE": "8G", "FSTYPE": "ext4"}, FSType: "ext4"},
			1: {ID: 1, Source: b.image, Template: map[string]string{}},
		},
		datastores: map[int]*opennebula.Datastore{
			100: {ID: 100, Template: map[string]string{}},
			101: {ID: 101, Template: map[string]string{"VG_NAME": "vg-one"}, ClusterIDs: []int{0}},
		},
		hosts: []opennebula.Host{{ID: 0, Name: "node1", State: 2}, {ID: 1, Name: "node2", State: 2}},
	}
	b.nodes = &nodes{sent: map[string][]byte{}, reply: map[agent.Op][]byte{}, fail: map[string]error{}}
	version := opennebula.Version{Major: 7, Minor: 4}
	b.Driver = &Driver{Driver: plan.Driver{
		Config: cxmrc.Defaults(cxmrc.Driver), Version: version, FrontEnd: "frontend", Records: b.oned, Agents: b.nodes,
		Runner: run.Exec{}, Report: opennebula.NewReporter(b.stderr, version), Stdin: strings.NewReader(""), Stdout: b.stdout, Stderr: b.stderr,
	}}
	return b
}

func (b *bench) call(line string) error {
	words := strings.Fields(strings.ReplaceAll(line, "IMAGE", b.image))
	return b.Do(context.Background(), words[0], words[1:])
}

// tgz writes a tar image with an identity.
func (b *bench) tgz(members ...string) {
	require.NoError(b, os.WriteFile(b.image, makeTar(b.T, tarmode.Gzip, members...), 0o600))
}

const home = "/var/lib/one//datastores/101/0"

func TestCloneOfATar(t *testing.T) {
	b := newBench(t)
	b.tgz("etc/hostname")
	require.NoError(t, b.call("clone frontend:IMAGE node1:"+home+"/disk.0 0 100"))
	require.Len(t, b.nodes.reqs, 1, "one connection")
	q := b.nodes.reqs[0]
	assert.Equal(t, agent.OpCreate, q.Op)
	assert.Equal(t, "vg-one", q.Group, "the system datastore's")
	assert.Equal(t, int64(2<<30), q.Size, "enlarged by the user: 2048 of 1024 MiB")
	assert.Equal(t, agent.ContentTar, q.Content)
	assert.Equal(t, "ext4", q.FSType)
	assert.Equal(t, "11111111-2222-3333-4444-555555555555", q.FSUUID)
	assert.Equal(t, "root", q.FSLabel)
	assert.Equal(t, "/var/lib/one/datastores/101/0", q.Home)
	file, err := os.ReadFile(b.image)
	require.NoError(t, err)
	assert.Equal(t, file, b.nodes.sent["create"], "exactly as it lies in the datastore")
}

func TestCloneOfARawDisk(t *testing.T) {
	b := newBench(t)
	b.oned.vm.Disks[0].ImageID = 1
	b.oned.vm.Disks[0].OriginalSize = 2048
	require.NoError(t, os.WriteFile(b.image, []byte("\x1f\x8b\x08 raw all the same"), 0o600))
	require.NoError(t, os.Truncate(b.image, 3<<30))
	require.NoError(t, b.call("ln frontend:IMAGE node1:"+home+"/disk.0 0 100"))
	q := b.nodes.reqs[0]
	assert.Equal(t, agent.ContentExtents, q.Content)
	assert.Equal(t, tarmode.RAW, q.Mode)
	assert.Equal(t, int64(3<<30), q.Size, "never below the content")
	assert.Less(t, len(b.nodes.sent["create"]), 1<<20, "only data travels")
}

func TestCloneRefuses(t *testing.T) {
	clone := "clone frontend:IMAGE node1:" + home + "/disk.0 0 100"
	cases := []struct {
		name string
		line string
		edit func(*bench)
		want string
	}{
		{"no image of ours on the SAN", "clone frontend:lv-root node1:" + home + "/disk.0 0 100", nil, "not supported"},
		{"no file", clone, func(b *bench) { _ = os.Remove(b.image) }, "no such file"},
		{"not a tar", clone, func(b *bench) { _ = os.WriteFile(b.image, []byte("not a tar, not even compressed"), 0o600) }, "image"},
		{"empty", clone, func(b *bench) { _ = os.WriteFile(b.image, nil, 0o600) }, "empty"},
		{"qcow2", clone, func(b *bench) { b.oned.images[0].Template = nil; b.oned.vm.Disks[0].Driver = "qcow2" }, "QCOW2"},
		{"mode", clone, func(b *bench) { b.oned.images[0].Template["MODE"] = "ZIP" }, `"ZIP"`},
		{"size", clone, func(b *bench) { b.oned.images[0].Template["SIZE"] = "8X"; b.oned.vm.Disks[0].OriginalSize = 0 }, "8X"},
		{"file system", clone, func(b *bench) { b.oned.images[0].FSType = "ext4 -F" }, "ext4 -F"},
		{"no such disk", "clone frontend:IMAGE node1:" + home + "/disk.77 0 100", nil, "77"},
		{"oned is down", clone, func(b *bench) { b.oned.err = opennebula.ErrUnreachable }, "VM 0"},
		{"unknown datastore", clone, func(b *bench) { delete(b.oned.datastores, 101) }, ""},
		{"node fails", clone, func(b *bench) { b.nodes.fail["node1 create"] = lvm.ErrNoSpace }, "too little free space"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.tgz("etc/hostname")
			if c.edit != nil {
				c.edit(b)
			}
			err := b.call(c.line)
			require.Error(t, err)
			assert.ErrorContains(t, err, c.want)
			assert.ErrorContains(t, err, "VM 0")
		})
	}
}

// TestUnsupportedVerbExitsNonZero: what a verb can't do yet fails and says so.
func TestUnsupportedVerbExitsNonZero(t *testing.T) {
	for _, line := range []string{
		"mv node1:" + home + "/disk.0 frontend:/var/lib/one/datastores/102/0/disk.0 0 100",
		"context /x/context.sh ftp://files/a node1:" + home + "/disk.4 0 101",
	} {
		b := newBench(t)
		err := b.call(line)
		assert.ErrorIs(t, err, ErrNotYet, line)
		assert.Empty(t, b.nodes.asked, line)
		assert.NotZero(t, opennebula.ExitStatus(err))
	}
	assert.ErrorIs(t, newBench(t).call("clone too few"), opennebula.ErrUsage)
	assert.Error(t, newBench(t).call("nonsense"))
}

func TestDryRunChangesNothing(t *testing.T) {
	b := newBench(t)
	b.tgz("etc/hostname")
	b.DryRun = true
	require.NoError(t, b.call("clone frontend:IMAGE node1:"+home+"/disk.0 0 100"))
	assert.Empty(t, b.nodes.asked)
	assert.Equal(t, "1. node1: make disk 0 of VM 0, 2.0 GiB in vg-one, from TGZ image "+b.image+" on ext4\n", b.stdout.String())
}

func TestVolatileDisks(t *testing.T) {
	cases := []struct {
		line    string
		disk    int
		content agent.Content
		fstype  string
		size    int64
	}{
		{"mkimage 512 raw node1:" + home + "/disk.2 0 101", 2, agent.ContentFS, "ext4", 512 << 20},
		{"mkswap 256 node1:" + home + "/disk.3 0 101", 3, agent.ContentFS, "swap", 256 << 20},
	}
	for _, c := range cases {
		b := newBench(t)
		require.NoError(t, b.call(c.line))
		q := b.nodes.reqs[0]
		assert.Equal(t, c.content, q.Content)
		assert.Equal(t, c.fstype, q.FSType)
		assert.Equal(t, c.size, q.Size)
	}
	content, fs, err := volatileContent(opennebula.Call{Verb: "mkimage", Format: "raw"}, &opennebula.Disk{ImageID: -1})
	require.NoError(t, err)
	assert.Equal(t, agent.ContentNone, content, "no file system named, none made")
	assert.Empty(t, fs)
	_, fs, err = volatileContent(opennebula.Call{Verb: "mkimage", Format: "ext3"}, &opennebula.Disk{ImageID: -1})
	require.NoError(t, err)
	assert.Equal(t, "ext3", fs, "the argument's, up to 5.x")
	_, _, err = volatileContent(opennebula.Call{Verb: "mkimage", Format: "raw"}, &opennebula.Disk{ImageID: -1, FS: "reiserfs"})
	assert.ErrorContains(t, err, "reiserfs")
}

func TestDeleteFindsANode(t *testing.T) {
	cases := []struct {
		name, host string
		edit       func(*bench)
		want       string
	}{
		{"the node itself", "node2", nil, "node2"},
		{"parked: the last host", "frontend", nil, "node1"},
		{"parked: last host dead", "frontend", func(b *bench) { b.oned.hosts[0].State = opennebula.HostError }, "node2"},
		{"parked: bridge list", "frontend", func(b *bench) { b.oned.datastores[101].Template["BRIDGE_LIST"] = "node2 node1" }, "node2"},
		{"parked: bridge list, first dead", "frontend", func(b *bench) {
			b.oned.datastores[101].Template["BRIDGE_LIST"] = "node2 node1"
			b.oned.hosts[1].State = opennebula.HostOffline
		}, "node1"},
		{"parked: other cluster", "frontend", func(b *bench) { b.oned.hosts[0].State = opennebula.HostError; b.oned.hosts[1].ClusterID = 5 }, ""},
		{"none", "frontend", func(b *bench) { b.oned.hosts = nil }, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			if c.edit != nil {
				c.edit(b)
			}
			err := b.call("delete " + c.host + ":" + home + "/disk.0 0 100")
			if c.want == "" {
				assert.ErrorIs(t, err, plan.ErrNoNode)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, []string{c.want + " remove disk 0"}, b.nodes.asked)
		})
	}
	b := newBench(t)
	require.NoError(t, b.call("delete node1:"+home+" 0 101"))
	assert.Equal(t, []string{"node1 remove disk -1"}, b.nodes.asked)
}

func TestResize(t *testing.T) {
	b := newBench(t)
	require.NoError(t, b.call("resize node1:"+home+"/disk.0 3072 0 100"))
	assert.Equal(t, int64(3<<30), b.nodes.reqs[0].Size)
}

func (b *bench) document() []byte {
	document, err := os.ReadFile("../opennebula/testdata/vm/vm0-after-deploy.xml")
	require.NoError(b, err)
	return document
}

type runnerFunc func(context.Context, run.Cmd) (run.Result, error)

func (f runnerFunc) Run(ctx context.Context, c run.Cmd) (run.Result, error) { return f(ctx, c) }

func TestMonitor(t *testing.T) {
	b := newBench(t)
	b.Stdin = strings.NewReader("<DS_DRIVER_ACTION_DATA><DATASTORE><ID>101</ID><NAME>sys</NAME><DS_MAD>-</DS_MAD><TM_MAD>clvm</TM_MAD><TYPE>1</TYPE><CLUSTERS><ID>0</ID></CLUSTERS><TEMPLATE><VG_NAME>vg-one</VG_NAME></TEMPLATE></DATASTORE></DS_DRIVER_ACTION_DATA>")
	b.nodes.res.Info = &lvm.GroupInfo{Size: 100 << 30, Free: 60 << 30}
	require.NoError(t, b.call("monitor 101"))
	assert.Equal(t, "USED_MB=40960\nTOTAL_MB=102400\nFREE_MB=61440\n", b.stdout.String())
	assert.Equal(t, "vg-one", b.nodes.reqs[0].Group)
	b = newBench(t)
	b.Stdin = strings.NewReader("<DS_DRIVER_ACTION_DATA><DATASTORE><ID>101</ID><TYPE>1</TYPE></DATASTORE></DS_DRIVER_ACTION_DATA>")
	b.nodes.fail["node1 monitor"] = lvm.ErrNoGroup
	assert.ErrorIs(t, b.call("monitor 101"), lvm.ErrNoGroup, "no df in its place")
	assert.Empty(t, b.stdout.String())
}

func (b *bench) onlyTheImage() {
	entries, err := os.ReadDir(filepath.Dir(b.image))
	require.NoError(b, err)
	for _, e := range entries {
		assert.Equal(b, "image", e.Name())
	}
}

func (*noUpdates) UpdateImage(context.Context, int, string) error {
	return errors.New("not authorized")
}

func TestBootFilesGoIntoTheHome(t *testing.T) {
	b := newBench(t)
	require.NoError(t, os.WriteFile(b.image, []byte("vmlinuz"), 0o600))
	require.NoError(t, b.call("clone frontend:IMAGE node1:"+home+"/kernel 0 2"))
	assert.Equal(t, agent.OpFile, b.nodes.reqs[0].Op)
	assert.Equal(t, "kernel", b.nodes.reqs[0].File)
	assert.Equal(t, "vmlinuz", string(b.nodes.sent["file"]))
}

func TestDetectFormat(t *testing.T) {
	b := newBench(t)
	disk, image := &b.oned.vm.Disks[0], b.oned.images[1]
	on, err := b.Config.WithDatastore(map[string]string{"DETECT_FORMAT": "True"}, "datastore 100")
	require.NoError(t, err)
	form, err := formOf(disk, image, on)
	require.NoError(t, err)
	assert.True(t, form.detect)
	for name, want := range map[string]tarmode.Mode{"tar": tarmode.TGZ, "gzip": tarmode.GZIP, "raw": tarmode.RAW, "zstd tar": tarmode.TZST} {
		switch name {
		case "tar":
			b.tgz("a")
		case "zstd tar":
			require.NoError(t, os.WriteFile(b.image, makeTar(t, tarmode.Zstd, "a"), 0o600))
		case "gzip":
			var out bytes.Buffer
			w, err := tarmode.NewCompressor(&out, tarmode.Gzip, 1)
			require.NoError(t, err)
			_, err = w.Write(bytes.Repeat([]byte("disk"), 1000))
			require.NoError(t, errors.Join(err, w.Close()))
			require.NoError(t, os.WriteFile(b.image, out.Bytes(), 0o600))
		default:
			require.NoError(t, os.WriteFile(b.image, []byte("raw"), 0o600))
		}
		f, err := os.Open(b.image)
		require.NoError(t, err)
		mode, err := detectMode(f)
		require.NoError(t, errors.Join(err, f.Close()))
		assert.Equal(t, want, mode, name)
	}
}

func TestContextISO(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	script, odd := filepath.Join(dir, "context.sh"), filepath.Join(dir, "a=b.txt")
	require.NoError(t, os.WriteFile(script, []byte("HOSTNAME=web\n"), 0o600))
	require.NoError(t, os.WriteFile(odd, []byte("odd"), 0o600))
	require.NoError(t, b.call("context "+script+" "+odd+" node1:"+home+"/disk.4 0 101"))
	q := b.nodes.reqs[0]
	assert.Equal(t, agent.OpFile, q.Op)
	assert.Equal(t, "disk.4", q.File)
	assert.Empty(t, q.Group)
	iso := b.nodes.sent["file"]
	require.Greater(t, len(iso), 34<<10)
	assert.Equal(t, "CD001", string(iso[32769:32774]), "ISO 9660 volume descriptor")
	assert.Equal(t, contextLabel, strings.TrimRight(string(iso[32808:32840]), " "))
	assert.Contains(t, string(iso), "HOSTNAME=web\n")
	assert.Contains(t, string(iso), "a=b.txt", "Rock Ridge name")
	assert.ErrorContains(t, b.call("context /none/context.sh node1:"+home+"/disk.4 0 101"), "/none/context.sh")
}

// An address in CONTEXT is fetched by the program that oned itself uses.
func TestContextOfURLs(t *testing.T) {
	b := newBench(t)
	script := filepath.Join(t.TempDir(), "context.sh")
	require.NoError(t, os.WriteFile(script, []byte("A=b\n"), 0o600))
	real := b.Runner
	fail := false
	b.Runner = runnerFunc(func(ctx context.Context, c run.Cmd) (run.Result, error) {
		if filepath.Base(c.Path) != "downloader.sh" {
			return real.Run(ctx, c)
		}
		_, err := io.WriteString(c.Stdout, strings.Join(c.Args, " "))
		if fail {
			err = errors.New("404")
		}
		return run.Result{}, err
	})
	line := "context " + script + " https://files.example.org/a/setup.sh?x=1 node1:" + home + "/disk.4 0 101"
	require.NoError(t, b.call(line))
	iso := string(b.nodes.sent["file"])
	assert.Contains(t, iso, "setup.sh")
	assert.Contains(t, iso, "--nodecomp https://files.example.org/a/setup.sh?x=1 -")
	fail = true
	assert.ErrorContains(t, b.call(line), "404")
	assert.ErrorContains(t, b.call("context "+script+" https://files.example.org node1:"+home+"/disk.4 0 101"), "names no file")
	left, err := filepath.Glob(b.Config.String("TMP_ROOT") + "/one-clvm-context-*")
	require.NoError(t, err)
	assert.Empty(t, left)
}

// The name of a file that a user wrote into CONTEXT is never taken for an option.
func TestContextFileNamedLikeAnOption(t *testing.T) {
	b := newBench(t)
	file := filepath.Join(t.TempDir(), "-oelsewhere")
	require.NoError(t, os.WriteFile(file, []byte("A=b"), 0o600))
	var argv []string
	b.Runner = runnerFunc(func(_ context.Context, c run.Cmd) (run.Result, error) {
		argv = c.Args
		return run.Result{}, nil
	})
	require.NoError(t, b.call("context "+file+" node1:"+home+"/disk.2 0 101"))
	assert.Equal(t, "/-oelsewhere="+file, argv[len(argv)-1])
}
