package setup

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/agent/facts"
	"one-clvm/internal/run"
	"one-clvm/opennebula"
	"one-clvm/opennebula/onedconf"
	"one-clvm/polkit"
	sudoers "one-clvm/sudoers.d"
	"one-clvm/udev"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func put(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), mode))
	require.NoError(t, os.Chmod(path, mode))
}

func get(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

// frontEnd is one with the files of OpenNebula 7.4, or of another version.
func frontEnd(t *testing.T, stock string, release opennebula.Version) FrontEnd {
	t.Helper()
	dir := t.TempDir()
	put(t, filepath.Join(dir, "oned.conf"), get(t, "../opennebula/onedconf/testdata/"+stock), 0o640)
	put(t, filepath.Join(dir, "vmm_exec/vmm_execrc"), "# pairs\nLIVE_DISK_SNAPSHOTS=\"kvm-qcow2 kvm-ceph\"\n", 0o644)
	put(t, filepath.Join(dir, "hook.conf"), "#LOCAL_MIGRATE=False\n", 0o600)
	return FrontEnd{OnedConf: filepath.Join(dir, "oned.conf"), HookConf: filepath.Join(dir, "hook.conf"),
		Wiring: onedconf.Wiring{Release: release, Stores: true, Clusters: true, MigrateLocal: true}}
}

var seven, three = opennebula.Version{Major: 7, Minor: 4}, opennebula.Version{}

func makeAll(t *testing.T, changes []Change) (backups []string) {
	t.Helper()
	for _, c := range changes {
		backup, err := c.Make(t.Context(), noon)
		require.NoError(t, err)
		if backup != "" {
			backups = append(backups, backup)
		}
	}
	return backups
}

// What is planned is made, the old files are kept, and a second run finds nothing to do.
func TestFrontEnd(t *testing.T) {
	f := frontEnd(t, "7.4.conf", seven)
	before := get(t, f.OnedConf)
	changes, err := f.Changes()
	require.NoError(t, err)
	require.Len(t, changes, 3)
	assert.Contains(t, changes[0].Diff(), "\n+TM_MAD_CONF = [\n")
	assert.Contains(t, changes[1].Diff(), "+LIVE_DISK_SNAPSHOTS=\"kvm-qcow2 kvm-ceph kvm-clvm rhcs-clvm\"\n")
	assert.Contains(t, changes[2].Diff(), "+LOCAL_MIGRATE=True\n")
	assert.Equal(t, before, get(t, f.OnedConf), "a plan changes nothing")

	backups := makeAll(t, changes)
	assert.Equal(t, get(t, "../opennebula/onedconf/testdata/7.4.golden"), get(t, f.OnedConf))
	require.Equal(t, f.OnedConf+".20261121-120000.bak", backups[0])
	assert.Equal(t, before, get(t, backups[0]))
	for _, path := range []string{f.OnedConf, backups[0]} {
		st, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, fs.FileMode(0o640), st.Mode())
	}
	changes, err = f.Changes()
	require.NoError(t, err)
	assert.Empty(t, changes)
}

// Hosts are asked by the suite's probes, where a file of its own has their drivers.
func TestMonitor(t *testing.T) {
	const stock = "DB = [\n  CONNECTIONS = 15\n]\n# theirs\nIM_MAD = [\n    NAME = \"kvm\",\n    EXECUTABLE = \"one_im_ssh\",\n    THREADS = 0\n]\n# rest\n"
	for _, c := range []struct {
		release opennebula.Version
		added   string
	}{
		{opennebula.Version{Major: 5, Minor: 10}, ""},
		{opennebula.Version{Major: 5, Minor: 12}, "\nIM_MAD = [\n    NAME = \"rhcs\",\n    SUNSTONE_NAME = \"KVM, cluster\",\n    EXECUTABLE = \"one_im_ssh\",\n    ARGUMENTS = \"-r 3 -t 15 -w 90 rhcs\",\n    THREADS = 0\n]\n"},
	} {
		f := frontEnd(t, "5.4.conf", c.release)
		file := filepath.Join(filepath.Dir(f.OnedConf), "monitord.conf")
		put(t, file, stock, 0o644)
		changes, err := f.Changes()
		require.NoError(t, err)
		makeAll(t, changes)
		assert.Equal(t, strings.Replace(stock, "# rest", c.added+"# rest", 1), get(t, file), c.release)
		changes, err = f.Changes()
		require.NoError(t, err)
		assert.Empty(t, changes, c.release)
	}
}

