package facts

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
	"one-clvm/lvm"
)

// node is a tree of files as a node of the lab has them.
func node(t *testing.T, files map[string]string, links map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	for name, target := range links {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.Symlink(target, path))
	}
	return root
}

const volumeID = "LVM-g2TN41ZL0Z2pR2O0cJAdb6nB2OBFpdBsOrptf7DyhJA24GR4BfstgBgckGUlDUwG"

var nodeFiles = map[string]string{
	"proc/meminfo":             "MemTotal:         983736 kB\nMemFree: 1 kB\n",
	"proc/sys/kernel/hostname": "node1\n",
	"proc/self/mountinfo":      "28 1 0:20 / / rw,relatime - overlay root rw\n36 28 8:16 / /ds/0 rw,noatime - gfs2 /dev/sdb rw,rgrplvb\n37 28 0:5 / /a\\040b rw - tmpfs none rw\n",
	"etc/one-clvm/agent.conf":  "ALLOWED_VGS=vg-one\n",
	"etc/one-clvm/hook.conf":   "FRONTENDS=fe\n",
	"etc/dlm/dlm.conf":         "enable_fencing=1\n# device old\ndevice lab /usr/sbin/fence_lab passwd=secret\nconnect lab node=1 port=node1\nfence_all /usr/sbin/dlm_stonith\n",
	"etc/libvirt/qemu.conf":    "# user = \"root\"\nuser = \"oneadmin\"\nvnc_password = \"secret\"\n",
	"ds/0/42/deployment.0":     "",
	"ds/0/x":                   "",

	"sys/block/dm-0/dm/uuid": volumeID + "\n", "sys/block/dm-0/dm/name": "vg--one-lv--one--5--0\n", "sys/block/dm-0/dm/suspended": "0\n",
	"sys/block/dm-1/dm/uuid": volumeID + "-real\n", "sys/block/dm-1/dm/name": "vg--one-lv--one--5--0-real\n",
	"sys/block/dm-2/dm/uuid": "mpath-36001405\n", "sys/block/dm-2/dm/name": "mpatha\n",
	"sys/class/block/dm-2/dm/uuid": "mpath-36001405\n", "sys/class/block/dm-2/dm/name": "mpatha\n", "sys/class/block/dm-2/slaves/sda": "", "sys/class/block/dm-2/slaves/sdb": "",
	"sys/class/block/sda/device/state": "running\n", "sys/class/block/sda/device/timeout": "30\n", "sys/class/block/sda/queue/write_zeroes_max_bytes": "2147483136\n",
	"sys/class/block/sdb/device/state": "offline\n", "sys/block/sdb/x": "",

	"sys/fs/gfs2/lab:home/withdraw": "0\n", "sys/fs/gfs2/lab:home/freeze": "0\n", "sys/fs/gfs2/lab:home/lock_module/proto_name": "lock_dlm\n",
	"var/vg/files/metadata.json": "{}",
}

var nodeLinks = map[string]string{
	"ds/0/42/disk.0":              "/dev/vg-one/lv-one-42-0",
	"ds/0/42/other":               "/etc/passwd",
	"sys/fs/gfs2/lab:home/device": "../../../devices/block/sdb",
}

// programs answers by the program's name.
type programs map[string]string

func (p programs) Run(_ context.Context, c run.Cmd) (run.Result, error) {
	text, ok := p[c.Path]
	if !ok {
		return run.Result{Status: 1}, &run.Error{Argv: []string{c.Path}, Status: 1}
	}
	return run.Result{Stdout: []byte(text)}, nil
}

func collect(t *testing.T, root string, p programs, installed ...string) *Facts {
	t.Helper()
	return Collector{
		Runner: p, Root: root, Version: "v1", Groups: []string{"vg-one"}, HomeBases: []string{"/ds", "/none"}, Owner: "oneadmin", FrontEnd: "fe",
		FileVGDir: "/var/vg", Now: func() time.Time { return time.Unix(1, 0) }, Installed: func(name string) bool { return slices.Contains(installed, name) },
	}.Collect(t.Context())
}

