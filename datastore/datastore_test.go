package datastore

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/agent"
	"one-clvm/internal/run"
	"one-clvm/lvm"
	"one-clvm/opennebula"
	"one-clvm/plan"
	"one-clvm/tarmode"
	"one-clvm/tarmode/archive"
)

// someDisk is a disk of 3 MiB with a hole.
func someDisk() []byte {
	disk := make([]byte, 3<<20)
	copy(disk, "boot")
	copy(disk[2<<20:], bytes.Repeat([]byte("data"), 1000))
	return disk
}

func TestCopyOfADisk(t *testing.T) {
	disk := someDisk()
	for name, c := range map[string]struct {
		program string
		content agent.Content
	}{
		"raw": {"", agent.ContentExtents}, "gzip": {"gzip", agent.ContentDisk}, "bzip2": {"bzip2", agent.ContentDisk},
		"zstd": {"zstd", agent.ContentDisk}, "xz": {"xz", agent.ContentExtents},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			content := disk
			if c.program != "" {
				content = b.packed(c.program, disk)
			}
			require.NoError(t, b.do("cp", image{"PATH": b.file("disk", content), "SIZE": "3"}, nil))
			assert.Equal(t, "lv-oneimg-7 raw\n", b.stdout.String())
			assert.Equal(t, disk, b.disk)
			require.Len(t, b.asked, 1)
			q := b.asked[0]
			assert.Equal(t, agent.OpMakeImage, q.Op)
			assert.Equal(t, c.content, q.Content)
			assert.Equal(t, &agent.Image{Group: "vg-one", ID: 7}, q.Image)
			assert.EqualValues(t, 3<<20, q.Size)
			require.NoError(t, b.do("cp", image{"PATH": b.file("disk", content), "SIZE": "3"}, map[string]string{"NO_DECOMPRESS": "YES"}))
			assert.Equal(t, content, b.disk)
			require.NoError(t, b.do("cp", image{"PATH": b.file("disk", content), "SIZE": "3", "TEMPLATE/MODE": "RAW"}, nil))
			assert.Equal(t, content, b.disk, "raw is raw")
		})
	}
}

// A raw image never gets less than it needs, and the older versions see no format.
func TestCopyOfALargerDisk(t *testing.T) {
	b := newBench(t)
	b.Version = opennebula.Version{Major: 5, Minor: 12}
	require.NoError(t, b.do("cp", image{"PATH": b.file("disk", someDisk()), "SIZE": "1"}, map[string]string{"BRIDGE_LIST": "node2"}))
	assert.Equal(t, "lv-oneimg-7\n", b.stdout.String())
	assert.EqualValues(t, 3<<20, b.asked[0].Size)
	assert.Equal(t, []string{"node2"}, b.on)
}

func TestChecksums(t *testing.T) {
	disk := someDisk()
	md, s1, s2 := md5.Sum(disk), sha1.Sum(disk), sha256.Sum256(disk)
	sums := map[string]string{"MD5": hex.EncodeToString(md[:]), "SHA1": hex.EncodeToString(s1[:]), "SHA256": strings.ToUpper(hex.EncodeToString(s2[:]))}
	for name, sum := range sums {
		b := newBench(t)
		path := b.file("disk", disk)
		require.NoError(t, b.do("cp", image{"PATH": path, "SIZE": "3", "TEMPLATE/" + name: sum}, nil), name)
		assert.Equal(t, disk, b.disk)
		b.asked = nil
		for _, wrong := range []string{strings.Repeat("0", len(sum)), "x", sum[1:]} {
			require.ErrorIs(t, b.do("cp", image{"PATH": path, "SIZE": "3", "TEMPLATE/" + name: wrong}, nil), ErrChecksum, name)
		}
		assert.Empty(t, b.asked, "no node hears of it")
		assert.Empty(t, b.stdout.String())
	}
}