func TestOldFrontEnd(t *testing.T) {
	f := frontEnd(t, "3.8.conf", three)
	f.Wiring.Xen = true
	xen := filepath.Join(filepath.Dir(f.OnedConf), "vmm_exec/vmm_exec_xen.conf")
	put(t, xen, "CREDIT = 256\nDISK = [ driver = \"file:\" ] # files\n", 0o644)
	changes, err := f.Changes()
	require.NoError(t, err)
	require.Len(t, changes, 3, "no LIVE_DISK_SNAPSHOTS before 4.14")
	makeAll(t, changes)
	assert.Equal(t, "CREDIT = 256\nDISK = [ driver = \"phy:\" ] # files\n", get(t, xen))
	assert.Contains(t, get(t, f.OnedConf), `TYPE = "xen"`)
	changes, err = f.Changes()
	require.NoError(t, err)
	assert.Empty(t, changes)
}

func TestFrontEndThatCannotBeRead(t *testing.T) {
	f := frontEnd(t, "7.4.conf", seven)
	put(t, f.OnedConf, "TM_MAD = [", 0o640)
	_, err := f.Changes()
	require.ErrorIs(t, err, onedconf.ErrSyntax)
	require.NoError(t, os.Remove(f.OnedConf))
	_, err = f.Changes()
	require.ErrorContains(t, err, "--oned-conf")
}

// What somebody else has written since the plan was made is not overwritten.
func TestChangedMeanwhile(t *testing.T) {
	f := frontEnd(t, "7.4.conf", seven)
	changes, err := f.Changes()
	require.NoError(t, err)
	put(t, f.OnedConf, "PORT = 1\n", 0o640)
	_, err = changes[0].Make(t.Context(), noon)
	require.ErrorIs(t, err, ErrChanged)
	assert.Equal(t, "PORT = 1\n", get(t, f.OnedConf))
}

// A link stays one: what it leads to is replaced.
func TestLinkedFile(t *testing.T) {
	f := frontEnd(t, "7.4.conf", seven)
	real := filepath.Join(t.TempDir(), "shared.conf")
	require.NoError(t, os.Rename(f.OnedConf, real))
	require.NoError(t, os.Symlink(real, f.OnedConf))
	changes, err := f.Changes()
	require.NoError(t, err)
	makeAll(t, changes)
	st, err := os.Lstat(f.OnedConf)
	require.NoError(t, err)
	assert.Equal(t, fs.ModeSymlink, st.Mode().Type())
	assert.Contains(t, get(t, real), `"clvm"`)
}

// records are an oned with datastores.
type records struct {
	all []opennebula.Datastore
	err error
}

func (r *records) Datastores(context.Context) ([]opennebula.Datastore, error) { return r.all, r.err }

func (r *records) UpdateDatastore(context.Context, int, []opennebula.Attribute) error { return r.err }

func TestDatastores(t *testing.T) {
	f := frontEnd(t, "7.4.conf", seven)
	r := &records{all: []opennebula.Datastore{
		{ID: 0, TMMAD: "clvm", Type: opennebula.DatastoreSystem}, {ID: 1, TMMAD: "ssh"},
		{ID: 2, TMMAD: "clvm", DSMAD: "fs", Template: map[string]string{"LN_TARGET": "SYSTEM", "CLONE_TARGET": "SYSTEM", "DISK_TYPE": "BLOCK"}},
		{ID: 3, TMMAD: "clvm", DSMAD: "clvm", Template: map[string]string{"LN_TARGET": "SYSTEM", "CLONE_TARGET": "SELF", "DISK_TYPE": "BLOCK", "PERSISTENT_SNAPSHOTS": "YES"}},
	}}
	wrong, err := f.Datastores(t.Context(), r)
	require.NoError(t, err)
	assert.Equal(t, []Datastore{{ID: 3, Attributes: []opennebula.Attribute{{Name: "LN_TARGET", Value: "NONE"}}}}, wrong)
	_, err = f.Datastores(t.Context(), &records{err: errors.New("no oned")})
	require.Error(t, err)
}