func TestCollect(t *testing.T) {
	root := node(t, nodeFiles, nodeLinks)
	f := collect(t, root, programs{
		"stat": "4096 524208 519574 519574\n", "dlm_tool": "name          home\nmembers       1 2 \n",
		"find": "42/disk.0\x00/dev/vg-one/lv-one-42-0\x00x/disk.1\x00/etc\x0042/disk.x\x00/etc\x00", hookProgram: "all of [fe] answer\n", "corosync": "Corosync Cluster Engine, version '3.1.7'\n",
		"gfs2_edit": "journal0: 0x12    8MB dirty.\njournal1: 0x81b   8MB clean.\n",
	}, "dlm_tool", "gfs2_edit", "corosync")
	assert.Equal(t, map[string]string{"corosync": "3.1.7"}, f.Versions)
	assert.Equal(t, []string{"lab", "dlm_stonith"}, f.FenceDevices, "and no passwords")
	assert.Equal(t, "node1", f.Hostname)
	assert.Equal(t, int64(983736<<10), f.Memory)
	assert.Equal(t, []string{"files"}, f.FileGroups)
	assert.Nil(t, f.LVM, "it is not installed")
	assert.Equal(t, "ALLOWED_VGS=vg-one\n", f.Files[AgentFile].Content)
	assert.True(t, f.Files[SudoersFile].Missing)
	assert.Equal(t, "user = \"oneadmin\"\n", f.Files[QemuFile].Content, "no secrets")
	require.Len(t, f.Homes, 1)
	h := f.Homes[0]
	assert.Equal(t, "/ds/0 /dev/sdb gfs2", strings.Join([]string{h.Point, h.Device, h.Type}, " "))
	assert.Equal(t, []string{"rw", "noatime", "rgrplvb"}, h.Options)
	assert.Equal(t, int64(4096*519574), h.Free)
	assert.Equal(t, []Link{{"/ds/0/42/disk.0", "/dev/vg-one/lv-one-42-0"}}, h.Links)
	require.Len(t, f.GFS2, 1)
	assert.Equal(t, []int{1, 2}, f.GFS2[0].Members)
	assert.Equal(t, 2, f.GFS2[0].Journals)
	assert.Equal(t, "/dev/sdb", f.GFS2[0].Device)
	assert.NotEmpty(t, f.FrontEnd.Error, "runuser fails here")
	assert.Equal(t, &Reach{Host: HookFile}, f.Hook)
	assert.Empty(t, f.Unknown)
}

// What packages have installed is as good as what an administrator has, and a hook that is
// installed is not yet one that is set up.
func TestPackagedFiles(t *testing.T) {
	files := maps.Clone(nodeFiles)
	files["usr/lib/udev/rules.d/90-one-clvm.rules"] = "packaged\n"
	files["usr/share/polkit-1/rules.d/50-one-clvm.rules"] = "packaged\n"
	files["etc/polkit-1/rules.d/50-one-clvm.rules"] = "mine\n"
	files["etc/one-clvm/hook.conf"] = "#FRONTENDS=\"\"\n"
	f := collect(t, node(t, files, nil), programs{})
	assert.Equal(t, "packaged\n", f.Files[UdevFile].Content)
	assert.Equal(t, "mine\n", f.Files[PolkitFile].Content)
	assert.True(t, f.Files[PolkitOld].Missing)
	assert.Nil(t, f.Hook)
}

// A file system that would not answer is not touched.
func TestWithdrawnHome(t *testing.T) {
	root := node(t, nodeFiles, nodeLinks)
	require.NoError(t, os.WriteFile(filepath.Join(root, "sys/fs/gfs2/lab:home/withdraw"), []byte("1\n"), 0o600))
	f := collect(t, root, programs{}) // no stat: it would be an error
	require.Len(t, f.Homes, 1)
	assert.Contains(t, f.Homes[0].Error, "withdrawn")
	assert.Empty(t, f.Homes[0].Links)
	assert.True(t, f.GFS2[0].Withdrawn)
}

func TestDevices(t *testing.T) {
	root := node(t, nodeFiles, map[string]string{"dev/mapper/mpatha": "../dm-2", "dev/vg-one/lv-one-5-0": "../dm-0"})
	require.NoError(t, os.WriteFile(filepath.Join(root, "dev/dm-0"), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(root, "dev/dm-2"), nil, 0o600))
	w := &collecting{Collector: Collector{Root: root, Runner: programs{"dmsetup": "0 100 multipath 1 queue_if_no_path 0 1 1\n"}}, facts: &Facts{}}
	active, err := w.active()
	require.NoError(t, err)
	require.Len(t, active, 1, "a hidden half is none")
	assert.Equal(t, "vg-one/lv-one-5-0", active[0].Group+"/"+active[0].Name)
	assert.Equal(t, "Orptf7-DyhJ-A24G-R4Bf-stgB-gckG-UlDUwG", active[0].UUID)
	assert.NotEmpty(t, active[0].Owner)

	physical := []lvm.PhysicalVolume{{Path: "/dev/mapper/mpatha"}, {Path: "/dev/vg-one/lv-one-5-0"}, {Path: "[unknown]"}}
	assert.Equal(t, []string{"/dev/vg-one/lv-one-5-0"}, w.inVolumes(physical))
	disks := w.disksOf(physical)
	require.NoError(t, w.queueing(t.Context(), disks))
	require.Len(t, disks, 2)
	assert.Equal(t, "mpatha", disks[0].Multipath)
	assert.True(t, disks[0].QueueWithoutPath)
	require.Len(t, disks[0].Paths, 2)
	assert.Equal(t, Disk{Name: "sda", State: "running", Timeout: 30, WriteZeroesMax: 2147483136}, disks[0].Paths[0])
	assert.Equal(t, "offline", disks[1].State, "LVM does not see it, but it is told")

	w.Runner = programs{"dmsetup": "0 100 multipath 1 queue_if_no_path 0 1 1\n", "multipathd": "name   queueing\nmpatha 12 chk\ndefaults {\n\tpolling_interval 5\n}\n"}
	require.NoError(t, w.queueing(t.Context(), disks))
	assert.False(t, disks[0].QueueWithoutPath, "multipathd ends it")
	assert.Equal(t, []int{12, 60}, []int{disks[0].QueueRetries, disks[0].QueueTime})
}