func TestPathsAreRestricted(t *testing.T) {
	b := newBench(t)
	good := b.file("good", []byte("data"))
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("key"), 0o600))
	require.NoError(t, os.Symlink(secret, filepath.Join(b.safe, "link")))
	require.NoError(t, os.Symlink(filepath.Dir(secret), filepath.Join(b.safe, "dir")))
	require.NoError(t, os.Mkdir(b.safe+"X", 0o700))
	t.Cleanup(func() { _ = os.RemoveAll(b.safe + "X") })
	beside := filepath.Join(b.safe+"X", "file")
	require.NoError(t, os.WriteFile(beside, []byte("x"), 0o600))
	outside := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(good, outside))
	for path, want := range map[string]string{
		good: "", outside: "",
		secret: "restricted", beside: "restricted", b.safe + "/link": "restricted", b.safe + "/dir/secret": "restricted",
		b.safe + "/../" + filepath.Base(filepath.Dir(secret)) + "/secret": "", // another directory, or none
		b.safe: "not a regular file", "/dev/null": "not a regular file", "good": "not an absolute path", "/proc/self/environ": "restricted",
		"file://" + good: "nothing that an image", "ssh://host/x": "nothing that an image", "-": "not an absolute path",
	} {
		for _, verb := range []string{"cp", "stat"} {
			err := b.do(verb, image{"PATH": path, "SIZE": "1"}, nil)
			if path == good || path == outside {
				require.NoError(t, err, path)
				continue
			}
			require.Error(t, err, path)
			assert.ErrorContains(t, err, want, path)
		}
	}
	// What is restricted is the administrator's choice, but for what is always.
	require.NoError(t, b.do("stat", image{"PATH": secret}, map[string]string{"RESTRICTED_DIRS": "/etc"}))
	c := &call{DriverAction: &opennebula.DriverAction{Datastore: opennebula.Datastore{Template: map[string]string{"RESTRICTED_DIRS": "/x"}}}}
	_, restricted := c.directories()
	assert.True(t, within("/var/lib/one/.one/one_auth", restricted))
	assert.False(t, within("/srv/disk", restricted))
}

func (b *bench) tgz() []byte {
	var out bytes.Buffer
	packed, err := tarmode.NewCompressor(&out, tarmode.Gzip, 1)
	require.NoError(b, err)
	w := archive.NewWriter(packed)
	require.NoError(b, w.WriteGlobal(tarmode.Identity("11111111-2222-3333-4444-555555555555", "root")))
	require.NoError(b, w.WriteHeader(&archive.Header{Name: "etc", Type: archive.Dir, Mode: 0o755, ModTime: time.Unix(1, 0)}))
	require.NoError(b, w.Close())
	require.NoError(b, packed.Close())
	return out.Bytes()
}

func TestCopyOfAnArchive(t *testing.T) {
	b := newBench(t)
	tgz := b.tgz()
	path := b.file("root.tgz", tgz)
	require.NoError(t, b.do("cp", image{"PATH": path, "SIZE": "10", "TEMPLATE/FSTYPE": "ext4"}, nil))
	assert.Empty(t, b.asked)
	source, format, _ := strings.Cut(strings.TrimSpace(b.stdout.String()), " ")
	assert.Equal(t, "raw", format)
	assert.Equal(t, b.base, filepath.Dir(source))
	got, err := os.ReadFile(source)
	require.NoError(t, err)
	assert.Equal(t, tgz, got)

	require.NoError(t, b.do("rm", image{"SOURCE": source}, nil))
	assert.NoFileExists(t, source)
	require.NoError(t, b.do("rm", image{"SOURCE": source}, nil))

	unpack := map[string]string{"UNPACK": "True"}
	require.NoError(t, b.do("cp", image{"PATH": path, "SIZE": "10", "TEMPLATE/MODE": "TGZ", "TEMPLATE/SIZE": "1G", "TEMPLATE/FSTYPE": "xfs"}, unpack))
	q := b.asked[0]
	assert.Equal(t, agent.ContentTar, q.Content)
	assert.Equal(t, "xfs", q.FSType)
	assert.Equal(t, "11111111-2222-3333-4444-555555555555", q.FSUUID)
	assert.EqualValues(t, 1<<30, q.Size)
	assert.Equal(t, "lv-oneimg-7 raw\n", b.stdout.String())
	b.asked = nil
	require.NoError(t, b.do("cp", image{"PATH": path, "TEMPLATE/MODE": "TGZ", "TEMPLATE/UNPACK": "no"}, unpack))
	assert.Empty(t, b.asked, "the image's word goes before")
	require.Error(t, b.do("cp", image{"PATH": b.file("disk", someDisk()), "TEMPLATE/MODE": "TGZ"}, nil))

	plain, err := run.Exec{}.Run(t.Context(), run.Cmd{Path: "gzip", Args: []string{"-dc"}, Stdin: bytes.NewReader(tgz)})
	require.NoError(t, err)
	txz := b.file("root.tar.xz", b.packed("xz", plain.Stdout))
	require.NoError(t, b.do("cp", image{"PATH": txz, "TEMPLATE/MODE": "TZST"}, nil))
	source, _, _ = strings.Cut(b.stdout.String(), " ")
	kind, err := os.ReadFile(source)
	require.NoError(t, err)
	assert.Equal(t, tarmode.Zstd, tarmode.Sniff(kind), "the nodes do not read xz")
}

