package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/agent"
	"one-clvm/agent/facts"
	"one-clvm/cxmrc"
	"one-clvm/opennebula"
	sudoers "one-clvm/sudoers.d"
	"one-clvm/udev"
)

const daemonConf = `<OPENNEBULA_CONFIGURATION>
<TM_MAD><ARGUMENTS><![CDATA[-t 15 -d dummy,shared,clvm]]></ARGUMENTS></TM_MAD>
<DATASTORE_MAD><ARGUMENTS><![CDATA[-t 15 -d dummy,fs,clvm -s shared,clvm]]></ARGUMENTS></DATASTORE_MAD>
<TM_MAD_CONF><NAME>shared</NAME><SHARED>NO</SHARED></TM_MAD_CONF>
<TM_MAD_CONF><NAME>clvm</NAME><SHARED>YES</SHARED><LN_TARGET>SYSTEM</LN_TARGET><CLONE_TARGET>SYSTEM</CLONE_TARGET><DRIVER>raw</DRIVER></TM_MAD_CONF>
<INHERIT_DATASTORE_ATTR>DISK_TYPE</INHERIT_DATASTORE_ATTR><INHERIT_DATASTORE_ATTR>ALLOW_ORPHANS</INHERIT_DATASTORE_ATTR><INHERIT_DATASTORE_ATTR>PERSISTENT_SNAPSHOTS</INHERIT_DATASTORE_ATTR>
<VM_MAD><NAME><![CDATA[rhcs]]></NAME><ARGUMENTS><![CDATA[-t 15 -r 0 rhcs]]></ARGUMENTS></VM_MAD>
</OPENNEBULA_CONFIGURATION>`

const setupFrontEnd = "/usr/libexec/one-clvm/tm-clvm setup frontend --yes && systemctl restart opennebula"

// onSAN is in the template of a datastore whose images are volumes.
var onSAN = map[string]string{"LN_TARGET": "NONE", "CLONE_TARGET": "SELF", "DISK_TYPE": "BLOCK", "PERSISTENT_SNAPSHOTS": "YES"}

// recorded are the facts of a node of the lab's profile cluster, whose disk of VM 42 is
// active on node1. The files that are shipped are those of this checkout.
func recorded(t *testing.T, node string) *facts.Facts {
	t.Helper()
	data, err := os.ReadFile("testdata/" + node + ".json")
	require.NoError(t, err)
	f := &facts.Facts{}
	require.NoError(t, json.Unmarshal(data, f))
	for path, content := range map[string]string{
		facts.SudoersFile: sudoers.Rule, facts.SudoersVMM: sudoers.VMMRule, facts.SudoersHook: sudoers.HookRule, facts.UdevFile: udev.Rules,
	} {
		file := f.Files[path]
		if path == facts.SudoersVMM || path == facts.SudoersHook {
			file = f.Files[facts.SudoersFile] // was recorded before these were looked at
		}
		file.Content = content
		f.Files[path] = file
	}
	return f
}

func daemon(t *testing.T, text string) *opennebula.DaemonConfig {
	t.Helper()
	c, err := opennebula.ParseDaemonConfig(strings.NewReader(text))
	require.NoError(t, err)
	return c
}

func vm(id int, state opennebula.State, host string) opennebula.VM {
	return opennebula.VM{ID: id, State: state, LCMState: opennebula.LCMRunning, History: []opennebula.History{{Hostname: host}}}
}

// healthy is the view of an installation in which nothing is wrong.
func healthy(t *testing.T) *View {
	t.Helper()
	cfg, err := cxmrc.Parse(strings.NewReader("VG_NAME=\"vg-one\"\n"), "cxmrc", cxmrc.Driver)
	require.NoError(t, err)
	v := &View{
		FrontEnd: FrontEnd{Name: "frontend", Version: "devel (commit unknown, unknown)", Config: cfg, Program: "/usr/libexec/one-clvm/tm-clvm",
			OpenNebula: opennebula.Version{Major: 7, Minor: 4}, Installed: func(string) bool { return true },
			Trials: []Trial{{Drill: drillNetwork, Node: "node2", At: time.Unix(1_790_000_000, 0).UTC()}}},
		Oned: Oned{
			Hosts:      []opennebula.Host{{ID: 0, Name: "node1", MemUsage: 512, VMMAD: "rhcs"}, {ID: 1, Name: "node2", VMMAD: "rhcs"}},
			VMs:        []opennebula.VM{vm(42, opennebula.StateActive, "node1")},
			Datastores: []opennebula.Datastore{{ID: 0, TMMAD: "clvm", Type: opennebula.DatastoreSystem, BasePath: "/var/lib/one/datastores/0"}},
			Hooks:      []opennebula.Hook{{ID: 1, Name: "mail", Resource: "HOST", State: "DISABLED"}},
			Daemon:     daemon(t, daemonConf),
		},
	}
	for _, name := range []string{"node1", "node2"} {
		n := Node{Name: name, Facts: recorded(t, name)}
		n.Facts.Memory = 4 << 30
		n.Asked, n.Answered = n.Facts.Started, n.Facts.Finished
		v.Nodes = append(v.Nodes, n)
	}
	return v
}

func TestHealthy(t *testing.T) {
	found := Run(healthy(t))
	assert.True(t, Clean(found), "%+v", found)
	assert.Len(t, found, len(Checks()), "one line each")
}

