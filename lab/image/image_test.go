package image

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"one-clvm/internal/run"
)

// TestCpioIsReadByTheRealOne: bsdtar reads the archives that the kernel reads.
func TestCpioIsReadByTheRealOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "archive")
	out, err := os.Create(path)
	require.NoError(t, err)
	c := newCpio(out)
	c.add("init", []byte("program"), 0o755)
	c.add("config/root/.ssh/key", []byte("secret"), 0o600)
	c.add("config/root/empty", nil, 0o644)
	require.NoError(t, c.close())
	require.NoError(t, out.Close())

	directory := t.TempDir()
	_, err = run.Exec{}.Run(t.Context(), run.Cmd{Path: "bsdtar", Args: []string{"-x", "-p", "-C", directory, "-f", path}})
	require.NoError(t, err)
	for name, want := range map[string]struct {
		text string
		mode os.FileMode
	}{
		"init": {"program", 0o755}, "config/root/.ssh/key": {"secret", 0o600}, "config/root/empty": {"", 0o644},
		"config/root/.ssh": {mode: os.ModeDir | 0o700}, "config": {mode: os.ModeDir | 0o755},
	} {
		st, err := os.Stat(filepath.Join(directory, name))
		require.NoError(t, err)
		assert.Equal(t, want.mode, st.Mode(), name)
		if !st.IsDir() {
			text, err := os.ReadFile(filepath.Join(directory, name))
			require.NoError(t, err)
			assert.Equal(t, want.text, string(text), name)
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestCpioKeepsTheFirstError(t *testing.T) {
	c := newCpio(full{})
	c.add("a", nil, 0o644)
	assert.EqualError(t, c.close(), "full")
}

func TestClosureHasDependenciesFirst(t *testing.T) {
	k := kernelTree{directory: t.TempDir(), version: "1"}
	require.NoError(t, os.MkdirAll(k.modules(), 0o755))
	for name, text := range map[string]string{
		"modules.dep": "kernel/fs/gfs2/gfs2.ko: kernel/fs/dlm/dlm.ko kernel/lib/crc.ko\n" +
			"kernel/fs/dlm/dlm.ko: kernel/lib/crc.ko\nkernel/lib/crc.ko:\nkernel/md/dm-mod.ko:\n",
		"modules.builtin": "kernel/fs/configfs/configfs.ko\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(k.modules(), name), []byte(text), 0o644))
	}
	files, err := k.closure([]string{"gfs2", "configfs", "dm_mod", "dlm"})
	require.NoError(t, err)
	assert.Equal(t, []string{"kernel/lib/crc.ko", "kernel/fs/dlm/dlm.ko", "kernel/fs/gfs2/gfs2.ko", "kernel/md/dm-mod.ko"}, files)
	_, err = k.closure([]string{"nothing"})
	assert.ErrorContains(t, err, "no module nothing")
}

func TestHashTellsListsApart(t *testing.T) {
	assert.NotEqual(t, hash("a", "bc"), hash("ab", "c"))
	assert.NotEqual(t, hash("a"), hash("a", ""))
	assert.Equal(t, hash("a", "b"), hash("a", "b"))
}

func TestCachedIsMadeOnceAndWhole(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	var made atomic.Int32
	fill := func(directory string) error {
		made.Add(1)
		return os.WriteFile(filepath.Join(directory, "file"), []byte("x"), 0o644)
	}
	var group errgroup.Group
	for range 8 {
		group.Go(func() error {
			directory, err := Cached(t.Context(), "thing", io.Discard, fill)
			if err != nil {
				return err
			}
			_, err = os.Stat(filepath.Join(directory, "file"))
			return err
		})
	}
	require.NoError(t, group.Wait())
	assert.EqualValues(t, 1, made.Load())
}

func TestCachedAfterAFailureAndACrash(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	cache, err := CacheDir()
	require.NoError(t, err)
	// What a crash leaves.
	require.NoError(t, os.MkdirAll(filepath.Join(cache, "thing.unfinished", "half"), 0o755))
	broken := errors.New("broken")
	_, err = Cached(t.Context(), "thing", io.Discard, func(directory string) error {
		assert.NoDirExists(t, filepath.Join(directory, "half"))
		return broken
	})
	require.ErrorIs(t, err, broken)
	entries, err := filepath.Glob(filepath.Join(cache, "thing*"))
	require.NoError(t, err)
	assert.Equal(t, []string{filepath.Join(cache, "thing.lock")}, entries)
	_, err = Cached(t.Context(), "thing", io.Discard, func(string) error { return nil })
	require.NoError(t, err)
}

func TestCachedWaitsAndSaysSo(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	var said bytes.Buffer
	_, err := Cached(t.Context(), "thing", io.Discard, func(string) error {
		_, err := Cached(ctx, "thing", cancelling{&said, cancel}, func(string) error { return nil })
		require.ErrorIs(t, err, context.Canceled)
		return nil
	})
	require.NoError(t, err)
	assert.Equal(t, "somebody else makes thing: waiting\n", said.String())
}

// cancelling cancels at the first message.
type cancelling struct {
	to     io.Writer
	cancel context.CancelFunc
}

func (c cancelling) Write(p []byte) (int, error) {
	c.cancel()
	return c.to.Write(p)
}

func TestWhatNobodyUsesIsPruned(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	none := func(string) error { return nil }
	old, err := Cached(t.Context(), "old", io.Discard, none)
	require.NoError(t, err)
	recent, err := Cached(t.Context(), "recent", io.Discard, none)
	require.NoError(t, err)
	system, err := Cached(t.Context(), systemPrefix+"1", io.Discard, none)
	require.NoError(t, err)
	long := time.Now().Add(-keptFor("old") - time.Hour)
	for _, directory := range []string{old, recent, system} {
		require.NoError(t, os.Chtimes(directory, long, long))
	}
	_, err = Cached(t.Context(), "recent", io.Discard, none) // a use
	require.NoError(t, err)
	_, err = Cached(t.Context(), "new", io.Discard, none)
	require.NoError(t, err)
	assert.NoDirExists(t, old)
	assert.DirExists(t, recent)
	assert.DirExists(t, system)
}
