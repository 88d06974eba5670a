package opennebula

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const dir = "/var/lib/one//datastores/101/42"

func parse(t *testing.T, line string) Call {
	t.Helper()
	words := strings.Fields(line)
	call, err := ParseTM(words[0], words[1:])
	require.NoError(t, err, line)
	assert.Equal(t, words[1:], call.Arguments)
	return call
}

// traceLine is one driver call of the recorded trace: tm/clvm/VERB ARGUMENTS [<stdin: …>].
var traceLine = regexp.MustCompile(`^(tm|datastore)/clvm/(\S+) ([^<]*?)(?:   <stdin: (base64 of|as is) (\S+)>)?$`)

func TestEveryCallOfARealOned(t *testing.T) {
	seen := map[string]bool{}
	lines := bufio.NewScanner(reader(t, "trace.txt"))
	for lines.Scan() {
		match := traceLine.FindStringSubmatch(lines.Text())
		if match == nil {
			continue
		}
		driver, verb, argv, stdin := match[1], match[2], strings.Fields(match[3]), match[5]
		seen[driver+" "+verb] = true
		if driver == "tm" {
			call, err := ParseTM(verb, argv)
			require.NoError(t, err, lines.Text())
			assert.Equal(t, stdin != "", call.ReadsVMDocument(), lines.Text())
			if stdin != "" {
				vm, err := ParseVM(reader(t, stdin))
				require.NoError(t, err)
				assert.Equal(t, call.VM, vm.ID)
			}
			continue
		}
		encoded := base64.StdEncoding.EncodeToString(fixture(t, stdin))
		_, _, err := ReadDriverAction(argv, strings.NewReader(encoded))
		require.NoError(t, err, lines.Text())
	}
	for _, want := range []string{"tm clone", "tm ln", "tm mvds", "tm cpds", "tm failmigrate", "tm snap_create_live", "datastore cp"} {
		assert.True(t, seen[want], want)
	}
}

func TestImageVerbs(t *testing.T) {
	call := parse(t, "clone frontend:lv-oneimg-0 node1:"+dir+"/disk.0 42 100")
	assert.Equal(t, Location{"frontend", "lv-oneimg-0"}, call.Source)
	assert.Equal(t, Location{"node1", "/var/lib/one/datastores/101/42/disk.0"}, call.Dest)
	assert.Equal(t, HomePath{"/var/lib/one/datastores", 101, 42, 0, "disk.0"}, call.Home)
	assert.Equal(t, []any{"node1", 42, 100, 0, None}, []any{call.Host, call.VM, call.Datastore, call.Disk, call.Snapshot})

	kernel := parse(t, "clone fe:/var/lib/one/datastores/2/abc node1:"+dir+"/kernel 42 2")
	assert.Equal(t, "kernel", kernel.Home.Name)
	assert.Equal(t, None, kernel.Disk)

	web := parse(t, "ln http://repo/a.tgz node1:"+dir+"/disk.1 42 100")
	assert.Empty(t, web.Source)
	assert.Equal(t, "http://repo/a.tgz", web.SourceRaw)
}

func TestVolatileDisks(t *testing.T) {
	swap := parse(t, "mkswap 256 node1:"+dir+"/disk.3 42 101")
	assert.Equal(t, []any{int64(256), 3, 101}, []any{swap.SizeMiB, swap.Disk, swap.Datastore})
	image := parse(t, "mkimage 512 raw node1:"+dir+"/disk.2 42 101")
	assert.Equal(t, []any{int64(512), "raw", 2}, []any{image.SizeMiB, image.Format, image.Disk})
	zero := parse(t, "mkswap 256 node1:"+dir+"/disk.3 42 0")
	assert.Equal(t, 0, zero.Datastore, "3.6 always says 0")
}

func TestContextTakesFilesFromTheFront(t *testing.T) {
	call := parse(t, "context /var/lib/one/vms/42/context.sh /srv/a.sh http://x/b.sh node1:"+dir+"/disk.4 42 101")
	assert.Equal(t, []string{"/var/lib/one/vms/42/context.sh", "/srv/a.sh", "http://x/b.sh"}, call.Files)
	assert.Equal(t, 4, call.Disk)
}

func TestMove(t *testing.T) {
	disk := parse(t, "mv node1:"+dir+"/disk.0 fe:/var/lib/one/datastores/102/42/disk.0 42 100")
	assert.Equal(t, []any{"fe", 0, 101, 102},
		[]any{disk.Host, disk.Disk, disk.SourceHome.Datastore, disk.Home.Datastore})
	home := parse(t, "mv node1:"+dir+" fe:"+dir+" 42 101")
	assert.True(t, home.Home.IsHome())
	assert.Equal(t, None, home.Disk)
}

