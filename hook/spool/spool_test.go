package spool

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// at is a clock that shows one second more at every look.
func at() func() time.Time {
	now := time.Unix(1_700_000_000, 0)
	return func() time.Time { now = now.Add(time.Second); return now }
}

func texts(t *testing.T, s Spool) []string {
	t.Helper()
	entries, err := s.List()
	require.NoError(t, err)
	var all []string
	for _, e := range entries {
		require.NoError(t, e.Err)
		all = append(all, string(e.Data))
	}
	return all
}

func TestAppendedIsListedInOrder(t *testing.T) {
	s := Spool{Dir: t.TempDir(), Now: at()}
	assert.Empty(t, texts(t, s))
	for i := range 12 {
		require.NoError(t, s.Append([]byte(fmt.Sprint(i))))
	}
	assert.Equal(t, strings.Fields("0 1 2 3 4 5 6 7 8 9 10 11"), texts(t, s))
	entries, err := s.List()
	require.NoError(t, err)
	assert.Equal(t, int64(1_700_000_001), entries[0].Time.Unix())
	require.NoError(t, s.Remove(entries[0].Name))
	require.NoError(t, s.Remove(entries[0].Name), "removed already")
	assert.Len(t, texts(t, s), 11)
	assert.ErrorIs(t, s.Remove("../../etc/passwd"), ErrUntrusted)
	assert.ErrorIs(t, s.Reject("x"), ErrUntrusted)
}

func TestLimits(t *testing.T) {
	s := Spool{Dir: t.TempDir(), Max: 2}
	require.ErrorIs(t, s.Append(make([]byte, MaxRecord+1)), ErrTooLarge)
	require.NoError(t, s.Append(make([]byte, MaxRecord)))
	require.NoError(t, s.Append(nil))
	err := s.Append([]byte("x"))
	require.ErrorIs(t, err, ErrFull)
	assert.ErrorContains(t, err, s.Dir)
	assert.Error(t, Spool{Dir: s.Dir + "/none"}.Append(nil))
	_, err = Spool{Dir: s.Dir + "/none"}.List()
	require.Error(t, err)
	assert.Error(t, Spool{Dir: s.Dir + "/none"}.Sweep())
}

func TestAppendedAtOnce(t *testing.T) {
	s := Spool{Dir: t.TempDir()}
	var all sync.WaitGroup
	for i := range 200 {
		all.Add(1)
		go func() {
			defer all.Done()
			assert.NoError(t, s.Append([]byte(fmt.Sprint(i))))
		}()
	}
	all.Wait()
	assert.Len(t, texts(t, s), 200)
}

// Those who may append may put anything there.
func TestForeignFiles(t *testing.T) {
	s := Spool{Dir: t.TempDir()}
	name := func(n int) string { return filepath.Join(s.Dir, fmt.Sprintf("%019d-00000000.event", n)) }
	require.NoError(t, os.Symlink("/etc/passwd", name(1)))
	require.NoError(t, os.Mkdir(name(2), 0o700))
	require.NoError(t, unix.Mkfifo(name(3), 0o600))
	require.NoError(t, os.WriteFile(name(4), make([]byte, MaxRecord+1), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(s.Dir, "9999999999999999999-00000000.event"), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(s.Dir, "README"), nil, 0o600))
	entries, err := s.List()
	require.NoError(t, err)
	require.Len(t, entries, 5)
	for _, e := range entries {
		require.ErrorIs(t, e.Err, ErrUntrusted, e.Name)
		require.NoError(t, s.Reject(e.Name))
		require.NoError(t, s.Reject(e.Name), "rejected already")
	}
	assert.Empty(t, texts(t, s))
}

func TestSweepRemovesWhatCrashesLeft(t *testing.T) {
	s := Spool{Dir: t.TempDir()}
	left := filepath.Join(s.Dir, ".1700000000000000000-00000000.event.saving")
	for _, name := range []string{left, filepath.Join(s.Dir, "x.saving")} {
		require.NoError(t, os.WriteFile(name, nil, 0o600))
	}
	require.NoError(t, s.Sweep())
	require.FileExists(t, left, "somebody may be writing it")
	s.Now = func() time.Time { return time.Now().Add(2 * leftoverAge) }
	require.NoError(t, s.Sweep())
	assert.NoFileExists(t, left)
	assert.FileExists(t, filepath.Join(s.Dir, "x.saving"), "not ours")
}
