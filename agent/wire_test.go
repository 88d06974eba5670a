package agent

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
	"one-clvm/lvm"
	"one-clvm/tarmode"
)

// conversationOf is what a client writes for a request with a payload.
func conversationOf(t *testing.T, q Request, payload []byte) []byte {
	var out bytes.Buffer
	frames := &frameWriter{w: &out}
	require.NoError(t, frames.greet("test"))
	require.NoError(t, frames.writeJSON(frameRequest, q))
	w := newPayloadWriter(frames)
	_, err := w.Write(payload)
	require.NoError(t, err)
	require.NoError(t, w.close())
	return out.Bytes()
}

// answer is the error that the agent's words end with, nil for a result.
func answer(t *testing.T, words []byte) error {
	frames := newFrameReader(bytes.NewReader(words))
	_, err := frames.greeting("agent")
	require.NoError(t, err)
	for {
		kind, payload, err := frames.read()
		require.NoError(t, err)
		switch kind {
		case frameError:
			return decodeError(payload)
		case frameResult:
			return nil
		}
	}
}

// TestStreamTruncatedAnywhere: a conversation that is cut at any byte never publishes
// a volume and leaves nothing.
func TestStreamTruncatedAnywhere(t *testing.T) {
	n := newNode(t)
	whole := conversationOf(t, n.create(ContentDisk, tarmode.RAW), []byte("the content of a small disk"))
	for cut := range whole {
		var out bytes.Buffer
		err := n.server.Serve(context.Background(), bytes.NewReader(whole[:cut]), &out)
		require.Error(t, err, "cut at %d of %d", cut, len(whole))
		require.Empty(t, n.group.names(), "cut at %d of %d", cut, len(whole))
	}
}

func TestAlteredStreamIsNotPublished(t *testing.T) {
	n := newNode(t)
	whole := conversationOf(t, n.create(ContentDisk, tarmode.RAW), []byte("the content of a small disk"))
	at := bytes.Index(whole, []byte("content of"))
	whole[at] ^= 1
	in, out := io.Pipe()
	go func() { _, _ = out.Write(whole) }() // stays open: the peer is there
	var words bytes.Buffer
	err := n.server.Serve(context.Background(), in, &words)
	require.ErrorIs(t, err, ErrStream)
	assert.ErrorIs(t, answer(t, words.Bytes()), ErrStream)
	assert.Empty(t, n.group.names())
}

func TestAlteredSaveIsNotReceived(t *testing.T) {
	n := newNode(t)
	n.group.put(t, "lv-one-42-0", "data", "one", "vm=42", "disk=0", "ds=101")
	n.client.Runner = runnerFunc(func(ctx context.Context, c run.Cmd) (run.Result, error) {
		return run.Result{}, n.server.Serve(ctx, c.Stdin, &flipper{w: c.Stdout, at: 'd', once: []byte("data")})
	})
	q := n.request(OpSave)
	q.Mode, q.Remove = tarmode.RAW, true
	_, err := n.do(q, Transfer{
		Receive:  func(Start) (io.Writer, error) { return io.Discard, nil },
		Received: func(Start) error { t.Error("published"); return nil },
	})
	assert.ErrorIs(t, err, ErrStream)
	assert.Equal(t, []string{"lv-one-42-0"}, n.group.names())
}

type runnerFunc func(context.Context, run.Cmd) (run.Result, error)

func (f runnerFunc) Run(ctx context.Context, c run.Cmd) (run.Result, error) { return f(ctx, c) }

// flipper changes the first byte of the first occurrence of once.
type flipper struct {
	w    io.Writer
	at   byte
	once []byte
	done bool
}

func (f *flipper) Write(p []byte) (int, error) {
	if i := bytes.Index(p, f.once); i >= 0 && !f.done {
		p = bytes.Clone(p)
		p[i] ^= 1
		f.done = true
	}
	return f.w.Write(p)
}

func TestOtherVersionIsRefused(t *testing.T) {
	n := newNode(t)
	n.client.Runner = runnerFunc(func(_ context.Context, c run.Cmd) (run.Result, error) {
		frames := &frameWriter{w: c.Stdout}
		_, err := io.WriteString(c.Stdout, preamble)
		return run.Result{}, errors.Join(err, frames.writeJSON(frameHello, hello{Protocol: Protocol + 1, Version: "v9"}))
	})
	_, err := n.do(n.request(OpMonitor), Transfer{})
	require.ErrorIs(t, err, ErrProtocol)
	assert.ErrorContains(t, err, "v9")
	assert.ErrorContains(t, err, "install the same release")
	var out bytes.Buffer
	frames := &frameWriter{w: &out}
	require.NoError(t, errors.Join(func() error { _, err := io.WriteString(&out, preamble); return err }(), frames.writeJSON(frameHello, hello{Protocol: 0})))
	assert.ErrorIs(t, n.server.Serve(context.Background(), &out, io.Discard), ErrProtocol)
}

