package lvm_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"one-clvm/lvm"
)

const dirt = 'X'

// dirtyFile has no byte that is zero.
func dirtyFile(t *testing.T, size int) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte{dirt}, size), 0o600))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// wantOnlyZeroed checks every byte: zeros in the range, dirt around it.
func wantOnlyZeroed(t *testing.T, path string, size int, off, length int64) {
	t.Helper()
	want := bytes.Repeat([]byte{dirt}, size)
	clear(want[off : off+length])
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want, got), "%d bytes at %d", length, off)
}

var zeroModes = []lvm.ZeroMode{lvm.ZeroAuto, lvm.ZeroWrite}

func TestZeroOfAnyRange(t *testing.T) {
	const size = 9<<20 + 123
	for _, mode := range zeroModes {
		for _, r := range [][2]int64{
			{0, size}, {0, 0}, {size, 0}, {0, 1}, {size - 1, 1}, {4095, 2}, {1, 4095}, {4096, 4096}, {5000, 8<<20 + 77}, {3, 1 << 20},
		} {
			f := dirtyFile(t, size)
			report, err := lvm.Zero(t.Context(), f, r[0], r[1], mode, nil)
			require.NoError(t, err)
			assert.Equal(t, r[1], report.Bytes)
			assert.NoError(t, lvm.VerifyZero(f, r[0], r[1], lvm.AllSamples))
			assert.NoError(t, lvm.VerifyZero(f, r[0], r[1], 5))
			wantOnlyZeroed(t, f.Name(), size, r[0], r[1])
		}
	}
}

func TestWipeStopsAtDeviceEnd(t *testing.T) {
	const size = 1 << 20
	f := dirtyFile(t, size)
	for _, mode := range zeroModes {
		for _, r := range [][2]int64{{0, size + 1}, {size, 1}, {size + 1, 0}, {1 << 62, 1 << 62}} {
			_, err := lvm.Zero(t.Context(), f, r[0], r[1], mode, nil)
			require.ErrorIs(t, err, lvm.ErrPastEnd)
			assert.ErrorContains(t, err, f.Name())
			require.ErrorIs(t, lvm.VerifyZero(f, r[0], r[1], 1), lvm.ErrPastEnd)
		}
		for _, r := range [][2]int64{{-1, 1}, {0, -1}} {
			_, err := lvm.Zero(t.Context(), f, r[0], r[1], mode, nil)
			require.ErrorContains(t, err, "negative")
		}
	}
	wantOnlyZeroed(t, f.Name(), size, 0, 0)
}

// scribble makes the whole file dirty again.
func scribble(t *testing.T, f *os.File) {
	t.Helper()
	size, err := lvm.DeviceSize(f)
	require.NoError(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte{dirt}, int(size)), 0)
	require.NoError(t, err)
}

// An offload that claims success without effect is found out and replaced by writing.
func TestZeroDoesNotBelieveTheDevice(t *testing.T) {
	const size = 8 << 20
	f := dirtyFile(t, size)
	lied := false
	report, err := lvm.Zero(t.Context(), f, 0, size, lvm.ZeroAuto, func(int64) {
		if !lied {
			scribble(t, f)
		}
		lied = true
	})
	require.NoError(t, err)
	assert.False(t, report.Offloaded)
	assert.ErrorIs(t, report.OffloadError, lvm.ErrNotZero)
	assert.EqualValues(t, size, report.Bytes)
	wantOnlyZeroed(t, f.Name(), size, 0, size)
}

func TestZeroThatHasNoEffectIsAnError(t *testing.T) {
	const size = 1 << 20
	for _, mode := range zeroModes {
		f := dirtyFile(t, size)
		_, err := lvm.Zero(t.Context(), f, 0, size, mode, func(int64) { scribble(t, f) })
		require.ErrorIs(t, err, lvm.ErrNotZero)
	}
}

func TestZeroEndsWithTheContext(t *testing.T) {
	const size = 16 << 20
	ctx, cancel := context.WithCancel(t.Context())
	f := dirtyFile(t, size)
	var told []int64
	report, err := lvm.Zero(ctx, f, 0, size, lvm.ZeroWrite, func(done int64) {
		told = append(told, done)
		if done == 8<<20 {
			cancel()
		}
	})
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, []int64{4 << 20, 8 << 20}, told)
	assert.EqualValues(t, 8<<20, report.Bytes)
	_, err = lvm.Zero(ctx, f, 0, size, lvm.ZeroAuto, nil)
	require.ErrorIs(t, err, context.Canceled)
}

func TestZeroNeedsToWrite(t *testing.T) {
	f, err := os.Open(dirtyFile(t, 4096).Name())
	require.NoError(t, err)
	defer f.Close()
	for _, mode := range zeroModes {
		_, err := lvm.Zero(t.Context(), f, 0, 4096, mode, nil)
		require.ErrorIs(t, err, unix.EBADF)
	}
}

func TestVerifyZeroFindsOneByte(t *testing.T) {
	const size = 9 << 20
	for _, at := range []int64{0, 1, 4096, 5<<20 + 17, size - 1} {
		f := dirtyFile(t, size)
		_, err := lvm.Zero(t.Context(), f, 0, size, lvm.ZeroAuto, nil)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte{1}, at)
		require.NoError(t, err)
		err = lvm.VerifyZero(f, 0, size, lvm.AllSamples)
		require.ErrorIs(t, err, lvm.ErrNotZero)
		assert.ErrorContains(t, err, fmt.Sprintf("byte %d ", at))
		assert.NoError(t, lvm.VerifyZero(f, 0, at, lvm.AllSamples), "not in the range")
		assert.NoError(t, lvm.VerifyZero(f, at+1, size-at-1, lvm.AllSamples), "not in the range")
	}
}

// The ends are always looked at, however few samples are asked for.
func TestVerifyZeroLooksAtBothEnds(t *testing.T) {
	const size = 64 << 20
	for _, at := range []int64{0, size - 1} {
		f := dirtyFile(t, 1)
		require.NoError(t, f.Truncate(0))
		require.NoError(t, f.Truncate(size))
		require.NoError(t, lvm.VerifyZero(f, 0, size, 3))
		_, err := f.WriteAt([]byte{1}, at)
		require.NoError(t, err)
		assert.ErrorIs(t, lvm.VerifyZero(f, 0, size, 0), lvm.ErrNotZero)
	}
}

func TestDeviceSizeOfFile(t *testing.T) {
	size, err := lvm.DeviceSize(dirtyFile(t, 777))
	require.NoError(t, err)
	assert.EqualValues(t, 777, size)
	for _, path := range []string{"/dev/null", t.TempDir()} {
		f, err := os.Open(path)
		require.NoError(t, err)
		_, err = lvm.DeviceSize(f)
		assert.ErrorContains(t, err, path)
		_, err = lvm.Zero(t.Context(), f, 0, 0, lvm.ZeroAuto, nil)
		assert.ErrorContains(t, err, path)
		require.NoError(t, f.Close())
	}
	closed := dirtyFile(t, 1)
	require.NoError(t, closed.Close())
	_, err = lvm.DeviceSize(closed)
	assert.ErrorIs(t, err, os.ErrClosed)
}