func TestMkfs(t *testing.T) {
	for name, c := range map[string]struct {
		fields  image
		content agent.Content
		fstype  string
		want    string // of the error
	}{
		"raw":         {image{"SIZE": "8", "FORMAT": "raw"}, agent.ContentNone, "", ""},
		"since 6.0":   {image{"SIZE": "8", "FORMAT": "raw", "FS": "xfs"}, agent.ContentFS, "xfs", ""},
		"up to 5.12":  {image{"SIZE": "8", "FSTYPE": "ext3"}, agent.ContentFS, "ext3", ""},
		"swap":        {image{"SIZE": "8", "TEMPLATE/FSTYPE": "swap"}, agent.ContentFS, "swap", ""},
		"qcow2":       {image{"SIZE": "8", "FORMAT": "qcow2"}, "", "", "FORMAT=raw"},
		"unknown":     {image{"SIZE": "8", "FS": "ntfs"}, "", "", "ntfs"},
		"no size":     {image{"FORMAT": "raw"}, "", "", "SIZE"},
		"save as":     {image{"SIZE": "8", "FORMAT": "save_as"}, "", "", ""},
		"old save as": {image{"SIZE": "8", "FSTYPE": "save_as"}, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			err := b.do("mkfs", c.fields, nil)
			if c.want != "" {
				require.ErrorContains(t, err, c.want)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, "lv-oneimg-7\n", b.stdout.String(), "no second word, in no version")
			if c.content == "" {
				assert.Empty(t, b.asked)
				return
			}
			assert.Equal(t, c.content, b.asked[0].Content)
			assert.Equal(t, c.fstype, b.asked[0].FSType)
			assert.EqualValues(t, 8<<20, b.asked[0].Size)
		})
	}
	b := newBench(t)
	require.NoError(t, b.do("mkfs", image{"SIZE": "8", "FORMAT": "save_as"}, map[string]string{"MODE": "TGZ"}))
	assert.Equal(t, b.base, filepath.Dir(strings.TrimSpace(b.stdout.String())), "what the datastore's MODE makes is a file")
}

func TestRemoveAndClone(t *testing.T) {
	b := newBench(t)
	for _, source := range []string{"lv-oneimg-7", "frontend:lv-oneimg-7", "vg-one/lv-oneimg-7"} {
		b.asked = nil
		require.NoError(t, b.do("rm", image{"SOURCE": source}, nil))
		assert.Equal(t, agent.OpDropImage, b.asked[0].Op)
		assert.Equal(t, 7, b.asked[0].Image.ID)
	}
	b.asked = nil
	require.NoError(t, b.do("rm", image{"SOURCE": ""}, nil), "it never was")
	for _, source := range []string{"lv-oneimg-8", "lv-one-7-0", "/etc/passwd", b.base + "/../x", "vg-two/lv-oneimg-7", "lv-oneimg-7_s0"} {
		require.Error(t, b.do("rm", image{"SOURCE": source}, nil), source)
	}
	assert.Empty(t, b.asked)

	require.NoError(t, b.do("clone", image{"ID": "9", "PATH": "lv-oneimg-7", "CLONING_ID": "7", "SIZE": "3"}, nil))
	assert.Equal(t, agent.ContentImage, b.asked[0].Content)
	assert.Equal(t, &agent.Image{Group: "vg-one", ID: 7}, b.asked[0].Source)
	assert.Equal(t, &agent.Image{Group: "vg-one", ID: 9}, b.asked[0].Image)
	assert.Equal(t, "lv-oneimg-9\n", b.stdout.String())
	file := filepath.Join(b.base, "archive")
	require.NoError(t, os.WriteFile(file, []byte("tar"), 0o600))
	require.NoError(t, b.do("clone", image{"PATH": file}, nil))
	got, err := os.ReadFile(strings.TrimSpace(b.stdout.String()))
	require.NoError(t, err)
	assert.Equal(t, "tar", string(got))
}