// judge stands for visudo.
type judge struct {
	err  error
	seen string
}

func (j *judge) Run(_ context.Context, c run.Cmd) (run.Result, error) {
	if c.Path != "visudo" {
		return run.Result{}, errors.New("not expected: " + c.Path)
	}
	text, err := os.ReadFile(c.Args[len(c.Args)-1])
	j.seen = string(text)
	return run.Result{}, errors.Join(j.err, err)
}

func TestNode(t *testing.T) {
	visudo := &judge{}
	n := Node{Root: t.TempDir(), Runner: visudo, Groups: []string{"vg-one"}}
	qemu, cxm, agent := filepath.Join(n.Root, facts.QemuFile), filepath.Join(n.Root, cxmConf), filepath.Join(n.Root, facts.AgentFile)
	put(t, qemu, "#user = \"root\"\ngroup = \"kvm\" # why\n", 0o600)
	put(t, cxm, "CLUSTER_NAME = 'c'\nPOST_MIGRATION_HOOK = \"/usr/local/sbin/one-migrate\"\n", 0o644)
	put(t, filepath.Join(n.Root, facts.SudoersFile), "oneadmin ALL=(ALL) NOPASSWD: ALL\n", 0o644)

	changes, err := n.Changes()
	require.NoError(t, err)
	require.Len(t, changes, 6)
	for _, c := range changes {
		assert.NotEmpty(t, c.Diff(), c.Path)
	}
	makeAll(t, changes)
	assert.Equal(t, "#user = \"root\"\ngroup = \"oneadmin\" # why\nuser = \"oneadmin\"\ndynamic_ownership = 0\n", get(t, qemu))
	assert.Equal(t, "CLUSTER_NAME = 'c'\nPOST_MIGRATION_HOOK = \"/usr/libexec/one-clvm/one-migrate-hook\"\n", get(t, cxm))
	assert.Contains(t, get(t, agent), "\nALLOWED_VGS=\"vg-one\"\n")
	assert.Equal(t, sudoers.Rule, visudo.seen)
	for path, want := range map[string]string{facts.SudoersFile: sudoers.Rule, facts.UdevFile: udev.Rules, facts.PolkitFile: polkit.Rules} {
		assert.Equal(t, want, get(t, filepath.Join(n.Root, path)))
	}
	st, err := os.Stat(filepath.Join(n.Root, facts.SudoersFile))
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o440), st.Mode())
	changes, err = n.Changes()
	require.NoError(t, err)
	assert.Empty(t, changes)

	n.Groups = []string{"vg-two"}
	changes, err = n.Changes()
	require.NoError(t, err)
	makeAll(t, changes)
	assert.Contains(t, get(t, agent), "\nALLOWED_VGS=\"vg-one vg-two\"\n")
}

// A node that has the programs of a cluster's VMs has their rules, too; a wider one is replaced.
func TestRulesOfACluster(t *testing.T) {
	n := Node{Root: t.TempDir(), Runner: &judge{}, Groups: []string{"vg-one"}}
	put(t, filepath.Join(n.Root, "/usr/libexec/one-clvm/vmm-rhcs"), "", 0o755)
	put(t, filepath.Join(n.Root, facts.SudoersHook), sudoers.HookRule+"oneadmin ALL=(ALL) NOPASSWD: ALL\n", 0o440)
	changes, err := n.Changes()
	require.NoError(t, err)
	makeAll(t, changes)
	assert.Equal(t, sudoers.VMMRule, get(t, filepath.Join(n.Root, facts.SudoersVMM)))
	assert.Equal(t, sudoers.HookRule, get(t, filepath.Join(n.Root, facts.SudoersHook)))
	changes, err = n.Changes()
	require.NoError(t, err)
	assert.Empty(t, changes)
}

