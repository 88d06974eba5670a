package pacemaker

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
)

func report(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("testdata/crm_mon.xml")
	require.NoError(t, err)
	return string(text)
}

func parsed(t *testing.T, text, name string) cluster.State {
	t.Helper()
	state, err := parseMonitor(strings.NewReader(text), name)
	require.NoError(t, err)
	return state
}

func TestReport(t *testing.T) {
	state := parsed(t, report(t), "one-41")
	assert.Equal(t, cluster.State{
		Clustered: true, Quorate: true, Fencing: true, Manager: cluster.Manager{Places: true},
		Nodes:   []cluster.Node{{Name: "n1", Online: true}, {Name: "n2", Online: true}},
		Service: cluster.Condition{Defined: true, Running: []string{"n1"}, Failures: []cluster.Failure{{Node: "n1", Operation: "monitor", Reason: "not running"}}},
	}, state)
	moving := parsed(t, report(t), "one-42").Service
	assert.Equal(t, []any{"migrating", []string{"n2"}}, []any{moving.Pending, moving.Running})
	off := parsed(t, report(t), "one-43").Service
	assert.True(t, off.Defined && off.Stopped && len(off.Running) == 0)
	inGroup := parsed(t, report(t), "one-44").Service
	assert.Equal(t, []string{"n2"}, inGroup.Running, "at any depth")
	assert.Equal(t, cluster.Condition{}, parsed(t, report(t), "one-4").Service, "a name is whole")
	assert.Equal(t, cluster.Condition{}, parsed(t, report(t), "one-99").Service)
}

func TestReportsOfOtherVersions(t *testing.T) {
	old := strings.NewReplacer(`<pacemaker-result api-version="2.30" request="crm_mon -1 --output-as=xml">`, `<crm_mon version="1.1.23">`,
		"</pacemaker-result>", "</crm_mon>", `<status code="0" message="OK"/>`, "", "ocf:heartbeat:", "ocf::heartbeat:").Replace(report(t))
	assert.Equal(t, parsed(t, report(t), "one-41"), parsed(t, old, "one-41"))
	young := strings.NewReplacer("stonith-enabled=", "fencing-enabled=", "orphaned=", "removed=").Replace(report(t))
	assert.Equal(t, parsed(t, report(t), "one-41"), parsed(t, young, "one-41"))
	for _, text := range []string{strings.Replace(report(t), `orphaned="false"`, `orphaned="true"`, 1), strings.Replace(young, `removed="false"`, `removed="true"`, 1)} {
		assert.False(t, parsed(t, text, "one-41").Service.Defined, "removed from the configuration, and still running")
	}
}

func TestStatesOfNodes(t *testing.T) {
	for _, attribute := range []string{"standby", "standby_onfail", "maintenance", "shutdown"} {
		text := strings.Replace(report(t), attribute+`="false"`, attribute+`="true"`, 1)
		require.NotEqual(t, report(t), text)
		assert.True(t, parsed(t, text, "one-41").Nodes[0].Standby, attribute)
	}
	assert.False(t, parsed(t, strings.Replace(report(t), `pending="false"`, `pending="true"`, 1), "one-41").Nodes[0].Online)
	assert.True(t, parsed(t, strings.Replace(report(t), `unclean="false"`, `unclean="true"`, 1), "one-41").Nodes[0].Unclean)
	assert.True(t, parsed(t, strings.Replace(report(t), `stop-all-resources="false"`, `stop-all-resources="true"`, 1), "one-41").Maintenance)
	assert.True(t, parsed(t, strings.Replace(report(t), `managed="true"`, `managed="false"`, 1), "one-41").Service.Frozen)
}

// TestReportThatIsNone: nothing is known then, least of all that no VM runs.
func TestReportThatIsNone(t *testing.T) {
	whole := report(t)
	for name, text := range map[string]string{
		"nothing":      "",
		"a sentence":   "crm_mon: Error: cluster is not available on this node",
		"cut off":      whole[:len(whole)/2],
		"another root": "<cib/>",
		"disconnected": `<pacemaker-result api-version="2.30" request="crm_mon"><crm-mon-disconnected description="x"/><status code="102" message="Not connected"/></pacemaker-result>`,
		"nothing else": `<pacemaker-result api-version="2.30" request="crm_mon"><status code="0" message="OK"/></pacemaker-result>`,
		"too deep":     strings.Repeat("<crm_mon>", 100) + strings.Repeat("</crm_mon>", 100),
	} {
		_, err := parseMonitor(strings.NewReader(text), "one-42")
		require.ErrorIs(t, err, cluster.ErrDown, name)
	}
}

func TestOperationOf(t *testing.T) {
	for key, want := range map[string]string{
		"one-42_monitor_10000": "monitor", "one-42_migrate_to_0": "migrate_to", "one-42_start_0": "start",
		"one-420_start_0": "", "one-42": "", "one-42_start": "", "": "",
	} {
		got, ok := operationOf(key, "one-42")
		assert.Equal(t, want, got, key)
		assert.Equal(t, want != "", ok, key)
	}
}

func FuzzParseMonitor(f *testing.F) {
	f.Add(report(f))
	f.Add(`<crm_mon><summary/><nodes/><resources><resource id="one-42" managed="true"><node name="n1"/></resource></resources></crm_mon>`)
	f.Fuzz(func(t *testing.T, text string) {
		state, err := parseMonitor(strings.NewReader(text), "one-42")
		if err != nil {
			require.ErrorIs(t, err, cluster.ErrDown)
			return
		}
		require.True(t, state.Clustered)
		for _, verb := range []cluster.Verb{cluster.VerbStart, cluster.VerbShutdown, cluster.VerbCancel, cluster.VerbMigrate, cluster.VerbSave} {
			for domain := cluster.Unknown; domain <= cluster.Asleep; domain++ {
				state.Domain, state.Self = domain, "n1"
				_, _ = cluster.Decide(cluster.Order{Verb: verb, Node: "n1", To: "n2"}, state) // any answer, no panic
			}
		}
	})
}
