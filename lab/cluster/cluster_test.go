package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"one-clvm/internal/run"
	"one-clvm/lab/image"
	"one-clvm/lab/profile"
	"one-clvm/lab/qemu"
	"one-clvm/lab/wire"
)

func TestCopySparse(t *testing.T) {
	directory := t.TempDir()
	from, to := filepath.Join(directory, "from"), filepath.Join(directory, "to")
	file, err := os.Create(from)
	require.NoError(t, err)
	_, err = file.WriteAt([]byte("beginning"), 0)
	require.NoError(t, err)
	_, err = file.WriteAt([]byte("middle"), 5<<20)
	require.NoError(t, err)
	require.NoError(t, file.Truncate(64<<20))
	require.NoError(t, file.Close())
	require.NoError(t, copySparse(from, to))
	want, err := os.ReadFile(from)
	require.NoError(t, err)
	have, err := os.ReadFile(to)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want, have))
	var st unix.Stat_t
	require.NoError(t, unix.Stat(to, &st))
	assert.Less(t, st.Blocks*512, int64(1<<20), "holes are not written")
}

func TestDirectoriesOfTheDeadAreRemoved(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	dead, lock, err := newDirectory()
	require.NoError(t, err)
	living, keep, err := newDirectory()
	require.NoError(t, err)
	defer keep.Close()
	assert.DirExists(t, dead, "while somebody has its lock")
	require.NoError(t, lock.Close())
	_, third, err := newDirectory()
	require.NoError(t, err)
	require.NoError(t, third.Close())
	assert.NoDirExists(t, dead)
	assert.DirExists(t, living)
}

// node is a node whose port is served by serve.
func node(t *testing.T, serve func(*wire.Writer, wire.Frame)) *Node {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "port")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			out := wire.NewWriter(connection)
			_, _ = connection.Write([]byte("rest of an old frame"))
			for frame, err := wire.Read(connection); err == nil; frame, err = wire.Read(connection) {
				if frame.Kind == wire.Hello {
					_ = out.Write(frame)
					continue
				}
				serve(out, frame)
			}
		}
	}()
	n := &Node{Name: "node1", spec: qemu.Spec{Ports: []qemu.Port{{Socket: socket}}}}
	t.Cleanup(n.hangUp)
	return n
}

func TestRunOnANode(t *testing.T) {
	var input bytes.Buffer
	n := node(t, func(out *wire.Writer, f wire.Frame) {
		switch f.Kind {
		case wire.Data:
			input.Write(f.Payload)
		case wire.End:
			_, _ = out.Stream(f.ID, wire.Stdout).Write([]byte("out " + input.String()))
			_, _ = out.Stream(f.ID, wire.Stderr).Write([]byte("  LV locked by other host\n"))
			_ = out.WriteJSON(f.ID, wire.Done, wire.Result{Status: 5})
		}
	})
	result, err := n.Run(t.Context(), run.Cmd{Path: "lvchange", Args: []string{"-aey", "a b"}, Stdin: strings.NewReader("in")})
	var failed *run.Error
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, 5, failed.Status)
	assert.Equal(t, []string{"node1:", "lvchange", "-aey", "a b"}, failed.Argv)
	assert.Equal(t, "  LV locked by other host\n", failed.Stderr)
	assert.Equal(t, "out in", string(result.Stdout))
}