// As a package leaves it, agent.conf allows nothing, and only the administrator knows what it should.
func TestNothingAllowed(t *testing.T) {
	n := Node{Root: t.TempDir(), Runner: &judge{}}
	put(t, filepath.Join(n.Root, facts.AgentFile), "#ALLOWED_VGS=vg-one\n", 0o644)
	put(t, filepath.Join(n.Root, facts.SudoersFile), sudoers.Rule, 0o440)
	changes, err := n.Changes()
	require.NoError(t, err)
	require.NotEmpty(t, changes)
	require.Len(t, changes[0].Why, 1)
	assert.Contains(t, changes[0].Why[0], "ALLOWED_VGS is empty")
	_, err = changes[0].Make(t.Context(), noon)
	require.ErrorContains(t, err, "name them with --vg")
	assert.Equal(t, "#ALLOWED_VGS=vg-one\n", get(t, filepath.Join(n.Root, facts.AgentFile)))
}

// Without libvirt and cxm a node needs less; without a word on volume groups it is asked for.
func TestBareNode(t *testing.T) {
	n := Node{Root: t.TempDir(), Runner: &judge{}, Groups: []string{"vg-one"}}
	changes, err := n.Changes()
	require.NoError(t, err)
	assert.Len(t, changes, 3)
	n.Groups = nil
	_, err = n.Changes()
	require.ErrorContains(t, err, "--vg")
}

func TestOldPolkit(t *testing.T) {
	n := Node{Root: t.TempDir(), Runner: &judge{}, Groups: []string{"vg-one"}}
	put(t, filepath.Join(n.Root, facts.QemuFile), "", 0o600)
	require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Dir(filepath.Join(n.Root, facts.PolkitOld))), 0o755))
	c, err := n.polkit()
	require.NoError(t, err)
	assert.True(t, strings.HasSuffix(c.Path, facts.PolkitOld))
	put(t, filepath.Join(n.Root, facts.LibvirtFile), "unix_sock_group = \"oneadmin\"\n", 0o600)
	c, err = n.polkit()
	require.NoError(t, err)
	assert.False(t, c.needed())
}

// A node that was installed by packages needs its volume groups, and what libvirt has.
func TestPackagedNode(t *testing.T) {
	n := Node{Root: t.TempDir(), Runner: &judge{}, Groups: []string{"vg-one"}}
	for path, text := range map[string]string{
		facts.AgentFile: "#ALLOWED_VGS=vg-one\n", facts.SudoersFile: sudoers.Rule, facts.QemuFile: "",
		facts.Packaged[facts.UdevFile]: udev.Rules, facts.Packaged[facts.PolkitFile]: polkit.Rules,
	} {
		put(t, filepath.Join(n.Root, path), text, 0o440)
	}
	changes, err := n.Changes()
	require.NoError(t, err)
	require.Len(t, changes, 2)
	assert.Contains(t, changes[0].After, "\nALLOWED_VGS=\"vg-one\"\n")
	assert.True(t, strings.HasSuffix(changes[1].Path, facts.QemuFile))
}

// A rule that sudo's own program refuses is not installed.
func TestRefusedRule(t *testing.T) {
	n := Node{Root: t.TempDir(), Runner: &judge{err: errors.New("syntax error")}, Groups: []string{"vg-one"}}
	c, err := n.sudoRule(rules[0])
	require.NoError(t, err)
	_, err = c.Make(t.Context(), noon)
	require.ErrorContains(t, err, "syntax error")
	assert.NoFileExists(t, filepath.Join(n.Root, facts.SudoersFile))
}

func TestDiffWithoutNewline(t *testing.T) {
	assert.Equal(t, "--- f\n+++ f\n@@ -1 +1,2 @@\n a\n+b\n", Change{Path: "f", Before: "a\n", After: "a\nb\n"}.Diff())
	assert.Equal(t, "--- f\n+++ f\n@@ -1,2 +1 @@\n a\n-\\ No newline at end of file\n", Change{Path: "f", Before: "a", After: "a\n"}.Diff())
	assert.Equal(t, "--- /dev/null\n+++ f\n@@ -0,0 +1 @@\n+a\n", Change{Path: "f", Missing: true, After: "a\n"}.Diff())
}
