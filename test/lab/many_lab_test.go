//go:build lab && measure

package lab

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"one-clvm/lab/cluster"
	"one-clvm/lab/profile"
	"one-clvm/lvm"
	"one-clvm/lvm/lvm2"
)

// What LVM's commands cost in a group with few and with many volumes, of a size as
// operators have it. It proves nothing and is not run by make test-lab:
//
//	go test -tags lab,measure -run ManyVolumes -v ./test/lab
func TestManyVolumes(t *testing.T) {
	s := start(t, profile.Single, nil)
	n := s.Nodes[0]
	t.Logf("metadata area (size, free, volumes) as vgcreate makes it: %s", s.mda(n))
	s.newGroup(n, "--metadatasize", "64m")
	few, many := s.costs(n, 20), s.costs(n, 2000)
	for name, first := range few {
		t.Logf("%-8s %6.3fs with 20, %6.3fs with 2000 volumes: factor %.1f", name, first.Seconds(), many[name].Seconds(), many[name].Seconds()/first.Seconds())
	}
}

// newGroup makes the group anew, with these options of its physical volume.
func (s *site) newGroup(n *cluster.Node, options ...string) {
	s.Helper()
	s.Output(s.T, n, "vgremove", "-y", cluster.Group)
	s.Output(s.T, n, append([]string{"pvcreate", "-y", "-ff", cluster.GroupDevice}, options...)...)
	s.Output(s.T, n, "vgcreate", "-y", cluster.Group, cluster.GroupDevice)
}

func (s *site) mda(n *cluster.Node) string {
	s.Helper()
	return strings.Join(strings.Fields(s.Output(s.T, n, "vgs", "--noheadings", "--units", "k", "-o", "vg_mda_size,vg_mda_free,lv_count", cluster.Group)), " ")
}

// costs fills the group up to so many volumes, and measures the next one.
func (s *site) costs(n *cluster.Node, count int) map[string]time.Duration {
	s.Helper()
	s.fillUp(n, count-1)
	s.Logf("metadata area (size, free, volumes): %s", s.mda(n))
	g := s.group(n)
	const name = "lv-one-9999-0"
	took := map[string][]time.Duration{}
	measure := func(what string, do func() error) {
		began := time.Now()
		require.NoError(s, do())
		took[what] = append(took[what], time.Since(began))
	}
	ctx := s.Context()
	lvmOnly := func(argv ...string) func() error {
		return func() error { _, err := n.Output(ctx, argv...); return err }
	}
	for range 5 {
		measure("lvs", lvmOnly("lvs", "-o", "lv_name,lv_uuid,lv_size,lv_tags,lv_attr", cluster.Group))
		measure("report", func() error { _, _, err := g.Report(ctx); return err })
		measure("create", func() error {
			_, err := g.Create(ctx, lvm.CreateRequest{Name: name, Size: 4 << 20, Tags: lvm.DiskTags(9999, 0, 100)})
			return err
		})
		measure("tag", func() error { _, err := g.Tag(ctx, name, lvm.NewTags("more"), nil); return err })
		measure("remove", func() error { return g.Remove(ctx, name) })
		measure("lvcreate", lvmOnly("lvcreate", "-y", "-Wn", "-Zn", "-L", "4m", "-n", name, cluster.Group))
		measure("lvremove", lvmOnly("lvremove", "-y", cluster.Group+"/"+name))
	}
	median := map[string]time.Duration{}
	for what, all := range took {
		slices.Sort(all)
		median[what] = all[len(all)/2]
	}
	return median
}

var (
	idLine     = regexp.MustCompile(`id = "[^"]+"`)
	stripeLine = regexp.MustCompile(`"pv0", \d+`)
)

// fillUp gives the group volumes 1 to count by a restore of its metadata, each like one
// that the suite has made.
func (s *site) fillUp(n *cluster.Node, count int) {
	s.Helper()
	const backup = "/run/vg.txt"
	g := lvm2.New(cluster.Group, n, lvm2.Options{})
	g.Permit(func(context.Context, []lvm.PhysicalVolume) error { return nil })
	list, err := g.Volumes(s.Context())
	require.NoError(s, err)
	if len(list) == 0 {
		_, err := g.Create(s.Context(), lvm.CreateRequest{Name: "lv-one-1-0", Size: 4 << 20, Tags: lvm.DiskTags(1, 0, 100)})
		require.NoError(s, err)
		_, err = g.Activate(s.Context(), "lv-one-1-0", lvm.Off)
		require.NoError(s, err)
	}
	s.Output(s.T, n, "vgcfgbackup", "-f", backup, cluster.Group)
	text := s.Output(s.T, n, "cat", backup)
	at := strings.Index(text, "\t\tlv-one-1-0 {")
	require.Positive(s, at)
	length := strings.Index(text[at:], "\n\t\t}\n") + len("\n\t\t}\n")
	one, volumes := text[at:at+length], ""
	for i := len(list); i < count; i++ {
		if i == 0 {
			continue
		}
		v := strings.ReplaceAll(one, "lv-one-1-0", fmt.Sprintf("lv-one-%d-0", i+1))
		v = strings.ReplaceAll(v, `"vm=1"`, fmt.Sprintf(`"vm=%d"`, i+1))
		v = idLine.ReplaceAllString(v, fmt.Sprintf(`id = "%06d-many-many-many-many-many-%06d"`, i, i))
		volumes += stripeLine.ReplaceAllString(v, fmt.Sprintf(`"pv0", %d`, i))
	}
	text = text[:at+length] + volumes + text[at+length:]
	require.NoError(s, n.Put(s.Context(), backup, strings.NewReader(text), 0o600, 0))
	s.Output(s.T, n, "vgcfgrestore", "-y", "-f", backup, cluster.Group)
}
