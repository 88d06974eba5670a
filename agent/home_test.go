package agent

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
)

// A volume is found by its tags; the link in the home is for the hypervisor alone, and
// every verb that leaves the disk active puts it right.
func TestLinksAreRebuilt(t *testing.T) {
	activate := func(mode lvm.Mode) func(*node) Request {
		return func(n *node) Request {
			q := n.request(OpActivate)
			q.Activate, q.Link = mode, true
			if mode == lvm.Shared {
				q.Window = &Window{"node1", "node2", 60}
			}
			return q
		}
	}
	for name, request := range map[string]func(*node) Request{
		"exclusive": activate(lvm.Exclusive),
		"shared":    activate(lvm.Shared),
		"extend": func(n *node) Request {
			q := n.request(OpExtend)
			q.Size = 2 * extent
			return q
		},
		"extended already": func(n *node) Request {
			q := n.request(OpExtend)
			q.Size = extent
			return q
		},
		"snapshot": func(n *node) Request { return n.ofSnapshot(OpSnapshot, 1) },
		"revert": func(n *node) Request {
			_, err := n.do(n.ofSnapshot(OpSnapshot, 0), Transfer{})
			require.NoError(n, err)
			return n.ofSnapshot(OpRevert, 0)
		},
		"create": func(n *node) Request { return n.create(ContentNone, "") },
	} {
		link := func(n *node) string { return filepath.Join(n.base, "101/42/disk.0") }
		for how, spoil := range map[string]func(*node) error{
			"no home": func(n *node) error { return os.RemoveAll(filepath.Join(n.base, "101/42")) },
			"missing": func(n *node) error { return os.MkdirAll(filepath.Join(n.base, "101/42"), 0o755) },
			"wrong":   func(n *node) error { return os.Symlink("/dev/vg-one/lv-one-43-0", link(n)) },
			"a file":  func(n *node) error { return os.WriteFile(link(n), nil, 0o600) },
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				n := newNode(t)
				n.group.put(t, disk0, "", "one", "vm=42", "disk=0", "ds=101")
				q := request(n)
				require.NoError(t, os.RemoveAll(filepath.Join(n.base, "101/42")))
				require.NoError(t, os.MkdirAll(filepath.Join(n.base, "101/42"), 0o755))
				require.NoError(t, spoil(n))
				_, err := n.do(q, Transfer{})
				require.NoError(t, err)
				assert.Equal(t, n.group.volumes[disk0].Path, n.link())
			})
		}
	}
}