func TestLoginNoise(t *testing.T) {
	n := newNode(t)
	n.client.Runner = runnerFunc(func(ctx context.Context, c run.Cmd) (run.Result, error) {
		_, err := io.WriteString(c.Stdout, "Welcome to node1!\nLast login: yesterday\n")
		return run.Result{}, errors.Join(err, n.server.Serve(ctx, c.Stdin, c.Stdout))
	})
	_, err := n.do(n.request(OpMonitor), Transfer{})
	require.NoError(t, err)
	n.client.Runner = runnerFunc(func(_ context.Context, c run.Cmd) (run.Result, error) {
		_, err := io.WriteString(c.Stdout, "This account is disabled.\n")
		return run.Result{}, err
	})
	_, err = n.do(n.request(OpMonitor), Transfer{})
	require.ErrorIs(t, err, ErrProtocol)
	assert.ErrorContains(t, err, "This account is disabled.")
}

func TestNoAgent(t *testing.T) {
	cases := map[string]string{
		"sudo: a password is required":                           "install sudoers.d/one-clvm",
		"bash: /usr/libexec/one-clvm/tm-clvm: No such file":      "install one-clvm on that node",
		"Host key verification failed.":                          "known_hosts",
		"oneadmin@node1: Permission denied (publickey).":         "key is not accepted",
		"ssh: connect to host node1 port 22: Connection refused": "Connection refused",
	}
	for stderr, advice := range cases {
		n := newNode(t)
		n.client.Runner = runnerFunc(func(context.Context, run.Cmd) (run.Result, error) {
			return run.Result{Status: 255}, &run.Error{Argv: []string{"ssh", "node1"}, Status: 255, Stderr: stderr}
		})
		_, err := n.do(n.request(OpMonitor), Transfer{})
		require.ErrorIs(t, err, ErrUnreachable)
		assert.ErrorContains(t, err, "node1")
		assert.ErrorContains(t, err, advice)
	}
}

// A node that hangs: the verb gives up, says that it does not know, and ends ssh.
func TestSilentNode(t *testing.T) {
	n := newNode(t)
	n.client.StallTimeout = time.Nanosecond
	n.client.Runner = runnerFunc(func(ctx context.Context, _ run.Cmd) (run.Result, error) {
		<-ctx.Done()
		return run.Result{}, context.Cause(ctx)
	})
	_, err := n.do(n.request(OpMonitor), Transfer{})
	require.ErrorIs(t, err, ErrStalled)
	assert.ErrorContains(t, err, "is not known")
}

// A front-end that is silent in the middle of its payload: rolled back.
func TestSilentFrontEnd(t *testing.T) {
	n := newNode(t)
	n.server.Config.StallTimeout = time.Nanosecond
	whole := conversationOf(t, n.create(ContentDisk, tarmode.RAW), []byte("content"))
	in, out := io.Pipe()
	go func() { _, _ = out.Write(whole[:len(whole)-20]) }()
	err := n.server.Serve(context.Background(), in, io.Discard)
	require.ErrorIs(t, err, ErrStalled)
	assert.Empty(t, n.group.names())
}

func TestCancelledAgentRollsBack(t *testing.T) {
	n := newNode(t)
	ctx, cancel := context.WithCancel(context.Background())
	n.group.after = func(op, _ string) {
		if op == "create" {
			cancel() // SIGTERM arrives
		}
	}
	in, out := io.Pipe()
	go func() { _, _ = out.Write(conversationOf(t, n.create(ContentNone, ""), nil)) }()
	err := n.server.Serve(ctx, in, io.Discard)
	require.ErrorIs(t, err, context.Canceled)
	assert.Empty(t, n.group.names())
}

func TestRefuse(t *testing.T) {
	n := newNode(t)
	n.client.Runner = runnerFunc(func(_ context.Context, c run.Cmd) (run.Result, error) {
		return run.Result{}, n.server.Refuse(c.Stdout, errors.New("agent.conf:3: unknown variable"))
	})
	_, err := n.do(n.request(OpMonitor), Transfer{})
	assert.ErrorContains(t, err, "node1: agent.conf:3")
}

