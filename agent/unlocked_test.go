package agent

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/lvm/lvm2"
	"one-clvm/lvm/lvm2/lvmfake"
)

// TestGroupWithoutLockManager: what a request must bring so that such a group is changed.
func TestGroupWithoutLockManager(t *testing.T) {
	for _, c := range []struct {
		name         string
		local        []string
		single, conf bool
		want         string // part of the refusal
	}{
		{"nothing said", nil, false, false, "other nodes may see its disk /dev/sdb"},
		{"allowed but not asked for", nil, false, true, "other nodes may see"},
		{"another disk is local", []string{"other"}, false, false, "other nodes may see"},
		{"its disk is local", []string{"other", "disk-1"}, false, false, ""},
		{"single writer, not allowed", nil, true, false, "agent.conf does not allow"},
		{"single writer", nil, true, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t)
			host := lvmfake.NewStore(lvmfake.GroupSpec{Name: "vg-one", Extents: 100, PV: "disk-1"}).Host("node1")
			n.server.OpenGroup = func(string) (lvm.Group, error) { return lvm2.New("vg-one", host, lvm2.Options{}), nil }
			n.server.Config.SingleWriter = c.conf
			q := n.create(ContentNone, "")
			q.Local, q.SingleWriter = c.local, c.single
			_, err := n.do(q, Transfer{})
			require.Error(t, err, "the double has no device to fill")
			if c.want != "" {
				require.ErrorIs(t, err, lvm.ErrUnlocked)
				require.ErrorContains(t, err, c.want)
				assert.Empty(t, host.Writers())
				return
			}
			assert.NotErrorIs(t, err, lvm.ErrUnlocked)
			assert.Contains(t, host.Writers(), "lvcreate")
		})
	}
}

func TestLocalIsValidated(t *testing.T) {
	n := newNode(t)
	for _, local := range [][]string{{""}, {"a b"}, {"a/b"}, make([]string, maxLocal+1)} {
		q := n.request(OpActivate)
		q.Local = local
		_, err := n.do(q, Transfer{})
		assert.ErrorContains(t, err, "physical volume", local[0])
	}
}

func TestDisks(t *testing.T) {
	n := newNode(t)
	want := []lvm.PhysicalVolume{{UUID: "disk-1", Path: "/dev/sdb", Group: "vg-one"}}
	n.server.Disks = func(context.Context) ([]lvm.PhysicalVolume, error) { return want, nil }
	res, err := n.do(Request{Op: OpDisks, Operation: "0123456789ab"}, Transfer{})
	require.NoError(t, err)
	assert.Equal(t, want, res.Disks)
}

// permittedGroup has no lock manager, and wants a permission for what an image needs.
type permittedGroup struct {
	*fileGroup
	permission lvm.Permission
}

func (g *permittedGroup) Permit(p lvm.Permission) { g.permission = p }

func (g *permittedGroup) Activate(ctx context.Context, name string, mode lvm.Mode) (lvm.Volume, error) {
	if g.permission == nil {
		return lvm.Volume{}, lvm.ErrUnlocked
	}
	if err := g.permission(ctx, []lvm.PhysicalVolume{{UUID: "disk-1", Path: "/dev/sdb", Group: g.Name()}}); err != nil {
		return lvm.Volume{}, err
	}
	return g.fileGroup.Activate(ctx, name, mode)
}

// The permission is the request's, for all groups that it works in.
func TestImageInAGroupWithoutLockManager(t *testing.T) {
	n := imaged(t)
	n.server.OpenGroup = func(string) (lvm.Group, error) { return &permittedGroup{fileGroup: n.group}, nil }
	q := n.cloneOfImage()
	_, err := n.do(q, Transfer{})
	require.ErrorIs(t, err, lvm.ErrUnlocked)
	require.ErrorContains(t, err, "/dev/sdb")
	q.Local = []string{"disk-1"}
	_, err = n.do(q, Transfer{})
	require.NoError(t, err)
	assert.Equal(t, "an image", n.content(disk0))
}