func TestCopyOfAVMsDisk(t *testing.T) {
	owned := opennebula.Access{UID: 5, GID: 1, OwnerManage: true, GroupUse: true}
	for name, c := range map[string]struct {
		edit func(*bench)
		path string
		uid  string
		want string // of the error; "host takeover" of the request else
	}{
		"suspended":        {nil, "lvm://42/1", "5", ""},
		"oneadmin may":     {nil, "lvm://42/1", "0", ""},
		"another may not":  {nil, "lvm://42/1", "6", "may not manage VM 42"},
		"running":          {func(b *bench) { b.vm.State = opennebula.StateActive }, "lvm://42/1", "5", "may be writing"},
		"no such disk":     {nil, "lvm://42/9", "5", "no disk 9"},
		"nonsense":         {nil, "lvm://42/../1", "5", "is not lvm://VM/DISK"},
		"no disk":          {nil, "lvm://42", "5", "is not lvm://VM/DISK"},
		"never ran":        {func(b *bench) { b.vm.History = nil }, "lvm://42/1", "5", "no history"},
		"its node is lost": {func(b *bench) { b.hosts[1].State = opennebula.HostError }, "lvm://42/1", "5", "-"},
		"the bridge list":  {func(b *bench) { b.datastores[101].Template["BRIDGE_LIST"] = "node1" }, "lvm://42/1", "5", ""},
		"lost, with a bridge": {func(b *bench) {
			b.hosts[1].State = opennebula.HostError
			b.datastores[101].Template["BRIDGE_LIST"] = "node1"
		}, "lvm://42/1", "5", "-"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.vm = &opennebula.VM{ID: 42, State: opennebula.StateSuspended, Access: owned, Disks: []opennebula.Disk{{ID: 1, Size: 12}},
				History: []opennebula.History{{Seq: 0, Hostname: "node2", DatastoreID: 101}}}
			if c.edit != nil {
				c.edit(b)
			}
			err := b.do("cp", image{"PATH": c.path, "UID": c.uid, "GID": c.uid}, nil)
			if c.want != "" && c.want != "-" {
				require.ErrorContains(t, err, c.want)
				assert.Empty(t, b.asked)
				return
			}
			require.NoError(t, err)
			q := b.asked[0]
			assert.Equal(t, agent.OpStore, q.Op)
			assert.Equal(t, []any{42, 1, 101, "/var/lib/one/datastores/101/42"}, []any{q.VM, q.Disk, q.DS, q.Home})
			assert.Equal(t, "lv-oneimg-7 raw\n", b.stdout.String())
			if c.want == "-" {
				assert.Equal(t, []string{"node1", "node2"}, []string{b.on[0], q.TakeOver})
			} else {
				assert.Equal(t, []string{"node2", ""}, []string{b.on[0], q.TakeOver})
			}
			require.NoError(t, b.do("stat", image{"PATH": c.path}, nil))
			assert.Equal(t, "12\n", b.stdout.String())
		})
	}
}