func TestWriteBack(t *testing.T) {
	mvds := parse(t, "mvds node2:"+dir+"/disk.1 lv-oneimg-1 42 100")
	assert.Equal(t, []any{"node2", 1, "lv-oneimg-1", Location{"", "lv-oneimg-1"}},
		[]any{mvds.Host, mvds.Disk, mvds.DestRaw, mvds.Dest})
	old := parse(t, "cpds node2:"+dir+"/disk.1 /var/lib/one/datastores/1/abc 42 100")
	assert.Equal(t, None, old.Snapshot)
	current := parse(t, "cpds node2:"+dir+"/disk.1 lv-oneimg-6 -1 42 100")
	assert.Equal(t, None, current.Snapshot)
	snapshot := parse(t, "cpds node2:"+dir+"/disk.1 lv-oneimg-6 3 42 100")
	assert.Equal(t, 3, snapshot.Snapshot)
}

func TestDiskVerbs(t *testing.T) {
	assert.Equal(t, None, parse(t, "delete node2:"+dir+" 42 101").Disk)
	assert.Equal(t, 5, parse(t, "delete node2:"+dir+"/disk.5 42 101").Disk)
	resize := parse(t, "resize node2:"+dir+"/disk.0 3072 42 100")
	assert.Equal(t, []any{int64(3072), 0, "node2"}, []any{resize.SizeMiB, resize.Disk, resize.Host})
	for _, verb := range []string{"snap_create", "snap_create_live", "snap_delete", "snap_revert"} {
		assert.Equal(t, 7, parse(t, verb+" node2:"+dir+"/disk.0 7 42 100").Snapshot)
	}
}

func TestMigrationsOfAllVersions(t *testing.T) {
	document := []byte("<VM><ID>42</ID></VM>")
	encoded := base64.StdEncoding.EncodeToString(document)
	base := "premigrate node1 node2 " + dir + " 42 101"
	for name, test := range map[string]struct {
		line     string
		document []byte
		caller   string
	}{
		"since 5.10":                {base, nil, ""},
		"since 5.10, passed on":     {base + " shared", nil, "shared"},
		"up to 5.8":                 {base + " " + encoded, document, ""},
		"5.4 to 5.8, passed on":     {base + " " + encoded + " shared", document, "shared"},
		"a name that is base64 too": {base + " ceph", nil, "ceph"},
	} {
		t.Run(name, func(t *testing.T) {
			call := parse(t, test.line)
			assert.Equal(t, []any{"node1", "node2", "", 42, 101, None},
				[]any{call.From, call.To, call.Host, call.VM, call.Datastore, call.Disk})
			assert.Equal(t, test.document, call.VMDocument)
			assert.Equal(t, test.caller, call.CallerTM)
			assert.Equal(t, test.document == nil, call.ReadsVMDocument())
		})
	}
}

func TestOrientationOfMigrations(t *testing.T) {
	vm := &VM{History: []History{{Seq: 1, Hostname: "new"}}}
	swapped := Call{From: "new", To: "old"}
	for name, test := range map[string]struct {
		call    Call
		vm      *VM
		version Version
		from    string
	}{
		"3.8":                        {swapped, vm, Version{}, "old"},
		"4.0":                        {Call{From: "old", To: "new"}, vm, Version{}, "old"},
		"without a document":         {swapped, nil, Version{}, "new"},
		"without a history":          {swapped, &VM{}, Version{}, "new"},
		"a version that says it":     {swapped, vm, Version{7, 4, 0}, "new"},
		"a record of neither host":   {swapped, &VM{History: []History{{Hostname: "x"}}}, Version{}, "new"},
		"a migration to where it is": {Call{From: "new", To: "new"}, vm, Version{}, "new"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.from, test.call.Orient(test.vm, test.version).From)
		})
	}
}

func TestBackups(t *testing.T) {
	old := parse(t, "prebackup node1:"+dir+" 0:2 one-42 42 101")
	assert.Equal(t, []any{[]int{0, 2}, "one-42", "", "node1"}, []any{old.Disks, old.DeployID, old.JobID, old.Host})
	assert.True(t, old.ReadsVMDocument())
	job := parse(t, "postbackup_live node1:"+dir+" 0 one-42 9 42 101")
	assert.Equal(t, "9", job.JobID)
	none := parse(t, "postbackup node1:"+dir+" 0 one-42 - 42 101")
	assert.Empty(t, none.JobID)
	restore := parse(t, "restore node1:"+dir+" 42 12 -1 -1")
	assert.Equal(t, []any{12, None, None}, []any{restore.Image, restore.Increment, restore.Disk})
	assert.False(t, restore.ReadsVMDocument())
}

func TestMonitor(t *testing.T) {
	assert.Equal(t, 101, parse(t, "monitor 101").Datastore)
	assert.Equal(t, 101, parse(t, "monitor PFZNPg== 101").Datastore)
}