func TestEndOfQueueing(t *testing.T) {
	const maps = "name  queueing\nmpatha 12 chk\nmpathb on\nmpathc -\nmpathd 40 sec\n"
	retries, ends := retriesOf(maps, "mpatha")
	assert.True(t, ends)
	assert.Equal(t, 12, retries)
	_, ends = retriesOf(maps, "mpathd")
	assert.True(t, ends)
	for _, name := range []string{"mpathb", "mpathc", "mpathe", "name"} {
		_, ends = retriesOf(maps, name)
		assert.False(t, ends, name)
	}
	assert.Equal(t, 5, pollingInterval("defaults {\n\tverbosity 2\n\tpolling_interval 5\n\tmax_polling_interval 20\n"))
	assert.Equal(t, 10, pollingInterval("\tpolling_interval \"10\"\n"))
	assert.Zero(t, pollingInterval("max_polling_interval 20\n"))
}

func TestMapperName(t *testing.T) {
	for name, want := range map[string]string{"vg-lv": "vg/lv", "vg--one-lv--one--1--0": "vg-one/lv-one-1-0", "a---b": "a-/b"} {
		group, volume, ok := splitMapperName(name)
		assert.True(t, ok, name)
		assert.Equal(t, want, group+"/"+volume)
	}
	_, _, ok := splitMapperName("mpatha")
	assert.False(t, ok)
}

// The XML of section 2.6 of crm_mon's schema, cut to what is read.
const crmMon = `<pacemaker-result api-version="2.30" request="crm_mon -1 --output-as=xml"><summary>
<current_dc present="true" name="n1" id="1" with_quorum="true"/><cluster_options stonith-enabled="true" no-quorum-policy="freeze"/></summary>
<nodes><node name="n1" id="1" online="true"/><node name="n2" id="2" online="false" unclean="true"/></nodes>
<resources><resource id="fence-n1" resource_agent="stonith:fence_ipmilan" role="Started" failed="false"><node name="n2" id="2" cached="true"/></resource>
<group id="g"><resource id="fence-n2" resource_agent="stonith:fence_ipmilan" role="Stopped" failed="false"/></group>
<resource id="one-41" resource_agent="ocf:heartbeat:VirtualDomain" role="Started" failed="false"/></resources><status code="0" message="OK"/></pacemaker-result>`

func TestPacemaker(t *testing.T) {
	p, err := parsePacemaker([]byte(crmMon))
	require.NoError(t, err)
	assert.Equal(t, &Pacemaker{Quorate: true, Stonith: true, NoQuorumPolicy: "freeze", Nodes: map[string]bool{"n1": true, "n2": false},
		Fencing: []string{"fence-n1", "fence-n2"}, Failed: []string{"fence-n2"}}, p)
	_, err = parsePacemaker([]byte(crmMon[:200]))
	require.Error(t, err, "cut off")
}

func TestFencer(t *testing.T) {
	const answer = `<pacemaker-result api-version="2.28" request="stonith_admin --list-registered --output-as=xml">
<list name="Registered fence devices" count="2"><item name="device">fence-n1</item><item name="device">fence-n2</item></list><status code="0" message="OK"/></pacemaker-result>`
	const none = `<pacemaker-result api-version="2.28"><list name="Registered fence devices" count="0"/><status code="0" message="OK"/></pacemaker-result>`
	registered, err := parseRegistered([]byte(answer))
	require.NoError(t, err)
	assert.Equal(t, []string{"fence-n1", "fence-n2"}, registered)
	registered, err = parseRegistered([]byte(none))
	require.NoError(t, err)
	assert.NotNil(t, registered, "asked")
	assert.Empty(t, registered)
	_, err = parseRegistered([]byte(answer[:150]))
	require.Error(t, err, "cut off")
}

func TestRGManager(t *testing.T) {
	r, err := parseRGManager([]byte(`Service states unavailable: Temporary failure; try again
<?xml version="1.0"?><clustat version="4.1.1"><quorum quorate="1" groupmember="1"/><nodes>
<node name="n1" state="1" rgmanager="1"/><node name="n2" state="0" rgmanager="0"/></nodes></clustat>`))
	require.NoError(t, err)
	assert.Equal(t, &RGManager{Quorate: true, Nodes: map[string]bool{"n1": true, "n2": false}}, r)
	_, err = parseRGManager([]byte("Could not connect"))
	require.Error(t, err)
}
