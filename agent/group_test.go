package agent

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
)

// fileGroup is a volume group whose devices are plain files that, like a SAN, start
// with somebody's old bytes. It lets the agent be tested without root.
type fileGroup struct {
	mu      sync.Mutex
	name    string
	dir     string
	free    int64
	largest int64 // free piece; 0: all that is free
	volumes map[string]*lvm.Volume
	open    map[string]bool          // held by a VM
	fail    map[string]error         // by "op name-prefix"
	calls   []string                 // "op name"
	before  func(op, name string)    // told before each change
	after   func(op, name string)    // told after each change
	tagged  func(add lvm.Tags)       // told before the group's tags change
	modes   map[string]lvm.Mode      // last mode asked for
	data    func(name string) []byte // first bytes of a new volume
	space   map[string]int64         // of snapshots, as asked for
	manager string                   // lock manager
	tags    lvm.Tags                 // the group's own
}

const extent = 4 << 20

func newFileGroup(t *testing.T) *fileGroup {
	return &fileGroup{
		name: "vg-one", dir: t.TempDir(), free: 4 << 30, volumes: map[string]*lvm.Volume{}, open: map[string]bool{},
		fail: map[string]error{}, before: func(string, string) {}, after: func(string, string) {}, tagged: func(lvm.Tags) {}, modes: map[string]lvm.Mode{}, space: map[string]int64{}, manager: "none",
		data: func(string) []byte { return []byte(strings.Repeat("another tenant's secret ", 4096)) },
	}
}

func (g *fileGroup) Name() string { return g.name }

func (g *fileGroup) note(op, name string) error {
	g.calls = append(g.calls, op+" "+name)
	for key, err := range g.fail {
		if strings.HasPrefix(op+" "+name, key) {
			return &lvm.Error{Op: op, Group: g.Name(), Volume: name, Err: err}
		}
	}
	return nil
}

func (g *fileGroup) Info(context.Context) (lvm.GroupInfo, error) {
	return lvm.GroupInfo{Name: g.Name(), Size: 4 << 30, Free: g.free / extent * extent, ExtentSize: extent, LockManager: g.manager, Tags: g.tags}, g.note("info", "")
}

func (g *fileGroup) Volumes(context.Context) ([]lvm.Volume, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []lvm.Volume
	for _, v := range g.volumes {
		out = append(out, g.shown(v))
	}
	slices.SortFunc(out, func(a, b lvm.Volume) int { return strings.Compare(a.Name, b.Name) })
	return out, g.note("report", "")
}

func (g *fileGroup) Report(ctx context.Context) (lvm.GroupInfo, []lvm.Volume, error) {
	info, err := g.Info(ctx)
	if err != nil {
		return info, nil, err
	}
	volumes, err := g.Volumes(ctx)
	return info, volumes, err
}

func (g *fileGroup) shown(v *lvm.Volume) lvm.Volume {
	c := *v
	c.Open = g.open[v.Name]
	return c
}

func (g *fileGroup) Volume(_ context.Context, name string) (lvm.Volume, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	v, ok := g.volumes[name]
	if !ok {
		return lvm.Volume{}, &lvm.Error{Op: "find", Group: g.Name(), Volume: name, Err: lvm.ErrNotFound}
	}
	return g.shown(v), nil
}

func (g *fileGroup) change(op, name string, do func(v *lvm.Volume) error) (lvm.Volume, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.note(op, name); err != nil {
		return lvm.Volume{}, err
	}
	v, ok := g.volumes[name]
	if !ok {
		return lvm.Volume{}, &lvm.Error{Op: op, Group: g.Name(), Volume: name, Err: lvm.ErrNotFound}
	}
	g.before(op, name)
	if err := do(v); err != nil {
		return lvm.Volume{}, &lvm.Error{Op: op, Group: g.Name(), Volume: name, Err: err}
	}
	g.after(op, name)
	return g.shown(v), nil
}

func (g *fileGroup) Create(_ context.Context, req lvm.CreateRequest) (lvm.Volume, error) {
	g.mu.Lock()
	if err := g.note("create", req.Name); err != nil {
		g.mu.Unlock()
		return lvm.Volume{}, err
	}
	if req.Size > g.free || g.largest > 0 && req.Size > g.largest {
		g.mu.Unlock()
		return lvm.Volume{}, &lvm.Error{Op: "create", Group: g.Name(), Volume: req.Name, Err: lvm.ErrNoSpace}
	}
	size := (req.Size + extent - 1) / extent * extent
	v := &lvm.Volume{Group: g.Name(), Name: req.Name, Size: size, Tags: req.Tags.With(), Mode: lvm.Exclusive, Path: filepath.Join(g.dir, req.Name)}
	g.volumes[req.Name] = v
	g.free -= size
	err := os.WriteFile(v.Path, g.data(req.Name), 0o600)
	if err == nil {
		err = os.Truncate(v.Path, size)
	}
	g.mu.Unlock()
	g.after("create", req.Name)
	return *v, err
}

