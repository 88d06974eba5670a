package datastore

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/opennebula"
)

// oned names no host to any of these verbs: BRIDGE_LIST does, else the enabled hosts of the
// datastore's clusters; a dead one is passed over.
func TestNodeOfEveryVerb(t *testing.T) {
	calls := map[string]image{
		"cp": {"PATH": "FILE", "SIZE": "3"}, "mkfs": {"SIZE": "3"}, "rm": {"SOURCE": "lv-oneimg-7"}, "clone": {"PATH": "lv-oneimg-8", "SIZE": "3"},
		"monitor": {"ID": "100"}, "export": {"SOURCE": "lv-oneimg-7", "SIZE": "3"},
		"snap_delete":  {"SOURCE": "lv-oneimg-7", "TARGET_SNAPSHOT": "0"},
		"snap_revert":  {"SOURCE": "lv-oneimg-7", "TARGET_SNAPSHOT": "0"},
		"snap_flatten": {"SOURCE": "lv-oneimg-7", "TARGET_SNAPSHOT": "0"},
	}
	for _, verb := range Verbs() {
		fields, ok := calls[verb]
		if !ok {
			require.Equal(t, "stat", verb, "it looks at files of the front-end")
			continue
		}
		for name, c := range map[string]struct {
			bridges string
			dead    []string
			want    string // "": none
		}{
			"any": {"", nil, "node1"}, "the first is dead": {"", []string{"node1"}, "node2"}, "all are dead": {"", []string{"node1", "node2"}, ""},
			"a bridge": {"node2 node1", nil, "node2"}, "a dead bridge": {"node2 node1", []string{"node2"}, "node1"}, "only dead bridges": {"node2", []string{"node2"}, ""},
		} {
			b := newBench(t)
			for i := range b.hosts {
				if slices.Contains(c.dead, b.hosts[i].Name) {
					b.hosts[i].State = opennebula.HostError
				}
			}
			settings := map[string]string{}
			if c.bridges != "" {
				settings["BRIDGE_LIST"] = c.bridges
			}
			asked := image{}
			for field, value := range fields {
				if value == "FILE" {
					value = b.file("disk", someDisk())
				}
				asked[field] = value
			}
			err := b.do(verb, asked, settings)
			if c.want == "" {
				require.Error(t, err, "%s, %s", verb, name)
				assert.Empty(t, b.on, "%s, %s", verb, name)
				continue
			}
			require.NoError(t, err, "%s, %s", verb, name)
			assert.Equal(t, []string{c.want}, b.on, "%s, %s", verb, name)
		}
	}
}
