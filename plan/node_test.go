package plan

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/opennebula"
)

func TestChoice(t *testing.T) {
	const on = opennebula.HostState(2)
	hosts := []opennebula.Host{
		{Name: "node1", State: on, ClusterID: 0}, {Name: "node2", State: on, ClusterID: 0}, {Name: "node3", State: on, ClusterID: 1},
	}
	for name, c := range map[string]struct {
		choice Choice
		states map[string]opennebula.HostState
		want   string // "": none
	}{
		"any":                          {Choice{}, nil, "node1"},
		"the first is disabled":        {Choice{}, map[string]opennebula.HostState{"node1": opennebula.HostDisabled}, "node2"},
		"the first is dead":            {Choice{}, map[string]opennebula.HostState{"node1": opennebula.HostError}, "node2"},
		"of a cluster":                 {Choice{Clusters: []int{1}}, nil, "node3"},
		"of several clusters":          {Choice{Clusters: []int{1, 0}}, nil, "node1"},
		"of a cluster without hosts":   {Choice{Clusters: []int{7}}, nil, ""},
		"a cluster that is down":       {Choice{Clusters: []int{1}}, map[string]opennebula.HostState{"node3": opennebula.HostOffline}, ""},
		"where it was":                 {Choice{Prefer: "node2"}, nil, "node2"},
		"where it was is dead":         {Choice{Prefer: "node2", Clusters: []int{0}}, map[string]opennebula.HostState{"node2": opennebula.HostMonitoringError}, "node1"},
		"where it was is forgotten":    {Choice{Prefer: "node9"}, nil, "node1"},
		"a bridge goes before":         {Choice{Bridges: []string{"node3", "node1"}, Prefer: "node2", Clusters: []int{0}}, nil, "node3"},
		"a dead bridge":                {Choice{Bridges: []string{"node3", "node1"}}, map[string]opennebula.HostState{"node3": opennebula.HostError}, "node1"},
		"only dead bridges":            {Choice{Bridges: []string{"node3"}}, map[string]opennebula.HostState{"node3": opennebula.HostError}, ""},
		"a bridge unknown to oned":     {Choice{Bridges: []string{"storage1"}}, nil, "storage1"},
		"monitoring is switched off":   {Choice{}, map[string]opennebula.HostState{"node1": opennebula.HostMonitoringDisabled}, "node2"},
		"a bridge that is no host":     {Choice{Bridges: []string{"-oProxyCommand=x"}}, nil, ""},
		"where it was, out of service": {Choice{Prefer: "node1"}, map[string]opennebula.HostState{"node1": opennebula.HostDisabled}, "node2"},
	} {
		t.Run(name, func(t *testing.T) {
			set := append([]opennebula.Host{}, hosts...)
			for i := range set {
				if state, ok := c.states[set[i].Name]; ok {
					set[i].State = state
				}
			}
			got, err := c.choice.Choose(set)
			if c.want == "" {
				assert.Error(t, err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
}
