package datastore

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/agent"
	"one-clvm/cxmrc"
	"one-clvm/opennebula"
	"one-clvm/plan"
)

// sized is a node on which every shared file has that size.
type sized struct {
	*bench
	size int64
}

func (s sized) Do(ctx context.Context, host string, q agent.Request, t agent.Transfer) (agent.Result, error) {
	res, err := s.bench.Do(ctx, host, q, t)
	res.Size = s.size
	return res, err
}

func TestSharedFiles(t *testing.T) {
	const iso = "/srv/iso/boot.iso"
	b := newBench(t)
	cfg, err := cxmrc.Parse(strings.NewReader("SHARED_DIRS=/srv/iso\n"), "cxmrc", cxmrc.Driver)
	require.NoError(t, err)
	b.Config, b.Agents = cfg, sized{b, 3<<20 + 1}
	require.NoError(t, b.do("stat", image{"PATH": iso}, nil))
	assert.Equal(t, "4\n", b.stdout.String())
	for _, fields := range []image{{"PATH": iso, "TYPE": "1"}, {"PATH": iso, "TYPE": "0", "PERSISTENT": "1"}} {
		require.NoError(t, b.do("cp", fields, nil))
		assert.Equal(t, iso+" raw\n", b.stdout.String())
	}
	require.Len(t, b.asked, 3)
	for _, q := range b.asked {
		assert.Equal(t, agent.OpStatFile, q.Op)
		assert.Equal(t, iso, q.Path)
	}
	b.asked = nil
	require.ErrorIs(t, b.do("cp", image{"PATH": iso, "TYPE": "0"}, nil), ErrRefused, "every VM would write to it")
	for _, c := range []struct {
		other opennebula.ImageType
		again image
		ok    bool
	}{
		{opennebula.ImageCDROM, image{"PATH": iso, "TYPE": "1"}, true},
		{opennebula.ImageCDROM, image{"PATH": iso, "TYPE": "0", "PERSISTENT": "1"}, false},
		{opennebula.ImageOS, image{"PATH": iso, "TYPE": "0", "PERSISTENT": "1"}, false},
		{opennebula.ImageOS, image{"PATH": iso, "TYPE": "1"}, false},
	} {
		b.images = map[int]*opennebula.Image{77: {ID: 77, Source: iso, Type: c.other}}
		err := b.do("cp", c.again, nil)
		if c.ok {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, ErrRefused, "two images, and one of them is written to")
			require.ErrorContains(t, err, "image 77 already")
		}
	}
	b.asked = nil
	require.NoError(t, b.do("rm", image{"SOURCE": iso}, nil), "it stays")
	for verb, fields := range map[string]image{"clone": {"PATH": iso}, "export": {"SOURCE": iso}, "snap_delete": {"SOURCE": iso, "TARGET_SNAPSHOT": "0"}} {
		require.ErrorIs(t, b.do(verb, fields, nil), plan.ErrNotYet, verb)
	}
	assert.Empty(t, b.asked)
}
