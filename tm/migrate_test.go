package tm

import (
	"bytes"
	"context"
	"io"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/agent"
	"one-clvm/internal/run"
	"one-clvm/lvm"
	"one-clvm/opennebula"
)

func TestMigrationWindow(t *testing.T) {
	cases := map[string][]string{
		"premigrate":  {"node1 activate disk -1 shared", "node2 activate disk -1 shared"},
		"postmigrate": {"node1 activate disk -1 off", "node2 activate disk -1 exclusive"},
		"failmigrate": {"node2 activate disk -1 off", "node1 activate disk -1 exclusive"},
	}
	for verb, want := range cases {
		b := newBench(t)
		b.Stdin = bytes.NewReader(opennebula.EncodeDocument(b.document()))
		require.NoError(t, b.call(verb+" node1 node2 /var/lib/one//datastores/101/0 0 101"))
		assert.Equal(t, want, b.nodes.asked, verb)
	}
	b := newBench(t)
	b.Stdin = bytes.NewReader(b.document())
	b.nodes.fail["node2 activate"] = lvm.ErrLocked
	require.ErrorIs(t, b.call("premigrate node1 node2 /var/lib/one/datastores/101/0 0 101"), lvm.ErrLocked)
	assert.Equal(t, []string{"node2 activate disk -1 off", "node1 activate disk -1 exclusive"}, b.nodes.asked[2:], "the target may share a disk already; oned before 7.0 calls no FAILMIGRATE then")
	b = newBench(t)
	b.Stdin = bytes.NewReader(b.document())
	b.nodes.fail["node1 activate"] = agent.ErrStream
	require.ErrorIs(t, b.call("premigrate node1 node2 /var/lib/one/datastores/101/0 0 101"), agent.ErrStream)
	assert.Equal(t, []string{"node1 activate disk -1 shared", "node2 volumes disk 0", "node1 activate disk -1 exclusive"}, b.nodes.asked, "nor does anybody else end what the source has begun")
	b = newBench(t)
	assert.ErrorContains(t, b.call("premigrate node1 node2 /var/lib/one/datastores/101/0 0 101"), "document")
}

// TestMigrationEndsOnBothSides: an end that is dead does not keep the other from what is
// its part; the verb fails all the same.
func TestMigrationEndsOnBothSides(t *testing.T) {
	for verb, dead := range map[string]string{"postmigrate": "node1", "failmigrate": "node2"} {
		b := newBench(t)
		b.Stdin = bytes.NewReader(b.document())
		b.nodes.fail[dead+" activate"] = agent.ErrUnreachable
		require.ErrorIs(t, b.call(verb+" node1 node2 /var/lib/one/datastores/101/0 0 101"), agent.ErrUnreachable)
		assert.Len(t, b.nodes.asked, 2, verb)
	}
}

// A VM that its cluster has moved is told to oned, which asks for the same move again: its
// source refuses, or is dead.
func TestPremigrateOfAVMThatHasArrived(t *testing.T) {
	disk := func(mode lvm.Mode, open bool) lvm.Volume {
		return lvm.Volume{Name: "lv-one-0-0", Mode: mode, Open: open, Tags: lvm.NewTags(lvm.TagOurs, lvm.KeyTag(lvm.TagVM, 0), lvm.KeyTag(lvm.TagDisk, 0))}
	}
	source, look := "node1 activate disk -1 shared", "node2 volumes disk 0"
	for name, c := range map[string]struct {
		failure error
		there   []lvm.Volume
		arrived bool
	}{
		"runs there":               {lvm.ErrLocked, []lvm.Volume{disk(lvm.Exclusive, true)}, true},
		"runs there, source dead":  {agent.ErrUnreachable, []lvm.Volume{disk(lvm.Exclusive, true)}, true},
		"one disk of two is there": {lvm.ErrLocked, []lvm.Volume{disk(lvm.Exclusive, true), disk(lvm.Off, false)}, false},
		"active, and nobody's":     {agent.ErrUnreachable, []lvm.Volume{disk(lvm.Exclusive, false)}, false},
		"shared":                   {agent.ErrUnreachable, []lvm.Volume{disk(lvm.Shared, true)}, false},
		"no disk at all":           {agent.ErrUnreachable, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.Stdin = bytes.NewReader(b.document())
			b.nodes.fail["node1 activate"] = c.failure
			b.nodes.volumes = map[string][]lvm.Volume{"vg-one": c.there}
			err := b.call("premigrate node1 node2 /var/lib/one/datastores/101/0 0 101")
			assert.Equal(t, []string{source, look}, b.nodes.asked)
			if !c.arrived {
				require.ErrorIs(t, err, c.failure)
				return
			}
			require.NoError(t, err)
			assert.Contains(t, b.stderr.String(), "VM 0 is on node2 already")
		})
	}
	b := newBench(t)
	b.Remotes = t.TempDir()
	b.Stdin = bytes.NewReader(bytes.Replace(b.document(), []byte("<TM_MAD><![CDATA[clvm]]></TM_MAD>"), []byte("<TM_MAD><![CDATA[ceph]]></TM_MAD>"), 1))
	b.nodes.fail["node1 activate"] = lvm.ErrLocked
	b.nodes.volumes = map[string][]lvm.Volume{"vg-one": {disk(lvm.Exclusive, true)}}
	b.Runner = runnerFunc(func(context.Context, run.Cmd) (run.Result, error) { return run.Result{}, agent.ErrStream })
	require.ErrorIs(t, b.call("premigrate node1 node2 /var/lib/one/datastores/101/0 0 101"), agent.ErrStream)
	assert.Equal(t, []string{source, look}, b.nodes.asked, "what another driver fails at takes no disk from a VM that has arrived")
}

