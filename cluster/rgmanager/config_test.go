package rgmanager

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
)

func read(t testing.TB, name string) string {
	text, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return string(text)
}

func config(t testing.TB, text string) *Config {
	t.Helper()
	c, err := ReadConfig(strings.NewReader(text))
	require.NoError(t, err)
	return c
}

// TestConfigurationsOfTheGuides reads the cluster.conf that OpenNebula's guide for a
// front-end in HA and Red Hat's for guests of RHEL 5 print.
func TestConfigurationsOfTheGuides(t *testing.T) {
	frontend := config(t, read(t, "seed002.conf"))
	assert.Equal(t, []any{"opennebula", 17, []string{"one-server1", "one-server2"}, 1}, []any{frontend.Cluster, frontend.Version, frontend.Nodes, frontend.services()})
	assert.False(t, frontend.fenced(), "the guide makes the fencing later")
	assert.NotNil(t, frontend.domain("opennebula"))
	assert.Nil(t, frontend.vm("opennebula"), "that is a service")

	basic := config(t, read(t, "seed004-basic.conf"))
	assert.Zero(t, basic.services())
	assert.True(t, basic.fenced(), "the second method is by hand, the first is not")
	guests := config(t, read(t, "seed004-guests.conf"))
	assert.Equal(t, 2, guests.services())
	assert.NotNil(t, guests.vm("station182.example.com"))
	assert.Equal(t, []string{"station200.example.com", "station201"}, guests.Nodes, "the guide calls the second node by two names")

	_, err := ReadConfig(strings.NewReader(read(t, "seed004-appendix-b.conf")))
	require.ErrorIs(t, err, ErrConfig, "the complete sample closes elements that are not open")
}

func TestConfigurationsThatAreNone(t *testing.T) {
	for _, text := range []string{"", "<cluster", "<cib/>", `<cluster name="x"/>`, `<cluster config_version="x"/>`, `<cluster config_version="0"/>`} {
		_, err := ReadConfig(strings.NewReader(text))
		require.ErrorIs(t, err, ErrConfig, text)
	}
}

func TestFencedByMachines(t *testing.T) {
	for fence, want := range map[string]bool{"automatic": true, "manual": false, "none": false, "nowhere": false} {
		assert.Equal(t, want, config(t, configuration(2, fence)).fenced(), fence)
	}
	both := strings.Replace(configuration(1, "automatic"), `<device name="automatic"/>`, `<device name="automatic"/><device name="manual"/>`, 1)
	assert.False(t, config(t, both).fenced(), "all devices of a method have to work")
	assert.False(t, config(t, `<cluster config_version="1"/>`).fenced())
}

// TestEditsOnTheGuides: on a configuration that people wrote, our edits change nothing but
// our own elements, and taking them back leaves the file as it was.
func TestEditsOnTheGuides(t *testing.T) {
	for _, file := range []string{"seed002.conf", "seed004-basic.conf", "seed004-guests.conf"} {
		c := config(t, read(t, file))
		vm := service(42)
		for _, e := range definition(c, vm, c.Nodes[1], migrationURI, false) {
			require.NoError(t, c.apply(e))
		}
		assert.Empty(t, definition(c, vm, c.Nodes[1], migrationURI, false), "it is there")
		assert.True(t, c.same(config(t, read(t, file)), false), "others' elements are as they were")
		assert.False(t, c.same(config(t, read(t, file)), true))
		assert.Equal(t, []string{c.Nodes[1], c.Nodes[0]}, ordered(c.domain("one-42")))
		for _, e := range removal(c, "one-42") {
			require.NoError(t, c.apply(e))
		}
		assert.Equal(t, strings.Contains(read(t, file), "<rm>"), c.same(config(t, read(t, file)), true), "nothing is left but an rm that was missing")
		assert.Empty(t, removal(c, "one-42"))
	}
	require.Error(t, config(t, read(t, "seed002.conf")).apply(edit{action: "frobnicate"}))
}

