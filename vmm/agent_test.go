package vmm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
	"one-clvm/lvm"
)

func (n *node) request(verb cluster.Verb) Request {
	q := Request{Verb: verb, VM: 42, DS: 101, Home: n.home(), Node: "node1", Start: 60, Shutdown: 30, Migrate: 600, Settle: 10}
	if verb == cluster.VerbStart {
		q.Domain = n.document()
	}
	return q
}

// serve sends a request and returns the last line's error.
func serve(t *testing.T, a *Agent, q Request) string {
	t.Helper()
	return answerOf(t, a, q).Error
}

// answerOf is the last line.
func answerOf(t *testing.T, a *Agent, q Request) Line {
	t.Helper()
	text, err := json.Marshal(q)
	require.NoError(t, err)
	var out bytes.Buffer
	err = a.Serve(t.Context(), bytes.NewReader(text), &out)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var last Line
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &last))
	require.True(t, last.Done)
	require.Equal(t, err != nil, last.Error != "")
	return last
}

func TestDeployOnANodeAlone(t *testing.T) {
	n := newNode(t)
	require.Empty(t, serve(t, n.agent(), n.request(cluster.VerbStart)))
	assert.Equal(t, []string{"here: activate exclusive of VM 42 in /101/42", "virsh create /dev/stdin"}, n.calls)
	assert.Contains(t, n.created, `<disk type="block" device="disk"><source dev="/dev/vg-one/lv-one-42-1"/>`)
	stored, err := os.ReadFile(filepath.Join(n.home(), "domain.xml"))
	require.NoError(t, err)
	assert.Equal(t, n.created, string(stored))

	again := n.request(cluster.VerbStart)
	again.Domain = strings.Replace(again.Domain, "vda", "vdb", 1)
	require.Empty(t, serve(t, n.agent(), again), "it runs")
	assert.Len(t, n.calls, 2)
	kept, err := os.ReadFile(filepath.Join(n.home(), "domain.xml"))
	require.NoError(t, err)
	assert.Equal(t, n.created, string(kept), "what runs is what is stored")

	cancel := n.request(cluster.VerbCancel)
	cancel.Home, cancel.DS = "", 0
	require.Empty(t, serve(t, n.agent(), cancel))
	assert.Equal(t, []string{"virsh destroy one-42", "here: activate off of VM 42 in /101/42"}, n.calls[2:], "the datastore is known by the volumes' tags")
}

// TestDryRun: the plan is told, and nothing is changed, also not the time of the last verb.
func TestDryRun(t *testing.T) {
	for verb, want := range map[cluster.Verb]string{
		cluster.VerbStart:    "1. store\n2. activate\n",
		cluster.VerbCancel:   "1. destroy\n",
		cluster.VerbShutdown: "1. ask\n",
		cluster.VerbMigrate:  "1. move node2\n",
		cluster.VerbResize:   "1. resize",
	} {
		n := running(t)
		q := n.request(verb)
		q.DryRun = true
		switch verb {
		case cluster.VerbStart:
			n.state = ""
		case cluster.VerbMigrate:
			q.To = "node2"
		case cluster.VerbResize:
			q.MemoryMiB = 1024
		}
		before := n.files(t)
		last := answerOf(t, n.agent(), q)
		require.Empty(t, last.Error, verb)
		assert.Contains(t, last.Plan, want, verb)
		assert.Empty(t, n.calls, verb)
		assert.Equal(t, before, n.files(t), verb)
	}
	n := newNode(t)
	q := n.request(cluster.VerbMigrate)
	q.To, q.DryRun = "node2", true
	assert.Contains(t, serve(t, n.agent(), q), "does not run on node1", "as the verb says it")
}

// files are all below the homes and the locks, with their times.
func (n *node) files(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(n.base, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		all[path] = fmt.Sprint(info.ModTime(), info.Size())
		return err
	}))
	return all
}