// The same on NFS, and under sanlock: what does not apply there is not asked for.
func TestOtherKindsOfHealth(t *testing.T) {
	v := healthy(t)
	for _, n := range v.Nodes {
		byNFS(n.Facts, "hard", "local_lock=none")
		leased(n.Facts)
		n.Facts.Disks = []facts.Disk{{Name: "dm-1", Multipath: "mpatha", WriteZeroesMax: 1, QueueRetries: 12, QueueTime: 60,
			Paths: []facts.Disk{{Name: "sda", Timeout: 30}, {Name: "sdb", Timeout: 30}}}}
	}
	found := Run(v)
	assert.True(t, Clean(found), "%+v", found)
	i := slices.IndexFunc(found, func(f Finding) bool { return f.Check == "time budget" })
	assert.Equal(t, "a request to a disk ends after 30 s, multipath gives up after another 60 s, the cluster loses a node after 8s, sanlock a lease after 80 s", found[i].Text)
}

func TestTrials(t *testing.T) {
	dir := t.TempDir()
	all, err := ReadTrials(dir)
	require.NoError(t, err)
	assert.Empty(t, all)
	for i := range maxTrials + 2 {
		require.NoError(t, Trial{Drill: drillSAN, Node: "node1", At: time.Unix(int64(i), 0).UTC()}.Remember(dir))
	}
	all, err = ReadTrials(dir)
	require.NoError(t, err)
	require.Len(t, all, maxTrials)
	last, ok := lastTrial(append(all, Trial{Drill: drillPath}))
	assert.True(t, ok)
	assert.Equal(t, time.Unix(maxTrials+1, 0).UTC(), last.At)
	require.NoError(t, os.WriteFile(dir+"/drills.json", []byte("{"), 0o600))
	_, err = ReadTrials(dir)
	require.Error(t, err)
	require.Error(t, Trial{}.Remember(dir), "what is there is not thrown away")
}

func TestOlder(t *testing.T) {
	for _, c := range [][2]string{{"2.02.98", "2.02.158"}, {"2.02.187", "2.03.02"}, {"9.0.0", "10.0.0"}, {"", "1"}, {"3.1", "3.1.7"}} {
		assert.True(t, older(c[0], c[1]), "%s", c)
		assert.False(t, older(c[1], c[0]), "%s", c)
	}
	assert.False(t, older("2.03.16", "2.03.16"))
}

// A slow way is no wrong clock.
func TestSlowWay(t *testing.T) {
	v := healthy(t)
	v.Nodes[1].Asked, v.Nodes[1].Answered = v.Nodes[1].Asked.Add(-time.Minute), v.Nodes[1].Answered.Add(time.Minute)
	assert.True(t, Clean(Run(v)))
}

func TestNobodyAnswers(t *testing.T) {
	v := healthy(t)
	for i := range v.Nodes {
		v.Nodes[i].Facts, v.Nodes[i].Err = nil, errors.New("gone")
	}
	v.Oned = Oned{Err: errors.New("gone")}
	for _, f := range Run(v) {
		assert.NotEqual(t, OK, f.Severity, "nobody can say that %s is well", f.Check)
	}
}

// silent is an oned that knows two hosts, of which one is set aside.
type silent struct{ Records }

func (silent) Hosts(context.Context) ([]opennebula.Host, error) {
	return []opennebula.Host{{Name: "node1"}, {Name: "node2", State: opennebula.HostOffline}, {Name: "bad name"}}, nil
}
func (silent) VMs(context.Context) ([]opennebula.VM, error) { return nil, errors.New("no VMs told") }
func (silent) Datastores(context.Context) ([]opennebula.Datastore, error) {
	return nil, nil
}
func (silent) Hooks(context.Context) ([]opennebula.Hook, error) { return nil, nil }
func (silent) DaemonConfig(context.Context) (*opennebula.DaemonConfig, error) {
	return nil, errors.New("not authorized")
}

func TestLook(t *testing.T) {
	one := recorded(t, "node1")
	ask := func(_ context.Context, node string, q agent.Request) (agent.Result, error) {
		assert.Equal(t, "node1", node)
		assert.Equal(t, agent.Request{Op: agent.OpFacts, Operation: "12345678", FrontEnd: "frontend"}, q)
		return agent.Result{Facts: one}, nil
	}
	operation := func() string { return "12345678" }
	front := healthy(t).FrontEnd
	v, err := Look(t.Context(), front, silent{}, ask, operation, nil)
	require.NoError(t, err)
	require.Len(t, v.Nodes, 2)
	assert.Same(t, one, v.Nodes[0].Facts)
	require.Error(t, v.Nodes[1].Err, "its name cannot be one")
	assert.Len(t, v.Oned.Unasked, 2)

	v, err = Look(t.Context(), front, silent{}, ask, operation, []string{"node1"})
	require.NoError(t, err)
	assert.Len(t, v.Nodes, 1)
}

func TestNames(t *testing.T) {
	manual, err := os.ReadFile("../docs/doctor.md")
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, c := range Checks() {
		assert.False(t, seen[c.Name], c.Name)
		seen[c.Name] = true
		assert.True(t, strings.HasSuffix(c.Why, "."), c.Name)
		assert.Contains(t, string(manual), "\n| `"+c.Name+"` |")
	}
}