func TestDefinitionForms(t *testing.T) {
	c := config(t, configuration(2, "automatic"))
	vm := func(hypervisor, file string, rhel5 bool) string {
		s := service(42)
		s.Hypervisor, s.Definition = hypervisor, file
		edits := definition(c, s, "node1", migrationURI, rhel5)
		return strings.Join(edits[len(edits)-1].argv(), " ")
	}
	assert.Equal(t, "--addvm one-42 domain=one-42 autostart=1 recovery=restart use_virsh=1 hypervisor=qemu xmlfile=/ds/0/42/domain.xml migration_uri=qemu+ssh://%s/system __max_failures=3 __failure_expire_time=120",
		vm("qemu:///system", "/ds/0/42/domain.xml", false))
	assert.Equal(t, "--addvm one-42 domain=one-42 autostart=1 recovery=restart migrate=live path=/etc/xen/vm", vm("xen:///", "/etc/xen/vm/one-42", true))
	assert.Contains(t, vm("xen:///", "/etc/xen/vm/one-42", false), "hypervisor=xen xmlfile=/etc/xen/vm/one-42")
}

// TestAttributesThatDiffer: those that rgmanager would take over while the VM runs (recovery,
// autostart) and those that it would start the VM anew for are not told apart: a deploy makes
// the element anew, which does not happen to a service that runs.
func TestAttributesThatDiffer(t *testing.T) {
	for _, change := range []string{"recovery=relocate", "autostart=0", "xmlfile=/else/domain.xml", "status_program=/bin/true"} {
		c := config(t, configuration(2, "automatic"))
		for _, e := range definition(c, service(42), "node1", migrationURI, false) {
			require.NoError(t, c.apply(e))
		}
		assert.Empty(t, definition(c, service(42), "node1", migrationURI, false))
		name, value, _ := strings.Cut(change, "=")
		c.vm("one-42").CreateAttr(name, value)
		edits := definition(c, service(42), "node1", migrationURI, false)
		require.Len(t, edits, 2, change)
		assert.Equal(t, []string{"rmvm", "addvm"}, []string{edits[0].action, edits[1].action}, change)
	}
}

// TestFailoverDomainOfManyNodes: priorities end at 100.
func TestFailoverDomainOfManyNodes(t *testing.T) {
	c := config(t, configuration(120, "automatic"))
	for _, e := range failoverDomain(c, "one-42", "node7") {
		require.NoError(t, c.apply(e))
	}
	nodes := ordered(c.domain("one-42"))
	assert.Equal(t, "node7", nodes[0])
	assert.Len(t, nodes, 120)
	assert.Len(t, slices.Compact(slices.Sorted(slices.Values(nodes))), 120)
	assert.Empty(t, failoverDomain(c, "one-42", "node7"))
	last := c.domain("one-42").SelectElements("failoverdomainnode")[119]
	assert.Equal(t, "100", last.SelectAttrValue("priority", ""))
}