// Snapshot copies the file; one that a VM holds may change meanwhile, which no test does.
func (g *fileGroup) Snapshot(ctx context.Context, req lvm.SnapshotRequest) (lvm.Volume, error) {
	_, err := g.change("snapshot", req.Origin, func(origin *lvm.Volume) error {
		if g.volumes[req.Name] != nil {
			return lvm.ErrExists
		}
		if origin.Origin != "" {
			return lvm.ErrSnapshots
		}
		if origin.Mode != lvm.Exclusive {
			return lvm.ErrNotExclusive
		}
		content, err := os.ReadFile(origin.Path)
		if err != nil {
			return err
		}
		v := *origin
		v.Name, v.Path, v.Origin, v.Tags = req.Name, filepath.Join(g.dir, req.Name), req.Origin, req.Tags.With()
		g.volumes[req.Name], g.space[req.Name] = &v, req.Space
		return os.WriteFile(v.Path, content, 0o600)
	})
	if err != nil {
		return lvm.Volume{}, err
	}
	return g.Volume(ctx, req.Name)
}

func (g *fileGroup) Remove(_ context.Context, name string) error {
	_, err := g.change("remove", name, func(v *lvm.Volume) error {
		if g.open[name] {
			return lvm.ErrInUse
		}
		for _, s := range g.volumes {
			if s.Origin == name {
				return lvm.ErrSnapshots
			}
		}
		delete(g.volumes, name)
		g.free += v.Size
		return os.Remove(v.Path)
	})
	return err
}

func (g *fileGroup) Rename(_ context.Context, name, to string) error {
	_, err := g.change("rename", name, func(v *lvm.Volume) error {
		if g.volumes[to] != nil {
			return lvm.ErrExists
		}
		delete(g.volumes, name)
		g.volumes[to] = v
		old := v.Path
		v.Name, v.Path = to, filepath.Join(g.dir, to)
		for _, s := range g.volumes {
			if s.Origin == name {
				s.Origin = to
			}
		}
		return os.Rename(old, v.Path)
	})
	return err
}

func (g *fileGroup) Extend(_ context.Context, name string, size int64) (lvm.Volume, error) {
	return g.change("extend", name, func(v *lvm.Volume) error {
		if v.Origin != "" {
			return lvm.ErrSnapshots
		}
		if size > v.Size+g.free {
			return lvm.ErrNoSpace
		}
		g.free += v.Size
		v.Size = (size + extent - 1) / extent * extent
		g.free -= v.Size
		return os.Truncate(v.Path, v.Size)
	})
}

func (g *fileGroup) Activate(_ context.Context, name string, mode lvm.Mode) (lvm.Volume, error) {
	return g.change("activate "+mode.String(), name, func(v *lvm.Volume) error {
		if v.Origin != "" {
			return lvm.ErrSnapshots
		}
		if mode == lvm.Off && g.open[name] {
			return lvm.ErrInUse
		}
		for _, s := range g.volumes {
			switch {
			case s.Origin != name:
			case mode == lvm.Shared:
				return lvm.ErrSnapshots
			case mode == lvm.Off && g.open[s.Name]:
				return lvm.ErrInUse
			default:
				s.Mode = mode
			}
		}
		v.Mode = mode
		return nil
	})
}

func (g *fileGroup) Tag(_ context.Context, name string, add, del lvm.Tags) (lvm.Volume, error) {
	return g.change("tag", name, func(v *lvm.Volume) error {
		v.Tags = v.Tags.With(add...).Without(del...)
		return v.Tags.Validate()
	})
}

func (g *fileGroup) TagGroup(ctx context.Context, add, del lvm.Tags) (lvm.GroupInfo, error) {
	if err := g.note("tag", ""); err != nil {
		return lvm.GroupInfo{}, err
	}
	g.tagged(add)
	g.tags = g.tags.With(add...).Without(del...)
	return g.Info(ctx)
}

// put places a volume with a content into the group.
func (g *fileGroup) put(t *testing.T, name, content string, tags ...string) {
	t.Helper()
	_, err := g.Create(context.Background(), lvm.CreateRequest{Name: name, Size: extent, Tags: lvm.NewTags(tags...)})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(g.volumes[name].Path, []byte(content), 0o600))
	require.NoError(t, os.Truncate(g.volumes[name].Path, extent))
}

func (g *fileGroup) names() []string {
	var names []string
	for name := range g.volumes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