func TestHostArgv(t *testing.T) {
	h := Remote("node1", "ssh", []string{"-p", "2222"}, 10*time.Second, "/x/tm-clvm")
	assert.Equal(t, "ssh -T -o BatchMode=yes -o ServerAliveInterval=15 -o ServerAliveCountMax=4 -o ConnectTimeout=10 -p 2222 -- node1 sudo -n /x/tm-clvm agent", strings.Join(h.Argv, " "))
	local := Local("frontend", "/x/tm-clvm")
	assert.Equal(t, "/x/tm-clvm agent", strings.Join(local.Argv[len(local.Argv)-2:], " "))
}

func TestValidate(t *testing.T) {
	n := newNode(t)
	cases := []struct {
		name string
		edit func(*Request)
		want string
	}{
		{"good", func(*Request) {}, ""},
		{"unknown operation", func(q *Request) { q.Op = "format-c" }, `"format-c" is not known`},
		{"operation id", func(q *Request) { q.Operation = "x; rm" }, "x; rm"},
		{"group", func(q *Request) { q.Group = "vg-root" }, `"vg-root" is not allowed`},
		{"VM", func(q *Request) { q.VM = -1 }, "VM id -1"},
		{"datastore", func(q *Request) { q.DS = -1 }, "datastore id"},
		{"disk", func(q *Request) { q.Disk = -2 }, "disk id"},
		{"patience", func(q *Request) { q.Patience = 1 << 20 }, "patience"},
		{"all disks", func(q *Request) { q.Disk = AllDisks }, "needs one disk"},
		{"activation", func(q *Request) { q.Activate = 9 }, "activation mode 9"},
		{"no home", func(q *Request) { q.Home = "" }, "below none"},
		{"file with a foreign group", func(q *Request) { q.Op, q.Group, q.File = OpFile, "../x", "disk.1" }, "../x"},
		{"home elsewhere", func(q *Request) { q.Home = "/etc" }, `"/etc" is below none`},
		{"home with dots", func(q *Request) { q.Home = n.base + "/101/../../etc" }, "is below none"},
		{"home of another VM", func(q *Request) { q.Home = n.base + "/101/43" }, "/101/43"},
		{"home of another datastore", func(q *Request) { q.Home = n.base + "/100/42" }, "/100/42"},
		{"size", func(q *Request) { q.Size = 0 }, "size of 0"},
		{"content", func(q *Request) { q.Content = "evil" }, `"evil"`},
		{"fs type", func(q *Request) { q.Content, q.FSType = ContentFS, "ext4 -F" }, `"ext4 -F"`},
		{"tar on vfat", func(q *Request) { q.Content, q.FSType = ContentTar, "vfat" }, "cannot hold"},
		{"uuid", func(q *Request) { q.Content, q.FSType, q.FSUUID = ContentFS, "ext4", "-U" }, `"-U"`},
		{"label", func(q *Request) { q.Content, q.FSType, q.FSLabel = ContentFS, "ext4", "a b" }, `"a b"`},
		{"mode", func(q *Request) { q.Op, q.Mode = OpSave, "ZIP" }, "ZIP"},
		{"level", func(q *Request) { q.Op, q.Mode, q.Level = OpSave, tarmode.TGZ, 99 }, "99"},
		{"file name", func(q *Request) { q.Op, q.File = OpFile, "../../etc/passwd" }, "passwd"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			q := n.create(ContentNone, "")
			c.edit(&q)
			err := q.validate(&n.server.Config)
			if c.want == "" {
				assert.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, c.want)
		})
	}
	n.server.Config.FSTypes = []string{"zfs"}
	q := n.create(ContentFS, "")
	q.FSType = "zfs"
	assert.ErrorContains(t, q.validate(&n.server.Config), "unknown")
}

func TestRemoteErrorKeepsItsSentinel(t *testing.T) {
	for _, k := range kinds {
		assert.ErrorIs(t, &RemoteError{Kind: k.name}, k.sentinel)
	}
	assert.NoError(t, (&RemoteError{Kind: "of a later version"}).Unwrap())
	assert.Equal(t, "in-use", kindOf(&lvm.Error{Err: lvm.ErrInUse}))
	assert.Empty(t, kindOf(errors.New("another")))
}