func TestReports(t *testing.T) {
	const sample = `<?xml version="1.0"?>
<clustat version="4.1.1">
  <cluster name="sanone" id="13721" generation="92"/>
  <quorum quorate="1" groupmember="1"/>
  <nodes>
    <node name="/dev/mpath/q" state="1" local="0" estranged="0" rgmanager="0" rgmanager_master="0" qdisk="1" nodeid="0x00000000"/>
    <node name="n1" state="1" local="1" estranged="0" rgmanager="1" rgmanager_master="0" qdisk="0" nodeid="0x00000001"/>
    <node name="n2" state="1" local="0" estranged="0" rgmanager="0" rgmanager_master="0" qdisk="0" nodeid="0x0000000a"/>
    <node name="n3" state="0" local="0" estranged="0" rgmanager="0" rgmanager_master="0" qdisk="0" nodeid="0x0000000b"/>
    <node name="n4" state="1" local="0" estranged="1" rgmanager="0" rgmanager_master="0" qdisk="0" nodeid="0x0000000c"/>
  </nodes>
  <groups>
    <group name="vm:one-420" state="112" state_str="started" flags="0" flags_str="" owner="n2" last_owner="none" restarts="0" last_transition="0" last_transition_str=""/>
    <group name="service:one-42" state="112" state_str="started" flags="0" flags_str="" owner="n2" last_owner="none" restarts="0" last_transition="0" last_transition_str=""/>
    <group name="vm:one-42" STATE owner="OWNER" last_owner="n1" restarts="0" last_transition="0" last_transition_str=""/>
  </groups>
</clustat>
`
	parse := func(state, owner string) report {
		text := strings.NewReplacer("STATE", state, "OWNER", owner).Replace(sample)
		seen, err := parseReport(strings.NewReader(text), "one-42")
		require.NoError(t, err)
		return seen
	}
	seen := parse(`state="112" flags="1"`, "n1")
	assert.Equal(t, []any{"n1", true, true}, []any{seen.Self, seen.Quorate, seen.manager})
	assert.Equal(t, []cluster.Node{{Name: "n1", Online: true}, {Name: "n2", Standby: true}, {Name: "n3"}, {Name: "n4"}}, seen.State.Nodes, "the quorum disk is none")
	assert.Equal(t, []string{"n1", "n2"}, seen.members(), "a member without rgmanager holds the configuration, too")
	assert.Equal(t, cluster.Condition{Defined: true, Frozen: true, Running: []string{"n1"}}, seen.Service)
	for state, want := range map[int]cluster.Condition{
		stopped:     {Defined: true},
		starting:    {Defined: true, Pending: "starting"},
		started:     {Defined: true, Running: []string{"n2"}},
		stopping:    {Defined: true, Pending: "stopping", Running: []string{"n2"}},
		recoverable: {Defined: true, Pending: "recovering"}, recovering: {Defined: true, Pending: "recovering"},
		disabled:  {Defined: true, Stopped: true},
		migrating: {Defined: true, Pending: "migrating", Running: []string{"n1", "n2"}},
		checking:  {Defined: true, Pending: "looking for", Running: []string{"n2"}},
		999:       {Defined: true, Pending: "looking for", Running: []string{"n2"}},
	} {
		assert.Equal(t, want, parse(fmt.Sprintf(`state="%d" flags="0"`, state), "n2").Service, state)
	}
	assert.True(t, parse(`state="114" flags="0"`, "none").Service.Blocked)
	for _, owner := range []string{"n3", "n4", "unknown"} {
		dead := parse(`state="112" flags="0"`, owner)
		i := slices.IndexFunc(dead.State.Nodes, func(n cluster.Node) bool { return n.Name == owner })
		assert.True(t, dead.State.Nodes[i].Unclean, "%s owns the service and is no live member", owner)
	}
	begin, end := strings.Index(sample, "<groups>"), strings.Index(sample, "</clustat>")
	without, err := parseReport(strings.NewReader("Service states unavailable: Temporary failure; try again\n"+sample[:begin]+sample[end:]), "one-42")
	require.NoError(t, err)
	assert.False(t, without.services)
	assert.Contains(t, without.complaint(), "try again")
}

func TestReportsThatAreNone(t *testing.T) {
	for _, text := range []string{"", "Could not connect to CMAN", `<?xml version="1.0"?>`, `<?xml version="1.0"?><clustat`, `<?xml version="1.0"?><cib/>`} {
		_, err := parseReport(strings.NewReader(text), "one-42")
		require.ErrorIs(t, err, cluster.ErrDown, text)
	}
}

func FuzzParseReport(f *testing.F) {
	f.Add("Temporary failure; try again\n" + `<?xml version="1.0"?><clustat><nodes><node name="n1" state="1" local="1" rgmanager="1"/></nodes><groups><group name="vm:one-42" state="112" owner="n1"/></groups></clustat>`)
	f.Fuzz(func(t *testing.T, text string) {
		seen, err := parseReport(strings.NewReader(text), "one-42")
		if err == nil && len(seen.Service.Running) > 0 {
			require.True(t, seen.Service.Defined)
		}
	})
}

func FuzzReadConfig(f *testing.F) {
	f.Add(configuration(2, "automatic"))
	f.Add(read(f, "seed004-guests.conf"))
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ReadConfig(strings.NewReader(text))
		if err != nil {
			return
		}
		_ = c.fenced()
		require.True(t, c.same(c, true) && c.same(c, false))
		for _, e := range definition(c, service(42), "node1", migrationURI, false) {
			require.NoError(t, c.apply(e))
		}
		written, err := c.text()
		require.NoError(t, err)
		again, err := ReadConfig(strings.NewReader(written))
		require.NoError(t, err)
		require.NotNil(t, again.vm("one-42"))
	})
}