func TestParseTMRefuses(t *testing.T) {
	disk, home := " node1:"+dir+"/disk.0 ", " node1:"+dir+" "
	for _, line := range []string{
		"frobnicate 1", "clone", "clone a b c d e", "clone fe:../x" + disk + "42 100", "clone fe:lv" + home + "42 100",
		"clone fe:lv" + disk + "42 x", "clone fe:lv" + disk + "41 100", "clone fe:lv" + disk + "042 100",
		"clone fe:lv node1:" + dir + "/deployment.0 42 100", "clone fe:lv -oX:" + dir + "/disk.0 42 100",
		"mkswap 0" + disk + "42 101", "mkswap -1" + disk + "42 101", "mkswap 1.5" + disk + "42 101", "mkswap 8796093022208" + disk + "42 101",
		"mkswap 256" + home + "42 101", "mkimage 1 -F" + disk + "42 101", "mkimage 1 $x" + disk + "42 101", "mkimage x raw" + disk + "42 101",
		"context /a/b" + home + "42 101", "mv" + disk + home + "42 101", "mv" + home + "node1:/a/b/101/43 42 101", "mv x" + disk + "42 1",
		"mv" + disk + "node2:" + dir + "/disk.1 42 101", "mv" + disk + "x 42 101", "mv" + disk + "node2:" + dir + "/kernel 42 101",
		"mvds" + home + "lv 42 100", "mvds" + disk + "../lv 42 100", "cpds" + disk + "lv x 42 100", "cpds" + disk + "lv -2 42 100",
		"delete node1:" + dir + "/kernel 42 101", "delete node1:/etc 42 101", "resize" + disk + "x 42 100", "resize" + disk + "0 42 100",
		"snap_create" + disk + "-1 42 100", "snap_create" + home + "1 42 100",
		"premigrate -x node2 " + dir + " 42 101", "premigrate node1 node2 /x 42 101", "premigrate node1 node2 " + dir + "/disk.0 42 101",
		"premigrate node1 node2 " + dir + " 43 101", "premigrate node1 node2 " + dir + " 42 101 ../x",
		"premigrate node1 node2 " + dir + " 42 101 shared ceph",
		"prebackup" + disk + "0 one-42 42 101", "prebackup" + home + "0: one-42 42 101", "prebackup" + home + "0 -x 42 101",
		"prebackup" + home + "0 one-42 x 42 101", "restore" + disk + "42 1 1 1", "restore" + home + "x 1 1 1",
		"restore" + home + "42 x 1 1", "restore" + home + "42 1 x 1", "restore" + home + "42 1 1 x", "restore" + home + "43 1 1 1",
		"monitor x", "monitor",
	} {
		words := strings.Fields(line)
		_, err := ParseTM(words[0], words[1:])
		require.ErrorIs(t, err, ErrUsage, line)
		assert.Contains(t, err.Error(), words[0], line)
	}
	_, err := ParseTM("context", []string{"/a\tb", "node1:" + dir + "/disk.4", "42", "101"})
	assert.ErrorIs(t, err, ErrUsage)
}

func TestUsage(t *testing.T) {
	assert.Contains(t, Verbs, "snap_create_live")
	for _, verb := range Verbs {
		lines := strings.Split(Usage(verb), "\n")
		require.Len(t, lines, 3, verb)
		assert.True(t, strings.HasPrefix(lines[0], verb+" "))
		assert.True(t, strings.HasSuffix(lines[1], "."))
		_, err := ParseTM(verb, nil)
		require.ErrorIs(t, err, ErrUsage)
		assert.ErrorContains(t, err, lines[0])
	}
	assert.Empty(t, Usage("frobnicate"))
	_, err := ParseTM("frobnicate", nil)
	assert.ErrorContains(t, err, "the verbs are clone, ln,")
	assert.Equal(t, len(Verbs), len(slices.Compact(slices.Sorted(slices.Values(Verbs)))))
}

func FuzzParseTM(f *testing.F) {
	lines := bufio.NewScanner(bytes.NewReader(fixture(f, "trace.txt")))
	for lines.Scan() {
		if match := traceLine.FindStringSubmatch(lines.Text()); match != nil {
			f.Add(match[2], match[3])
		}
	}
	f.Add("premigrate", "a b "+dir+" 42 101 PFZNPg== shared")
	f.Add("prebackup", "a:"+dir+" 0:1 x 42 101")
	f.Fuzz(func(t *testing.T, verb, arguments string) {
		call, err := ParseTM(verb, strings.Split(arguments, " "))
		if err != nil {
			require.ErrorIs(t, err, ErrUsage)
			return
		}
		if call.Home.Base != "" {
			require.Equal(t, call.VM, call.Home.VM)
		}
		for _, host := range []string{call.Host, call.From, call.To} {
			require.False(t, strings.HasPrefix(host, "-"))
		}
		require.GreaterOrEqual(t, call.SizeMiB, int64(0))
		require.GreaterOrEqual(t, call.Disk, None)
	})
}
