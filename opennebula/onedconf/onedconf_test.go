package onedconf

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/opennebula"
)

var update = flag.Bool("update", false, "write the goldens anew")

// releases are those whose files differ, and the version that stands for each.
var releases = []struct {
	file, version string
}{{"3.8.conf", ""}, {"4.14.conf", "4.14.2"}, {"5.4.conf", "5.4.13"}, {"6.4.conf", "6.4.7"}, {"7.4.conf", "7.4.0"}}

func stock(t testing.TB, name string) *File {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	f, err := Parse(string(text))
	require.NoError(t, err)
	return f
}

func release(t testing.TB, text string) opennebula.Version {
	t.Helper()
	if text == "" {
		return opennebula.Version{}
	}
	v, err := opennebula.ParseVersion(text)
	require.NoError(t, err)
	return v
}

func everything(t testing.TB, version string) Wiring {
	return Wiring{Release: release(t, version), Stores: true, Clusters: true, MigrateLocal: true}
}

// What is made of each version's file stands in testdata; after it nothing is missing.
func TestEveryVersion(t *testing.T) {
	for _, r := range releases {
		before := stock(t, r.file)
		w := everything(t, r.version)
		after, gaps, err := w.Edit(before)
		require.NoError(t, err, r.file)
		assert.NotEmpty(t, gaps)
		golden := filepath.Join("testdata", strings.TrimSuffix(r.file, ".conf")+".golden")
		if *update {
			require.NoError(t, os.WriteFile(golden, []byte(after.String()), 0o600))
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		assert.Equal(t, string(want), after.String(), r.file)

		again, gaps, err := w.Edit(after)
		require.NoError(t, err)
		assert.Empty(t, gaps)
		assert.Equal(t, after.String(), again.String())
		assert.Empty(t, lost(before.String(), after.String()), "lines that are not there any more")
	}
}

// lost are the lines of one text that the other has not, but for those with ARGUMENTS.
func lost(before, after string) (all []string) {
	for line := range strings.Lines(before) {
		if !strings.Contains(after, line) && !strings.Contains(strings.ToUpper(line), "ARGUMENTS") {
			all = append(all, line)
		}
	}
	return all
}

func TestXen(t *testing.T) {
	for version, defaults := range map[string]string{"": "vmm_exec/vmm_exec_xen.conf", "4.14.2": "vmm_exec/vmm_exec_xen4.conf"} {
		f, err := Parse("")
		require.NoError(t, err)
		w := Wiring{Release: release(t, version), Clusters: true, Xen: true}
		changed, err := w.vmDriver(f.Config())[0].edit(f)
		require.NoError(t, err)
		settings, there := changed.Config().Driver("VM_MAD", "rhcs")
		require.True(t, there)
		assert.Equal(t, "xen", settings["TYPE"])
		assert.Equal(t, defaults, settings["DEFAULT"])
		assert.Equal(t, "-t 15 -r 0 rhcs", settings["ARGUMENTS"])
	}
}

// Each is wrong alone: what is found, and what the file has then.
func TestGaps(t *testing.T) {
	for _, c := range []struct{ name, from, to, problem, want string }{
		{"shared", `SHARED = "YES",
    DS_MIGRATE = "YES", DRIVER`, `SHARED = "no" # of one node
    ,DS_MIGRATE = "YES", DRIVER`, `SHARED "no" instead of "YES"`, `SHARED = "YES" # of one node`},
		{"no driver", `DRIVER = "raw", ALLOW_ORPHANS = "YES", DISK_TYPE`, `ALLOW_ORPHANS = "YES", DISK_TYPE`, `DRIVER "" instead of "raw"`, `DRIVER = "raw"`},
		{"quoted list", `-d dummy,lvm,shared,fs_lvm,fs_lvm_ssh,qcow2,ssh,ceph,dev,iscsi_libvirt,local,clvm"`, `-d \"dummy,lvm\" -w 60"`, "TM_MAD in oned.conf does not list clvm behind -d", `-d \"dummy,lvm,clvm\" -w 60"`},
		{"no -s", ` -s shared,ssh,ceph,fs_lvm,fs_lvm_ssh,qcow2,local,lvm,clvm`, ``, "behind -s", `restic,rsync,clvm -s clvm"`},
		{"migration on the node", ` -l migrate=migrate_local`, ``, "no -l migrate=migrate_local", `"-l migrate=migrate_local -t 15 -r 0 rhcs"`},
		{"inherited", `INHERIT_DATASTORE_ATTR  = "DISK_TYPE"`, `#INHERIT_DATASTORE_ATTR  = "DISK_TYPE"`, "INHERIT_DATASTORE_ATTR DISK_TYPE", "\"PERSISTENT_SNAPSHOTS\"\nINHERIT_DATASTORE_ATTR  = \"DISK_TYPE\"\n"},
	} {
		text := stock(t, "7.4.golden").String()
		require.Contains(t, text, c.from, c.name)
		f, err := Parse(strings.Replace(text, c.from, c.to, 1))
		require.NoError(t, err, c.name)
		changed, gaps, err := everything(t, "7.4.0").Edit(f)
		require.NoError(t, err, c.name)
		require.Len(t, gaps, 1, c.name)
		assert.Contains(t, gaps[0].Problem, c.problem)
		assert.Contains(t, changed.String(), c.want, c.name)
	}
}

// What cannot be changed without guessing is left to a person.
func TestByHand(t *testing.T) {
	f, err := Parse(strings.Replace(stock(t, "7.4.golden").String(), "-l migrate=migrate_local", "-l save", 1))
	require.NoError(t, err)
	_, _, err = everything(t, "7.4.0").Edit(f)
	require.ErrorContains(t, err, "by hand")
}

func TestParse(t *testing.T) {
	f, err := Parse("a=1\nB = [ c = \"x \\\" y\", # why\n d=2,\n\tE = \"two\nlines\"]\nEMPTY =\nNONE = []# end")
	require.NoError(t, err)
	c := f.Config()
	assert.Equal(t, []string{"1"}, c.Values("A"))
	assert.Equal(t, []string{""}, c.Values("EMPTY"))
	b, ok := opennebula.NewDaemonConfig([]opennebula.Section{{Kind: "X", Settings: map[string]string{"NAME": "x"}}}).Driver("X", "X")
	assert.True(t, ok)
	assert.Equal(t, "x", b["NAME"])
	require.Len(t, f.attributes, 4)
	assert.Equal(t, `x " y`, f.attributes[1].get("C"))
	assert.Equal(t, "2", f.attributes[1].get("D"))
	assert.Equal(t, "two\nlines", f.attributes[1].get("E"))
	changed, err := f.set(1, "E", "one")
	require.NoError(t, err)
	assert.Equal(t, strings.Replace(f.String(), "\"two\nlines\"", `"one"`, 1), changed.String())
	changed, err = f.set(3, "F", "1")
	require.NoError(t, err)
	assert.Contains(t, changed.String(), `NONE = [ F = "1" ]# end`)

	for text, want := range map[string]string{
		"A": "line 1", "A = [ B = 1": "line 1", "\n\nA = \"": "line 3: the quotes", "A = [ B = 1, ]": "NAME = is expected",
		"A = 1 2": "NAME = is expected", "A = # x": "a value is expected", "A = [ B = 1 C = 2 ]": "a comma is expected", "= 1": "NAME = is expected",
	} {
		_, err := Parse(text)
		require.ErrorIs(t, err, ErrSyntax, text)
		assert.ErrorContains(t, err, want, text)
	}
}

// Lines are put behind those of their kind, whatever stands behind these.
func TestAdd(t *testing.T) {
	for before, want := range map[string]string{
		"":                     "I = \"x\"\n",
		"A = 1":                "A = 1\n\nI = \"x\"\n",
		"I = 1 # c\nA = 2\n":   "I = 1 # c\nI = \"x\"\nA = 2\n",
		"I = 1 A = 2\n":        "I = 1\nI = \"x\"\n A = 2\n",
		"I = 1\nI = 2":         "I = 1\nI = 2\n\nI = \"x\"\n",
		"I = [ A = 1 ]\nB =\n": "I = [ A = 1 ]\nI = \"x\"\nB =\n",
	} {
		f, err := Parse(before)
		require.NoError(t, err)
		changed, err := f.add("I", `I = "x"`)
		require.NoError(t, err)
		assert.Equal(t, want, changed.String())
	}
}

func TestDatastoreAttributes(t *testing.T) {
	seven, three := Wiring{Release: release(t, "7.4.0")}, Wiring{}
	image := opennebula.Datastore{TMMAD: "clvm", DSMAD: "clvm", Template: map[string]string{"LN_TARGET": "none"}}
	assert.Equal(t, "CLONE_TARGET=\"SELF\"\nDISK_TYPE=\"BLOCK\"\nPERSISTENT_SNAPSHOTS=\"YES\"", opennebula.TemplateText(seven.DatastoreAttributes(image)))
	image.DSMAD = "fs"
	assert.Equal(t, "LN_TARGET=\"SYSTEM\"\nCLONE_TARGET=\"SYSTEM\"\nDISK_TYPE=\"BLOCK\"", opennebula.TemplateText(seven.DatastoreAttributes(image)))
	assert.Empty(t, three.DatastoreAttributes(image))
	assert.Empty(t, seven.DatastoreAttributes(opennebula.Datastore{TMMAD: "ssh"}))
	assert.Empty(t, seven.DatastoreAttributes(opennebula.Datastore{TMMAD: "clvm", Type: opennebula.DatastoreSystem}))
}

// A file is its own rendering, what stands where is in order, and a value that is written
// again changes nothing but itself.
func FuzzParse(f *testing.F) {
	for _, r := range releases {
		f.Add(stock(f, r.file).String())
	}
	f.Add("A = [ B = \"\\\"\", C = 1 ]\nD =\n#")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := Parse(text)
		if err != nil {
			require.ErrorIs(t, err, ErrSyntax)
			return
		}
		require.Equal(t, text, file.String())
		at := 0
		for i, a := range file.attributes {
			require.True(t, at <= a.start && a.start < a.end && a.end <= len(text))
			at = a.start
			for _, s := range a.settings {
				require.True(t, at <= s.start && s.start < s.valueAt && s.valueAt < s.valueTo && s.valueTo <= a.end)
				at = s.valueTo
			}
			at = a.end
			if len(a.settings) == 0 {
				continue
			}
			changed, err := file.set(i, a.settings[0].name, a.settings[0].value)
			if strings.HasSuffix(a.settings[0].value, `\`) {
				continue // oned has no way to write it in quotes
			}
			require.NoError(t, err)
			require.Equal(t, file.Config(), changed.Config())
			require.Equal(t, text[:a.settings[0].valueAt], changed.text[:a.settings[0].valueAt])
			require.True(t, strings.HasSuffix(changed.text, text[a.settings[0].valueTo:]))
		}
	})
}
