//go:build embedded

package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"one-clvm/internal/run"
	"one-clvm/tarmode"
	"one-clvm/tarmode/archive"
)

// inNamespaces runs work on a thread with mounts and a root directory of its own; the
// thread ends with it. The whole child, its privileges dropped, runs in the end-to-end
// tests; here are its steps, one by one.
func inNamespaces(t *testing.T, work func() error) error {
	t.Helper()
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread must not be used again
		if unix.Gettid() == unix.Getpid() {
			// The first thread does not end with a goroutine: keep it out of this.
			ended <- inNamespaces(t, work)
			runtime.UnlockOSThread()
			return
		}
		if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
			ended <- err
			return
		}
		ended <- work()
	}()
	return <-ended
}

// loopDevice is a fresh device of 64 MiB.
func loopDevice(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "device")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.NoError(t, os.Truncate(file, 64<<20))
	res, err := run.Exec{}.Run(context.Background(), run.Cmd{Path: "losetup", Args: []string{"--find", "--show", file}})
	require.NoError(t, err)
	device := strings.TrimSpace(string(res.Stdout))
	t.Cleanup(func() {
		_, err := run.Exec{}.Run(context.Background(), run.Cmd{Path: "losetup", Args: []string{"--detach", device}})
		assert.NoError(t, err)
	})
	return device
}

func smallTar(t *testing.T, members ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := archive.NewWriter(&out)
	for _, name := range members {
		require.NoError(t, w.WriteHeader(&archive.Header{Name: name, Type: archive.File, Mode: 0o644, Size: 4, ModTime: time.Unix(1, 0)}))
		_, err := io.WriteString(w, "data")
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

// swapped puts files in the place of standard input and output until the test ends.
func swapped(t *testing.T, in []byte) (out *os.File) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "in")
	require.NoError(t, os.WriteFile(path, in, 0o600))
	input, err := os.Open(path)
	require.NoError(t, err)
	out, err = os.Create(filepath.Join(t.TempDir(), "out"))
	require.NoError(t, err)
	oldIn, oldOut := os.Stdin, os.Stdout
	os.Stdin, os.Stdout = input, out
	t.Cleanup(func() {
		os.Stdin, os.Stdout = oldIn, oldOut
		assert.NoError(t, input.Close())
	})
	return out
}

// child mounts the task's device as the child does and packs or unpacks.
func child(t *testing.T, spec task) (report, error) {
	t.Helper()
	var lines bytes.Buffer
	reports := &reporter{w: json.NewEncoder(&lines)}
	err := inNamespaces(t, func() error {
		root, err := enter(&spec)
		if err != nil {
			return err
		}
		if spec.Pack {
			return packTree(&spec, root, reports)
		}
		return unpackTree(&spec, root, reports)
	})
	var last report
	for decoder := json.NewDecoder(&lines); ; {
		var next report
		if decoder.Decode(&next) != nil {
			return last, err
		}
		last = next
	}
}

func TestChildUnpacksAndPacks(t *testing.T) {
	device := loopDevice(t)
	q := &Request{FSType: "ext4", FSUUID: "0b2dd2ab-3f4c-4a52-8f18-3ecb2f0f3a3c"}
	require.NoError(t, makeFS(context.Background(), run.Exec{}, q, device, true))
	before, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	spec := task{Device: device, FSType: "ext4", Root: t.TempDir(), Mode: tarmode.TGZ, MaxSize: 64 << 20, UUID: q.FSUUID}

	swapped(t, smallTar(t, "etc/hostname", "etc/motd"))
	end, err := child(t, spec)
	require.NoError(t, err)
	assert.Equal(t, report{Bytes: 8, Members: 2, Done: true}, end)

	spec.Pack = true
	out := swapped(t, nil)
	end, err = child(t, spec)
	require.NoError(t, err)
	assert.True(t, end.Done)
	_, err = out.Seek(0, io.SeekStart)
	require.NoError(t, err)
	uuid, _, err := tarmode.ReadIdentity(out, tarmode.TGZ)
	require.NoError(t, err)
	assert.Equal(t, q.FSUUID, uuid)
	after, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	assert.Equal(t, string(before), string(after), "its mounts are its own")
}

func TestChildRefuses(t *testing.T) {
	device := loopDevice(t)
	spec := task{Device: device, FSType: "ext4", Root: t.TempDir(), Mode: tarmode.TGZ, MaxSize: 64 << 20}
	_, err := child(t, spec)
	require.ErrorContains(t, err, "mount "+device+" as ext4")
	require.NoError(t, makeFS(context.Background(), run.Exec{}, &Request{FSType: "ext4"}, device, true))
	for name, c := range map[string]struct {
		input []byte
		want  error
	}{
		"nothing":         {nil, tarmode.ErrTruncated},
		"no member":       {smallTar(t), tarmode.ErrFormat},
		"cut":             {smallTar(t, "a")[:700], tarmode.ErrTruncated},
		"leading outside": {smallTar(t, "../a"), tarmode.ErrUnsafe},
	} {
		swapped(t, c.input)
		_, err := child(t, spec)
		assert.ErrorIs(t, err, c.want, name)
	}
	spec.Root = "/none"
	_, err = child(t, spec)
	assert.ErrorContains(t, err, "mount a root at /none")
	assert.ErrorContains(t, confined("{", nil), "task")
}

func TestReporterIsNotTalkative(t *testing.T) {
	var lines bytes.Buffer
	r := &reporter{w: json.NewEncoder(&lines)}
	for n := range int64(1000) {
		r.progress(n, n)
	}
	assert.Equal(t, 1, strings.Count(lines.String(), "\n"))
}