func TestCopyOfAnImage(t *testing.T) {
	b := newBench(t)
	other := t.TempDir()
	file := filepath.Join(other, "0123")
	tgz := b.tgz()
	require.NoError(t, os.WriteFile(file, tgz, 0o600))
	b.datastores[1] = &opennebula.Datastore{ID: 1, BasePath: other, Template: map[string]string{}}
	b.datastores[102] = &opennebula.Datastore{ID: 102, Template: map[string]string{"VG_NAME": "vg-two"}}
	public := opennebula.Access{UID: 5, GID: 1, OtherUse: true}
	b.images[3] = &opennebula.Image{ID: 3, Size: 20, DatastoreID: 102, Source: "lv-oneimg-3", Access: public}
	b.images[4] = &opennebula.Image{ID: 4, DatastoreID: 1, Source: file, Access: public, FSType: "ext4", Template: map[string]string{"MODE": "TGZ"}}
	b.images[5] = &opennebula.Image{ID: 5, DatastoreID: 1, Source: "/etc/passwd", Access: public}
	b.images[6] = &opennebula.Image{ID: 6, DatastoreID: 102, Source: "lv-oneimg-6", Access: opennebula.Access{UID: 5, GID: 1, OwnerUse: true}}
	mine := func(path string) image { return image{"PATH": path, "UID": "9", "GID": "9"} }
	require.NoError(t, b.do("cp", mine("vol://3"), nil))
	assert.Equal(t, &agent.Image{Group: "vg-two", ID: 3}, b.asked[0].Source)
	require.NoError(t, b.do("stat", image{"PATH": "vol://3"}, nil))
	assert.Equal(t, "20\n", b.stdout.String())
	require.NoError(t, b.do("cp", mine("vol://4"), nil))
	source, _, _ := strings.Cut(b.stdout.String(), " ")
	got, err := os.ReadFile(source)
	require.NoError(t, err)
	assert.Equal(t, tgz, got)
	assert.Equal(t, []string{"MODE=\"TGZ\"\nFSTYPE=\"ext4\""}, b.updates)
	assert.ErrorContains(t, b.do("cp", mine("vol://5"), nil), "neither a volume")
	assert.ErrorIs(t, b.do("cp", mine("vol://6"), nil), ErrRefused)
	assert.ErrorIs(t, b.do("cp", mine("vol://7"), nil), opennebula.ErrNoSuchObject)
	assert.ErrorIs(t, b.do("cp", mine("vol://x"), nil), ErrRefused)
}

func TestMonitorAndExport(t *testing.T) {
	b := newBench(t)
	require.NoError(t, b.do("monitor", image{"ID": "100"}, nil))
	assert.Equal(t, "USED_MB=61440\nTOTAL_MB=102400\nFREE_MB=40960\n", b.stdout.String())
	b.reply = []byte("packed")
	require.NoError(t, b.do("export", image{"SOURCE": "lv-oneimg-7", "SIZE": "3"}, nil))
	sum := md5.Sum(b.reply)
	assert.Contains(t, b.stdout.String(), "<MD5>"+hex.EncodeToString(sum[:])+"</MD5>")
	assert.Contains(t, b.stdout.String(), "<DISPOSE>YES</DISPOSE>")
	files, err := filepath.Glob(b.Config.String("TMP_ROOT") + "/*")
	require.NoError(t, err)
	require.Len(t, files, 1)
	assert.Contains(t, b.stdout.String(), "<IMPORT_SOURCE>"+files[0]+"</IMPORT_SOURCE>")
}