func TestDeployThatFailsLeavesNothing(t *testing.T) {
	n := newNode(t)
	n.fail["virsh create"] = errors.New("no such machine type")
	assert.Contains(t, serve(t, n.agent(), n.request(cluster.VerbStart)), "no such machine type")
	assert.Equal(t, []string{"here: activate exclusive of VM 42 in /101/42", "virsh create /dev/stdin", "here: activate off of VM 42 in /101/42"}, n.calls)
}

// TestHalfAnActivationIsTakenBack: of two disks one may be locked elsewhere, the other would stay
// active here, and keep the VM from every other node.
func TestHalfAnActivationIsTakenBack(t *testing.T) {
	for _, verb := range []cluster.Verb{cluster.VerbStart, cluster.VerbRestore} {
		n := defined(t)
		n.fail["here: activate exclusive"] = errors.New("volume is locked by another node: node2")
		n.fail["here: activate off"] = errors.New("no agent answered")
		failure := serve(t, n.agent(), n.request(verb))
		assert.Contains(t, failure, "node2", verb)
		assert.Contains(t, failure, "no agent answered", verb)
		assert.Equal(t, []string{exclusive, off}, n.calls, verb)
	}
}

func TestRefusedDomainChangesNothing(t *testing.T) {
	n := newNode(t)
	q := n.request(cluster.VerbStart)
	for _, hostile := range []string{
		strings.Replace(n.document(), n.home()+"/disk.1", "/dev/vg-one/lv-one-4-2", 1),
		strings.Replace(n.document(), n.home()+"/disk.1", "/etc/shadow", 1),
		strings.Replace(n.document(), "one-42<", "one-4<", 1),
	} {
		q.Domain = hostile
		assert.Contains(t, serve(t, n.agent(), q), "domain refused")
	}
	assert.Empty(t, n.calls)
	assert.NoFileExists(t, filepath.Join(n.home(), "domain.xml"))
}

// TestMigrateAgainOnNodesAlone: where the VM is already, only the other libvirt can say.
func TestMigrateAgainOnNodesAlone(t *testing.T) {
	n := running(t)
	n.peer = newNode(t)
	q := n.request(cluster.VerbMigrate)
	q.To = "node2"
	for range 2 {
		require.Empty(t, serve(t, n.agent(), q))
		assert.Equal(t, []string{"", "running"}, []string{n.state, n.peer.state})
		assert.Len(t, n.calls, 1)
	}
	n.peer.down = true
	assert.Contains(t, serve(t, n.agent(), q), "does not run on node1", "nothing is known")
	n.peer.down, n.peer.state = false, ""
	assert.Contains(t, serve(t, n.agent(), q), "does not run on node1")
}

// TestStoredDomainIsCheckedAgain: others may write in the home.
func TestStoredDomainIsCheckedAgain(t *testing.T) {
	n := newNode(t)
	file := filepath.Join(n.home(), "domain.xml")
	require.NoError(t, os.WriteFile(file, []byte(strings.Replace(n.document(), n.home()+"/disk.1", "/dev/sda", 1)), 0o600))
	assert.Contains(t, serve(t, n.agent(), n.request(cluster.VerbRestore)), "domain refused")
	require.NoError(t, os.Remove(file))
	elsewhere := filepath.Join(n.base, "elsewhere")
	require.NoError(t, os.WriteFile(elsewhere, []byte(n.document()), 0o600))
	require.NoError(t, os.Symlink(elsewhere, file))
	assert.Contains(t, serve(t, n.agent(), n.request(cluster.VerbRestore)), "domain.xml")
	assert.Empty(t, n.created)
	require.NoError(t, os.Remove(file))
	require.NoError(t, os.WriteFile(file, []byte(n.document()), 0o600))
	require.Empty(t, serve(t, n.agent(), n.request(cluster.VerbRestore)))
	assert.Contains(t, n.calls, "virsh restore "+n.home()+"/checkpoint --xml /dev/stdin --paused")
	assert.Equal(t, "running", n.state)
}