func TestWindowGoesToBothEnds(t *testing.T) {
	b := newBench(t)
	b.Stdin = bytes.NewReader(b.document())
	require.NoError(t, b.call("premigrate node1 node2 /var/lib/one/datastores/101/0 0 101"))
	for _, q := range b.nodes.reqs {
		assert.Equal(t, &agent.Window{Source: "node1", Target: "node2", Seconds: 3600}, q.Window)
	}
}

func TestPostmigrateOfOldVersionsNeverFails(t *testing.T) {
	b := newBench(t)
	b.Version = opennebula.Version{Major: 4, Minor: 12}
	b.nodes.fail["node1 activate"] = lvm.ErrInUse
	b.Stdin = bytes.NewReader(b.document())
	require.NoError(t, b.call("postmigrate node1 node2 /var/lib/one/datastores/101/0 0 101"))
	assert.Len(t, b.nodes.asked, 2)
	assert.Contains(t, b.stderr.String(), "failed, going on")
}

// The name becomes part of a path, and a user may have written it.
func TestDiskOfADriverThatIsNone(t *testing.T) {
	for _, name := range []string{"../../../tmp/mine", "a/b", "..", "-x"} {
		b := newBench(t)
		b.Stdin = bytes.NewReader(bytes.Replace(b.document(), []byte("<TM_MAD><![CDATA[clvm]]></TM_MAD>"), []byte("<TM_MAD><![CDATA["+name+"]]></TM_MAD>"), 1))
		require.ErrorContains(t, b.call("premigrate node1 node2 /var/lib/one/datastores/101/0 0 101"), "TM_MAD", name)
		assert.Empty(t, b.nodes.asked)
	}
}

func TestDisksOfOtherDrivers(t *testing.T) {
	b := newBench(t)
	b.Remotes = t.TempDir()
	document := bytes.Replace(bytes.TrimSpace(b.document()), []byte("<TM_MAD><![CDATA[clvm]]></TM_MAD>"), []byte("<TM_MAD><![CDATA[ceph]]></TM_MAD>"), 1)
	b.Stdin = bytes.NewReader(document)
	var argv []string
	var stdin []byte
	b.Runner = runnerFunc(func(_ context.Context, c run.Cmd) (run.Result, error) {
		argv = append([]string{c.Path}, c.Args...)
		var err error
		stdin, err = io.ReadAll(c.Stdin)
		return run.Result{}, err
	})
	require.NoError(t, b.call("premigrate node1 node2 /var/lib/one/datastores/101/0 0 101"))
	assert.Equal(t, []string{filepath.Join(b.Remotes, "tm/ceph/premigrate"), "node1", "node2", "/var/lib/one/datastores/101/0", "0", "101", "clvm"}, argv)
	assert.Equal(t, opennebula.EncodeDocument(document), stdin)
	b = newBench(t)
	b.Stdin = bytes.NewReader(document)
	require.NoError(t, b.call("premigrate node1 node2 /var/lib/one/datastores/101/0 0 101 ceph"), "called by ceph: not back again")
	assert.Len(t, b.nodes.asked, 2)
}