// Both ways of handing the document over, and what does not fit together.
func TestHowOnedCalls(t *testing.T) {
	b := newBench(t)
	packed := base64.StdEncoding.EncodeToString([]byte(b.document(image{"ID": "7", "SIZE": "8"}, nil)))
	for name, c := range map[string]struct {
		argv  []string
		stdin string
		want  string
	}{
		"up to 6.6": {[]string{packed, "7"}, "", ""}, "-i": {[]string{"-", "7"}, packed, ""}, "since 6.8": {[]string{"7"}, packed, ""},
		"another image": {[]string{"8"}, packed, "it is about image 7"}, "no document": {[]string{"7"}, "", "DS_DRIVER_ACTION_DATA"},
		"no id": {nil, packed, "expected [DOCUMENT] ID"},
	} {
		b.Stdin = strings.NewReader(c.stdin)
		err := b.Driver.Do(t.Context(), "mkfs", c.argv)
		if c.want == "" {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorContains(t, err, c.want, name)
	}
	require.ErrorIs(t, b.Driver.Do(t.Context(), "ln", nil), opennebula.ErrUsage)
	b.DryRun, b.asked = true, nil
	require.NoError(t, b.do("mkfs", image{"SIZE": "8"}, nil))
	assert.Contains(t, b.stdout.String(), "1. node1: make image 7")
	assert.Empty(t, b.asked)
}

// Every verb that needs a node asks the same resolver.
func TestWhichNode(t *testing.T) {
	for verb, fields := range map[string]image{
		"cp": {"PATH": "disk", "SIZE": "3"}, "mkfs": {"SIZE": "8"}, "rm": {"SOURCE": "lv-oneimg-7"}, "clone": {"PATH": "lv-oneimg-3"},
		"monitor": {"ID": "100"}, "export": {"SOURCE": "lv-oneimg-7"},
	} {
		for name, c := range map[string]struct {
			edit func(*bench)
			ds   map[string]string
			want string
		}{
			"any":          {func(*bench) {}, nil, "node1"},
			"a dead one":   {func(b *bench) { b.hosts[0].State = opennebula.HostError }, nil, "node2"},
			"bridge list":  {func(*bench) {}, map[string]string{"BRIDGE_LIST": "node2 node1"}, "node2"},
			"dead bridge":  {func(b *bench) { b.hosts[1].State = opennebula.HostOffline }, map[string]string{"BRIDGE_LIST": "node2 node1"}, "node1"},
			"none is left": {func(b *bench) { b.hosts = nil }, nil, ""},
		} {
			b := newBench(t)
			c.edit(b)
			asked := image{}
			for k, v := range fields {
				asked[k] = v
			}
			if verb == "cp" {
				asked["PATH"] = b.file("disk", someDisk())
			}
			err := b.do(verb, asked, c.ds)
			if c.want == "" {
				require.ErrorIs(t, err, plan.ErrNoNode, "%s: %s", verb, name)
				continue
			}
			require.NoError(t, err, "%s: %s", verb, name)
			assert.Equal(t, []string{c.want}, b.on, "%s: %s", verb, name)
		}
	}
}

// An image may name its node, of those that the datastore has.
func TestHostOfAnImage(t *testing.T) {
	for name, c := range map[string]struct {
		host, bridges string
		clusters      []int
		wrong         string
	}{
		"any of them": {"node2", "", nil, ""}, "of the bridges": {"node2", "node1 node2", nil, ""}, "of the cluster": {"node2", "", []int{5}, ""},
		"unknown": {"node9", "", nil, "in service"}, "dead": {"node3", "", nil, "in service"},
		"not of the bridges": {"node2", "node1", nil, "none of the nodes"}, "of another cluster": {"node2", "", []int{4}, "none of the nodes"},
	} {
		b := newBench(t)
		b.hosts[1].ClusterID = 5
		b.hosts = append(b.hosts, opennebula.Host{ID: 2, Name: "node3", State: opennebula.HostError})
		template := map[string]string{"BRIDGE_LIST": c.bridges}
		call := &call{DriverAction: &opennebula.DriverAction{
			Image: &opennebula.Image{Template: map[string]string{"HOST": c.host}}, Datastore: opennebula.Datastore{ID: 100, ClusterIDs: c.clusters, Template: template},
		}}
		var err error
		call.cfg, err = b.Config.WithDatastore(template, "datastore 100")
		require.NoError(t, err)
		host, err := b.node(t.Context(), call)
		if c.wrong != "" {
			require.ErrorIs(t, err, ErrRefused, name)
			require.ErrorContains(t, err, c.wrong, name)
			continue
		}
		require.NoError(t, err, name)
		assert.Equal(t, c.host, host, name)
	}
}

func TestBandwidth(t *testing.T) {
	for text, want := range map[string]int64{"": 0, "-": 0, "4096": 4096, "10m": 10 << 20, "1g": 1 << 30} {
		c := &call{DriverAction: &opennebula.DriverAction{Datastore: opennebula.Datastore{Template: map[string]string{"LIMIT_TRANSFER_BW": text}}}}
		got, err := c.bandwidth()
		require.NoError(t, err)
		assert.Equal(t, want, got, text)
	}
	b := newBench(t)
	require.ErrorIs(t, b.do("cp", image{"PATH": b.file("disk", someDisk()), "SIZE": "3"}, map[string]string{"LIMIT_TRANSFER_BW": "fast"}), lvm.ErrBadSize)
	var out bytes.Buffer
	started := time.Now()
	_, err := limited(t.Context(), &out, 10<<10).Write(make([]byte, 3<<10))
	require.NoError(t, err)
	assert.GreaterOrEqual(t, time.Since(started), 300*time.Millisecond, "no faster; how much slower nobody promises")
	assert.Equal(t, 3<<10, out.Len())
}