func TestEndOfTheContext(t *testing.T) {
	for _, writer := range []bool{false, true} {
		started, cancelled := make(chan wire.Request, 1), make(chan struct{}, 1)
		n := node(t, func(_ *wire.Writer, f wire.Frame) {
			switch f.Kind {
			case wire.Start:
				var r wire.Request
				_ = json.Unmarshal(f.Payload, &r)
				started <- r
			case wire.Cancel:
				cancelled <- struct{}{}
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			r := <-started
			assert.Equal(t, writer, r.Writer)
			cancel()
		}()
		_, err := n.Run(ctx, run.Cmd{Path: "lvcreate", Writer: writer})
		require.ErrorIs(t, err, context.Canceled)
		if writer {
			require.ErrorIs(t, err, run.ErrStillRunning)
			continue
		}
		<-cancelled
	}
}

func TestAPortThatBreaks(t *testing.T) {
	calls := 0
	var n *Node
	n = node(t, func(out *wire.Writer, f wire.Frame) {
		if f.Kind != wire.Start {
			return
		}
		if calls++; calls == 1 {
			n.control.close()
			return
		}
		_ = out.WriteJSON(f.ID, wire.Done, wire.Result{})
	})
	_, err := n.Output(t.Context(), "true")
	require.ErrorContains(t, err, "the node's port was closed")
	_, err = n.Output(t.Context(), "true")
	require.NoError(t, err, "the next one opens it again")
}

func TestPutCarriesTheContent(t *testing.T) {
	var asked wire.Request
	var content bytes.Buffer
	n := node(t, func(out *wire.Writer, f wire.Frame) {
		switch f.Kind {
		case wire.Start:
			_ = json.Unmarshal(f.Payload, &asked)
		case wire.Data:
			content.Write(f.Payload)
		case wire.End:
			_ = out.WriteJSON(f.ID, wire.Done, wire.Result{})
		}
	})
	text := strings.Repeat("0123456789", 30000)
	require.NoError(t, n.Put(t.Context(), "/a/b", strings.NewReader(text), 0o640, OneadminID))
	assert.Equal(t, wire.Request{Operation: wire.Put, Path: "/a/b", Mode: 0o640, Owner: OneadminID}, asked)
	assert.Equal(t, text, content.String())
}

func TestSnapshotsOfProfilesHaveNamesOfTheirOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range profile.All() {
		var text bytes.Buffer
		writeSteps(&text, p)
		for _, n := range describe(p, image.Image{}, "/x").Nodes {
			_, _ = io.WriteString(&text, strings.Join(n.spec.Arguments(), " "))
		}
		assert.False(t, seen[text.String()], p.Name)
		seen[text.String()] = true
	}
}

func TestTwoThatWantEachOtherOff(t *testing.T) {
	directory := t.TempDir()
	c := describe(profile.Cluster, image.Image{}, directory)
	f := &fenceDevice{directory: directory, nodes: c.Nodes}
	assert.Equal(t, "the node that asks is off", f.request(c.Nodes[0], "node2"))
	assert.Error(t, f.off("node3"))
	require.NoError(t, c.RefuseFencing(true))
	assert.EqualError(t, f.off("node2"), "the fence device refuses")
	require.NoError(t, c.RefuseFencing(false))
	require.NoError(t, c.RefuseFencing(false), "again")
	assert.NoError(t, f.off("node2"), "it is off already")
	lines, err := c.Fenced()
	require.NoError(t, err)
	require.Len(t, lines, 1)
	assert.Contains(t, lines[0], "node1: off node2: the node that asks is off")
}

func TestOpenWantsALivingLab(t *testing.T) {
	directory := t.TempDir()
	_, err := Open(directory)
	require.ErrorIs(t, err, ErrNotUp)
	c := describe(profile.Legacy, image.Image{System: "/s", Node: "/n"}, directory)
	require.NoError(t, c.writeRecord())
	_, err = Open(directory)
	require.ErrorIs(t, err, ErrNotUp, "nobody has the lock")
	c.lock, err = lockDirectory(directory)
	require.NoError(t, err)
	defer c.lock.Close()
	opened, err := Open(directory)
	require.NoError(t, err)
	assert.Equal(t, profile.Legacy, opened.Profile)
	assert.Equal(t, os.Getpid(), opened.Keeper())
	assert.Len(t, opened.Nodes, 2)
	_, err = opened.Node("node3")
	assert.Error(t, err)
}