// TestHomeThatIsALink: oneadmin may exchange directories below the base.
func TestHomeThatIsALink(t *testing.T) {
	n := newNode(t)
	require.NoError(t, os.Rename(n.home(), n.home()+".moved"))
	require.NoError(t, os.Symlink(n.home()+".moved", n.home()))
	assert.NotEmpty(t, serve(t, n.agent(), n.request(cluster.VerbStart)))
	assert.Empty(t, n.calls)
}

func TestOneVerbAtATime(t *testing.T) {
	n := newNode(t)
	lock, err := lockService(t.Context(), n.config().LockDir, 42, n, 0)
	require.NoError(t, err)
	assert.Contains(t, serve(t, n.agent(), n.request(cluster.VerbStart)), ErrBusy.Error())
	require.NoError(t, lock.Close())
	assert.Empty(t, serve(t, n.agent(), n.request(cluster.VerbStart)))
}

// A disk may be a snapshot of its image.
func TestDiskThatIsAClone(t *testing.T) {
	n := newNode(t)
	n.volumes[1].Origin, n.volumes[1].Tags = "lv-oneimg-7", n.volumes[1].Tags.With(lvm.KeyTag(lvm.TagClone, 7))
	assert.Empty(t, serve(t, n.agent(), n.request(cluster.VerbStart)))
}

func TestVolumesThatAreNotTheVMs(t *testing.T) {
	for name, change := range map[string]func(*lvm.Volume){
		"another datastore": func(v *lvm.Volume) { v.Tags = lvm.DiskTags(42, 1, 102) },
		"being built":       func(v *lvm.Volume) { v.Tags = v.Tags.With(lvm.TagBuilding) },
		"deleted":           func(v *lvm.Volume) { v.Tags = v.Tags.With(lvm.TagQuarantine) },
		"snapshot":          func(v *lvm.Volume) { v.Origin = "lv-one-42-0" },
		"not ours":          func(v *lvm.Volume) { v.Tags = v.Tags.Without(lvm.TagOurs) },
		"no disk":           func(v *lvm.Volume) { v.Tags = v.Tags.Without("disk=1") },
	} {
		n := newNode(t)
		change(&n.volumes[1])
		assert.Contains(t, serve(t, n.agent(), n.request(cluster.VerbStart)), "domain refused", name)
	}
	n := newNode(t)
	double := n.volumes[1]
	double.Group = "vg-two"
	n.volumes = append(n.volumes, double)
	assert.Contains(t, serve(t, n.agent(), n.request(cluster.VerbStart)), "is both")
	n = newNode(t)
	n.fail["volumes"] = errors.New("no agent answered")
	assert.Contains(t, serve(t, n.agent(), n.request(cluster.VerbStart)), "no agent answered")
}

func TestRequestsThatAreRefused(t *testing.T) {
	n := newNode(t)
	config := n.config()
	good := n.request(cluster.VerbStart)
	require.NoError(t, good.validate(&config))
	for name, change := range map[string]func(*Request){
		"verb":                func(q *Request) { q.Verb = "frobnicate" },
		"VM":                  func(q *Request) { q.VM = -1 },
		"node":                func(q *Request) { q.Node = "-oProxyCommand=x" },
		"target of a deploy":  func(q *Request) { q.To = "node2" },
		"no target":           func(q *Request) { q.Verb, q.Domain = cluster.VerbMigrate, "" },
		"hostile target":      func(q *Request) { q.Verb, q.Domain, q.To = cluster.VerbMigrate, "", "a b" },
		"no domain":           func(q *Request) { q.Domain = "" },
		"no home":             func(q *Request) { q.Home = "" },
		"home of another VM":  func(q *Request) { q.VM = 43 },
		"home elsewhere":      func(q *Request) { q.Home = "/etc/101/42" },
		"home with dots":      func(q *Request) { q.Home += "/../42" },
		"another datastore":   func(q *Request) { q.DS = 102 },
		"endless patience":    func(q *Request) { q.Shutdown = 1 << 30 },
		"no patience":         func(q *Request) { q.Settle = 0 },
		"plan of networks":    func(q *Request) { q.Verb, q.Domain, q.DryRun = verbNetworks, "", true },
		"domain of a cancel":  func(q *Request) { q.Verb = cluster.VerbCancel },
		"home of a migration": func(q *Request) { q.Verb, q.Domain, q.To, q.Home = cluster.VerbMigrate, "", "node2", "/root" },
	} {
		q := good
		change(&q)
		require.Error(t, q.validate(&config), name)
	}
	for _, text := range []string{"", "{", "[]", `{"verb":"cancel","shell":"x"}`} {
		_, err := readRequest(strings.NewReader(text), &config)
		require.ErrorContains(t, err, "request", text)
	}
}

