//go:build embedded

package filevg

import (
	"bufio"
	"context"
	"fmt"
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

func churnOnce(g *Group, i int) error {
	ctx := context.Background()
	name, other := fmt.Sprintf("lv-one-1-%d", i%3), fmt.Sprintf("lv-one-2-%d", i%3)
	if _, err := g.Volume(ctx, name); err == nil {
		return g.Remove(ctx, name)
	}
	if _, err := g.Volume(ctx, other); err == nil {
		return g.Remove(ctx, other)
	}
	if _, err := g.Create(ctx, lvm.CreateRequest{Name: name, Size: 2 * testExtent, Tags: lvm.Tags{"one"}}); err != nil {
		return err
	}
	if _, err := g.Extend(ctx, name, 4*testExtent); err != nil {
		return err
	}
	if _, err := g.Activate(ctx, name, lvm.Mode(i%3)); err != nil {
		return err
	}
	return g.Rename(ctx, name, other)
}

// TestKilledAtAnyInstruction kills a process that changes the group, many times, and
// looks at what is left: a whole group whose devices and links say what it says.
func TestKilledAtAnyInstruction(t *testing.T) {
	g := newGroup(t, 32*testExtent)
	keep := newVolume(t, g, "lv-one-9-9", 3)
	check := stamp(t, keep)
	for range 60 {
		killChurning(t, g.dir, time.Duration(rand.IntN(30_000))*time.Microsecond)

		again, err := Open(g.dir)
		require.NoError(t, err)
		wantConsistent(t, again)
		now, err := again.Volume(t.Context(), keep.Name)
		require.NoError(t, err)
		assert.Equal(t, keep, now)
		check(now)
	}
	volumes, err := g.Volumes(t.Context())
	require.NoError(t, err)
	for _, v := range volumes {
		require.NoError(t, g.Remove(t.Context(), v.Name))
	}
	assert.Empty(t, devicesOf(t, g))
	info, err := g.Info(t.Context())
	require.NoError(t, err)
	assert.Equal(t, info.Size, info.Free)
}

// killChurning starts a child, waits until it works, and kills it after a while.
func killChurning(t *testing.T, dir string, after time.Duration) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), churnVariable+"="+dir)
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	require.Equal(t, "ready", lines.Text())
	<-time.After(after) // the random moment of death, not a wait for something
	require.NoError(t, child.Process.Kill())
	for lines.Scan() {
		assert.Fail(t, "the child failed by itself", lines.Text())
	}
	_ = child.Wait() // killed: the status says nothing
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