// FuzzServe: whatever arrives, the agent answers or ends, and makes nothing outside of
// its group and home base.
func FuzzServe(f *testing.F) {
	t := &testing.T{}
	valid, _ := json.Marshal(Request{Op: OpRemove, Operation: "0123456789ab", Group: "vg-one", VM: 1, Disk: -1, DS: 1, Home: "/srv/1/1"})
	var out bytes.Buffer
	frames := &frameWriter{w: &out}
	_ = frames.greet("fuzz")
	_ = frames.write(frameRequest, valid)
	f.Add(out.Bytes())
	f.Add([]byte(preamble + "H\x00\x00\x00\x02{}"))
	_ = t
	f.Fuzz(func(t *testing.T, input []byte) {
		n := newNode(t)
		_ = n.server.Serve(context.Background(), bytes.NewReader(input), io.Discard)
		entries, err := os.ReadDir(n.base)
		require.NoError(t, err)
		require.Len(t, entries, 1, "only datastore 101 that the test made")
		inside, err := os.ReadDir(filepath.Join(n.base, "101"))
		require.NoError(t, err)
		for _, e := range inside {
			require.True(t, homeTailPattern.MatchString("101/"+e.Name()))
		}
	})
}

// FuzzRequest: a request that passes never has a home outside of the base, nor words
// that an argument vector could trip over.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"op":"create","operation":"0123456789ab","group":"vg-one","vm":42,"disk":0,"ds":101,"home":"/srv/ds/101/42","size":1,"content":"fs","fstype":"ext4","fslabel":"x"}`))
	cfg := Config{Groups: []string{"vg-one"}, Prefix: "lv-one", HomeBases: []string{"/srv/ds"}, FSTypes: makerNames()}
	f.Fuzz(func(t *testing.T, payload []byte) {
		q, err := decodeRequest(payload)
		if err != nil || q.validate(&cfg) != nil {
			return
		}
		if q.Home != "" {
			require.True(t, strings.HasPrefix(filepath.Clean(q.Home), "/srv/ds/"))
		}
		for _, word := range []string{q.FSLabel, q.FSUUID} {
			require.NotContains(t, word, " ")
			require.False(t, q.Op == OpCreate && (q.Content == ContentFS || q.Content == ContentTar) && strings.HasPrefix(word, "-"), word)
		}
	})
}

// A large group's list of volumes is more than a usual frame holds.
func TestResultOfALargeGroup(t *testing.T) {
	n := newNode(t)
	for i := range 5000 {
		name := lvm.DiskName("lv-one", i, 0).String()
		n.group.volumes[name] = &lvm.Volume{Group: "vg-one", Name: name, Path: "/dev/vg-one/" + name, Size: extent, Tags: lvm.DiskTags(i, 0, 101)}
	}
	for _, op := range []Op{OpVolumes, OpAudit} {
		res, err := n.do(Request{Op: op, Operation: "0123456789ab", Group: "vg-one"}, Transfer{})
		require.NoError(t, err, op)
		assert.Len(t, res.Volumes, 5000, op)
	}
}

// Nobody makes the agent, which is root, hold much for him.
func TestAgentTakesNoLargeFrame(t *testing.T) {
	for _, kind := range []frameType{frameResult, frameRequest, frameData} {
		head := binary.BigEndian.AppendUint32([]byte{byte(kind)}, maxFrame+1)
		_, _, err := newFrameReader(bytes.NewReader(head)).read()
		assert.ErrorIs(t, err, ErrProtocol, string(kind))
	}
	assert.ErrorIs(t, (&frameWriter{w: io.Discard}).write(frameResult, make([]byte, maxResult+1)), ErrProtocol)
}

func TestLongErrorIsCut(t *testing.T) {
	n := newNode(t)
	n.group.fail["report"] = errors.New(strings.Repeat("\x01", maxFrame))
	_, err := n.do(n.request(OpVolumes), Transfer{})
	assert.ErrorContains(t, err, "…")
}

// What comes behind the trailer would get into a file that is published already.
func TestDataBehindTheTrailer(t *testing.T) {
	n := newNode(t)
	n.client.Runner = runnerFunc(func(_ context.Context, c run.Cmd) (run.Result, error) {
		frames := &frameWriter{w: c.Stdout}
		require.NoError(t, frames.greet("test"))
		require.NoError(t, frames.writeJSON(frameStart, Start{Mode: tarmode.GZIP}))
		w := newPayloadWriter(frames)
		require.NoError(t, w.close())
		_, err := w.Write([]byte("more"))
		return run.Result{}, err
	})
	_, err := n.do(n.request(OpSave), Transfer{Receive: func(Start) (io.Writer, error) { return io.Discard, nil }})
	assert.ErrorIs(t, err, ErrProtocol)
}
