package pacemaker

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
	"one-clvm/cluster/virsh"
	"one-clvm/internal/run"
)

const resources = `<resources>
  <primitive id="one-41" class="ocf" provider="one-clvm" type="VirtualDomain"><instance_attributes id="one-41-params">
    <nvpair id="one-41-params-hypervisor" name="hypervisor" value="qemu:///system"/><nvpair id="one-41-params-definition" name="definition" value="/ds/0/41/cluster.xml"/>
  </instance_attributes></primitive>
  <primitive id="one-42" class="ocf" provider="one-clvm" type="VirtualDomain"><instance_attributes id="one-42-params"><nvpair id="x42" name="definition" value="/ds/0/42/cluster.xml"/></instance_attributes></primitive>
  <primitive id="one-43" class="ocf" provider="heartbeat" type="VirtualDomain"><instance_attributes id="one-43-params"><nvpair id="x43" name="config" value="/ds/0/43/cluster.xml"/></instance_attributes></primitive>
  <group id="g"><primitive id="one-44" class="ocf" provider="one-clvm" type="VirtualDomain"><instance_attributes id="one-44-params"><nvpair id="x44" name="definition" value="/ds/0/44/cluster.xml"/></instance_attributes></primitive></group>
  <primitive id="one-99" class="ocf" provider="one-clvm" type="VirtualDomain"><instance_attributes id="one-99-params"><nvpair id="x99" name="definition" value="/ds/0/99/cluster.xml"/></instance_attributes></primitive>
</resources>
`

// tools answers as Pacemaker's programs do.
type tools map[string]string

func (t tools) Run(_ context.Context, c run.Cmd) (run.Result, error) {
	return run.Result{Stdout: []byte(t[c.Path])}, nil
}

func TestSurvey(t *testing.T) {
	survey, err := (&Stack{Runner: tools{"cibadmin": resources, "crm_mon": report(t), "crm_node": "n1\n"}}).Survey(t.Context())
	require.NoError(t, err)
	assert.Equal(t, cluster.Survey{
		Self: "n1", Quorate: true, Nodes: []cluster.Node{{Name: "n1", Online: true}, {Name: "n2", Online: true}},
		VMs: []cluster.Surveyed{
			{Name: "one-41", Definition: "/ds/0/41/cluster.xml", Condition: parsed(t, report(t), "one-41").Service},
			{Name: "one-42", Definition: "/ds/0/42/cluster.xml", Condition: parsed(t, report(t), "one-42").Service},
			{Name: "one-44", Definition: "/ds/0/44/cluster.xml", Condition: parsed(t, report(t), "one-44").Service},
		},
	}, survey, "neither one of another agent, nor one that was removed meanwhile")
}

// counted are tools whose calls are counted.
type counted struct {
	tools
	calls map[string]int
}

func (c counted) Run(ctx context.Context, cmd run.Cmd) (run.Result, error) {
	c.calls[cmd.Path]++
	return c.tools.Run(ctx, cmd)
}

// A verb that waits looks often, and a node's name does not change.
func TestANodeIsAskedForItsNameOnce(t *testing.T) {
	c := counted{tools{"crm_mon": report(t), "crm_node": "n1\n", "virsh": "running\n\n"}, map[string]int{}}
	p := &Stack{Runner: c, Virsh: &virsh.Client{Runner: c}}
	for range 3 {
		state, err := p.Observe(t.Context(), cluster.Service{Name: "one-41"})
		require.NoError(t, err)
		assert.Equal(t, "n1", state.Self)
	}
	assert.Equal(t, map[string]int{"crm_mon": 3, "crm_node": 1, "virsh": 3}, c.calls)
}

func TestSurveyOfAClusterThatIsDown(t *testing.T) {
	whole := tools{"cibadmin": resources, "crm_mon": report(t), "crm_node": "n1\n"}
	for program, text := range map[string]string{
		"cibadmin": "", "crm_mon": strings.Replace(report(t), `code="0"`, `code="102"`, 1),
	} {
		broken := tools{}
		for p, answer := range whole {
			broken[p] = answer
		}
		broken[program] = text
		_, err := (&Stack{Runner: broken}).Survey(t.Context())
		require.ErrorIs(t, err, cluster.ErrDown, program)
	}
}

// TestProofOfFencing: off is only what left, is not failed any more, and whose last fencing
// is known to have worked.
func TestProofOfFencing(t *testing.T) {
	for name, c := range map[string]struct {
		unclean, history string
		fenced           bool
	}{
		"fenced":                {"false", `<fence_event target="n2" action="reboot" status="success" completed="2026-10-05 12:02:42.088147Z"/>`, true},
		"as 2.0 says it":        {"false", `<fence_event target="n2" action="off" state="success" completed="Mon Oct  5 12:02:42 2026"/>`, true},
		"confirmed by a person": {"false", `<fence_event target="n2" action="off" delegate="a human" status="success"/>`, true},
		"not yet":               {"true", `<fence_event target="n2" action="reboot" status="pending"/>`, false},
		"pending again":         {"false", `<fence_event target="n2" action="reboot" status="pending"/><fence_event target="n2" action="reboot" status="success"/>`, false},
		"failed the last time":  {"false", `<fence_event target="n2" action="reboot" status="failed"/><fence_event target="n2" action="reboot" status="success"/>`, false},
		"worked the last time":  {"false", `<fence_event target="n2" action="reboot" status="success"/><fence_event target="n2" action="reboot" status="failed"/>`, true},
		"another node":          {"false", `<fence_event target="n1" action="reboot" status="success"/>`, false},
		"switched on":           {"false", `<fence_event target="n2" action="on" status="success"/>`, false},
		"failed again since":    {"true", `<fence_event target="n2" action="reboot" status="success"/>`, false},
		"left by itself":        {"false", ``, false},
	} {
		t.Run(name, func(t *testing.T) {
			before, rest, ok := strings.Cut(report(t), `<node name="n2" id="2" online="true"`)
			require.True(t, ok)
			rest = strings.Replace(rest, `unclean="false"`, `unclean="`+c.unclean+`"`, 1)
			rest = strings.Replace(rest, "</resources>", `</resources><fence_history status="0">`+c.history+"</fence_history>", 1)
			state := parsed(t, before+`<node name="n2" id="2" online="false"`+rest, "one-41")
			assert.Equal(t, c.fenced, state.Nodes[1].Fenced)
			assert.False(t, state.Nodes[0].Fenced, "it is online")
			without := strings.Replace(before+`<node name="n2" id="2" online="false"`+rest, `stonith-enabled="true"`, `stonith-enabled="false"`, 1)
			assert.False(t, parsed(t, without, "one-41").Nodes[1].Fenced, "nobody fences any more")
		})
	}
}
