package rgmanager

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
	"one-clvm/cluster/clustertest/double"
	"one-clvm/cluster/clustertest/rhcs"
)

// hand is a clock that is turned by hand.
type hand struct{ now time.Time }

func (h *hand) Now() time.Time { return h.now }

func (h *hand) Sleep(context.Context, time.Duration) error { return nil }

func TestSurveyAsksForProof(t *testing.T) {
	tools, err := rhcs.New(configuration(2, "automatic"))
	require.NoError(t, err)
	clock := &hand{time.Unix(1e9, 0)}
	set := func(state string) { require.NoError(t, tools.Set(state, home, migrationURI, clock.now)) }
	set("delay fence 30\ndelay start 5\nservice one-42 started node2 none")
	stack := &Stack{
		Runner: &double.Node{Name: "node1", Tools: tools, Guard: &sync.Mutex{}, Clock: clock},
		Config: func() ([]byte, error) { return []byte(tools.Node("node1").Config), nil },
	}
	survey := func(what string) (node cluster.Node, vm cluster.Condition) {
		s, err := stack.Survey(t.Context())
		require.NoError(t, err, what)
		require.Len(t, s.VMs, 1, what)
		assert.Equal(t, cluster.Node{Name: "node1", Online: true}, s.Nodes[0], what)
		return s.Nodes[1], s.VMs[0].Condition
	}
	node, vm := survey("all is well")
	assert.Equal(t, cluster.Node{Name: "node2", Online: true}, node)
	assert.Equal(t, []string{"node2"}, vm.Running)

	set("before clustat -x => die node2")
	node, _ = survey("it died")
	assert.Equal(t, cluster.Node{Name: "node2", Unclean: true}, node)

	clock.now = clock.now.Add(30 * time.Second)
	node, _ = survey("it was fenced")
	assert.Equal(t, cluster.Node{Name: "node2", Fenced: true}, node)
	set("fault 1 fence_tool => 1 cannot connect to fenced")
	node, _ = survey("fenced does not answer")
	assert.False(t, node.Fenced)
	clock.now = clock.now.Add(5 * time.Second)
	_, vm = survey("it was started again")
	assert.Equal(t, []string{"node1"}, vm.Running)

	set("before clustat -x => join node2")
	node, _ = survey("it came back")
	assert.Equal(t, cluster.Node{Name: "node2", Online: true}, node)
	set("before clustat -x => die node2")
	node, _ = survey("it died again: the fencing of then proves nothing now")
	assert.False(t, node.Fenced)
	set("rhel5")
	clock.now = clock.now.Add(time.Minute)
	node, _ = survey("RHEL 5 keeps no such list")
	assert.False(t, node.Fenced)
}

func TestSurveyOfBothForms(t *testing.T) {
	for form, definition := range map[string]string{"": home + "/domain.xml", "rhel5\n": home + "/one-42"} {
		tools, err := rhcs.New(configuration(2, "automatic"))
		require.NoError(t, err)
		clock := &hand{time.Unix(1e9, 0)}
		require.NoError(t, tools.Set(form+"service one-42 started node2 none", home, migrationURI, clock.now))
		stack := &Stack{
			Runner: &double.Node{Name: "node1", Tools: tools, Guard: &sync.Mutex{}, Clock: clock},
			Config: func() ([]byte, error) { return []byte(tools.Node("node1").Config), nil },
		}
		s, err := stack.Survey(t.Context())
		require.NoError(t, err)
		want := cluster.Surveyed{Name: "one-42", Definition: definition, Condition: cluster.Condition{Defined: true, Running: []string{"node2"}}}
		assert.Equal(t, []cluster.Surveyed{want}, s.VMs)
	}
}

func TestFenceDomain(t *testing.T) {
	const before, line = "fence domain\nwait state    none\nall nodes\n", "nodeid 2 member 0 victim 0 last fence master 1 how agent\n"
	for text, proved := range map[string]bool{
		before + line: true,
		"wait state    none\nnodeid 2 member 0 victim 0 last fence master 1 how override\n": true,
		"wait state    none\nnodeid 2 member 0 victim 0 last fence master 1 how external\n": true,
		line:                              false, // the domain's state is not known
		"wait state    messages\n" + line: false,
		"wait state    fencing\n" + line:  false,
		"wait state    none\nnodeid 2 member 1 victim 0 last fence master 1 how agent\n":  false,
		"wait state    none\nnodeid 2 member 0 victim 1 last fence master 1 how agent\n":  false,
		"wait state    none\nnodeid 2 member 0 victim 0 last fence master 0 how none\n":   false,
		"wait state    none\nnodeid 2 member 0 victim 0 last fence master 1 how member\n": false,
		"wait state    none\nnodeid x member 0 victim 0 last fence master 1 how agent\n":  false,
		"": false,
	} {
		assert.Equal(t, proved, parseFenceDomain(text)[2], text)
	}
}

func FuzzFenceDomain(f *testing.F) {
	f.Add("wait state    none\nnodeid 2 member 0 victim 0 last fence master 1 how agent\n")
	f.Fuzz(func(t *testing.T, text string) {
		for id := range parseFenceDomain(text) {
			require.Contains(t, text, "how", id)
		}
	})
}
