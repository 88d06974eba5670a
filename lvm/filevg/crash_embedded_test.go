//go:build embedded

package filevg

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
)

// churnVariable makes the test binary a child that changes the group in this
// directory until it is killed.
const churnVariable = "FILEVG_TEST_CHURN"

func churn(dir string) {
	g, err := Open(dir)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	for i := 0; ; i++ {
		if err := churnOnce(g, i); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
}

// churnOnce takes a volume of this process's own through all changes.
func churnOnce(g *Group, i int) error {
	ctx := context.Background()
	name, other := fmt.Sprintf("lv-one-%d-0", os.Getpid()), fmt.Sprintf("lv-one-%d-1", os.Getpid())
	if _, err := g.Create(ctx, lvm.CreateRequest{Name: name, Size: 2 * testExtent, Tags: lvm.Tags{"one"}}); err != nil {
		return err
	}
	if _, err := g.Extend(ctx, name, 4*testExtent); err != nil {
		return err
	}
	if _, err := g.Activate(ctx, name, lvm.Mode(i%3)); err != nil {
		return err
	}
	if err := g.Rename(ctx, name, other); err != nil {
		return err
	}
	return g.Remove(ctx, other)
}

// TestKilledAtAnyInstruction kills two processes that change the group, many times,
// and looks at what is left: a whole group whose devices and links say what it says.
func TestKilledAtAnyInstruction(t *testing.T) {
	g := newGroup(t, 32*testExtent)
	keep := newVolume(t, g, "lv-one-9-9", 3)
	check := stamp(t, keep)
	for range 50 {
		kill, killOther := startChurning(t, g.dir), startChurning(t, g.dir)
		kill()
		killOther()

		again, err := Open(g.dir)
		require.NoError(t, err)
		wantConsistent(t, again)
		now, err := again.Volume(t.Context(), keep.Name)
		require.NoError(t, err)
		assert.Equal(t, keep, now)
		check(now)
		removeOthers(t, again, keep)
	}
}

// removeOthers leaves one volume, with its device, and all the space there was.
func removeOthers(t *testing.T, g *Group, keep lvm.Volume) {
	t.Helper()
	volumes, err := g.Volumes(t.Context())
	require.NoError(t, err)
	for _, v := range volumes {
		if v.Name != keep.Name {
			require.NoError(t, g.Remove(t.Context(), v.Name))
		}
	}
	assert.Len(t, devicesOf(t, g), 1)
	info, err := g.Info(t.Context())
	require.NoError(t, err)
	assert.Equal(t, info.Size-keep.Size, info.Free)
}

// startChurning starts a child and waits until it works; kill kills it a random while
// later.
func startChurning(t *testing.T, dir string) (kill func()) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), churnVariable+"="+dir)
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	require.Equal(t, "ready", lines.Text())
	return func() {
		<-time.After(rand.N(20 * time.Millisecond)) // the moment of death, not a wait for something
		require.NoError(t, child.Process.Kill())
		rest, err := io.ReadAll(out)
		require.NoError(t, err)
		assert.Empty(t, string(rest), "the child failed by itself")
		_ = child.Wait() // killed: the status says nothing
	}
}

// wantConsistent compares metadata, loop devices and links after a repair.
func wantConsistent(t *testing.T, g *Group) {
	t.Helper()
	err := g.report(t.Context(), func(s *session) error {
		assert.NoError(t, s.meta.validate(), "no overlapping extents")
		assert.Empty(t, s.stray, "no loop device without a volume")
		assert.NoError(t, s.checkRepaired())
		for _, v := range s.meta.Volumes {
			if d, active := s.loops[v.UUID]; active {
				assert.Equal(t, s.meta.bytes(v).Length, deviceSize(t, d.path()))
			}
		}
		return nil
	})
	require.NoError(t, err)
}

// stamp writes to the volume; the returned function looks whether that is still there.
func stamp(t *testing.T, v lvm.Volume) (check func(lvm.Volume)) {
	t.Helper()
	text := []byte(fmt.Sprintf("%-4096s", "this is "+v.UUID))
	f, err := os.OpenFile(v.Path, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(text, v.Size-int64(len(text)))
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
	return func(now lvm.Volume) {
		t.Helper()
		f, err := os.Open(now.Path)
		require.NoError(t, err)
		defer f.Close()
		found := make([]byte, len(text))
		_, err = f.ReadAt(found, v.Size-int64(len(text)))
		require.NoError(t, err)
		assert.Equal(t, string(text), string(found))
	}
}