func FuzzReadRequest(f *testing.F) {
	config := Config{HomeBases: []string{"/var/lib/one/datastores"}}
	f.Add(`{"verb":"deploy","vm":42,"ds":101,"home":"/var/lib/one/datastores/101/42","node":"node1","domain":"<domain/>","start":60,"shutdown":60,"migrate":60,"settle":60}`)
	f.Fuzz(func(t *testing.T, text string) {
		q, err := readRequest(strings.NewReader(text), &config)
		if err != nil {
			return
		}
		o := q.order(&config)
		require.True(t, q.Home == "" || strings.HasPrefix(o.Service.Definition, "/var/lib/one/datastores/"))
		require.NotContains(t, o.Service.Definition, "..")
		require.False(t, strings.HasPrefix(q.Node+q.To, "-"))
	})
}

func TestChooseStack(t *testing.T) {
	for _, c := range []struct {
		configured, want string
		there            []string
	}{
		{"auto", "standalone", nil},
		{"auto", "standalone", []string{"crm_mon"}},
		{"auto", "pacemaker", []string{"crm_mon", "/etc/corosync/corosync.conf"}},
		{"standalone", "standalone", []string{"crm_mon", "/etc/corosync/corosync.conf"}},
		{"pacemaker", "pacemaker", nil},
		{"auto", "rgmanager", []string{"/etc/cluster/cluster.conf", "clustat"}},
		{"auto", "cxm", []string{"/etc/xen/cxm.conf", "cxm"}},
	} {
		has := func(name string) bool { return slices.Contains(c.there, name) }
		assert.Equal(t, c.want, ChooseStack(c.configured, has, has), c)
	}
}

func TestChooseHypervisor(t *testing.T) {
	xen, xend := []string{"/proc/xen/xsd_port"}, []string{"/proc/xen/xsd_port", "/var/lib/xend/xend-socket"}
	for _, c := range []struct {
		configured, stack string
		there             []string
		want              string
	}{
		{"auto", "standalone", nil, ""},
		{"auto", "standalone", xend[1:], ""},
		{"auto", "standalone", xen, "xl"},
		{"auto", "standalone", xend, "xm"},
		{"auto", "cxm", nil, "xm"},
		{"auto", "pacemaker", xen, ""},
		{"auto", "rgmanager", xend, ""},
		{"libvirt", "standalone", xen, ""},
		{"libvirt", "pacemaker", nil, ""},
		{"xl", "standalone", xend, "xl"},
		{"xm", "cxm", nil, "xm"},
	} {
		got, err := ChooseHypervisor(c.configured, c.stack, func(path string) bool { return slices.Contains(c.there, path) })
		require.NoError(t, err, c)
		assert.Equal(t, c.want, got, c)
	}
	for configured, stack := range map[string]string{"libvirt": "cxm", "xl": "pacemaker", "xm": "rgmanager"} {
		_, err := ChooseHypervisor(configured, stack, func(string) bool { return false })
		require.ErrorContains(t, err, "correct agent.conf", stack)
	}
}
