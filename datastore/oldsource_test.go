package datastore

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/agent"
	"one-clvm/opennebula"
	"one-clvm/plan"
)

// Images of gfs2clvm keep the SOURCE that oned has of them.
func TestSourcesOfGfs2clvm(t *testing.T) {
	const hash = "d41d8cd98f00b204e9800998ecf8427e"
	for source, volume := range map[string]string{
		"node1.example.org:vg-one.lv-one-7": "lv-one-7", "vg-one.lv-one-7": "lv-one-7", "/var/lib/one/images/" + hash: "lv-oneimg-" + hash,
		"/dev/mapper/vg--one-lv--oneimg--" + hash: "lv-oneimg-" + hash, "vg-one/lv-oneimg-7": "", "lv-oneimg-7": "",
	} {
		b := newBench(t)
		want := &agent.Image{Group: "vg-one", ID: 7, Volume: volume}
		for verb, fields := range map[string]image{
			"rm": {"SOURCE": source}, "export": {"SOURCE": source, "SIZE": "3"}, "snap_delete": {"SOURCE": source, "TARGET_SNAPSHOT": "0"},
		} {
			b.asked = nil
			require.NoError(t, b.do(verb, fields, nil), "%s %s", verb, source)
			require.Len(t, b.asked, 1)
			assert.Equal(t, want, b.asked[0].Image, "%s %s", verb, source)
		}
		b.asked = nil
		require.NoError(t, b.do("clone", image{"ID": "8", "PATH": source, "CLONING_ID": "7", "SIZE": "3"}, nil), source)
		assert.Equal(t, want, b.asked[0].Source)
		assert.Equal(t, &agent.Image{Group: "vg-one", ID: 8}, b.asked[0].Image, "a new image has a new name")
		assert.Equal(t, "lv-oneimg-8\n", b.stdout.String())

		b.asked, b.datastores[100] = nil, &opennebula.Datastore{ID: 100, BasePath: b.base, Template: map[string]string{"VG_NAME": "vg-one"}}
		b.images[7] = &opennebula.Image{ID: 7, DatastoreID: 100, Source: source, Size: 3}
		require.NoError(t, b.do("cp", image{"ID": "8", "PATH": "vol://7", "SIZE": "3", "UID": "0", "GID": "0"}, nil), source)
		assert.Equal(t, want, b.asked[0].Source)
		require.NoError(t, b.do("stat", image{"PATH": "vol://7"}, nil), source)
		assert.Equal(t, "3\n", b.stdout.String())
	}
	b := newBench(t)
	for _, source := range []string{"node1:vg-two.lv-one-7", "node1:vg-one.lv-one-7-42-0", "/srv/" + hash} {
		require.ErrorIs(t, b.do("rm", image{"SOURCE": source}, nil), plan.ErrNotYet, source)
	}
	require.ErrorIs(t, b.do("rm", image{"SOURCE": "node1:vg-one.lv-one-8"}, nil), ErrRefused, "another image's")
	require.ErrorIs(t, b.do("clone", image{"ID": "8", "PATH": "/x/images/" + hash}, nil), plan.ErrNotYet, "nothing tells which image that is")
	assert.Empty(t, b.asked)
}
