// Package agent is both ends of one request to a node: the client that oned's driver
// uses, and the privileged server that sudo starts there, which does it, takes back what
// it cannot finish, and answers.
package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"one-clvm/agent/facts"
	"one-clvm/internal/run"
	"one-clvm/lvm"
)

// ErrPeerGone means: the end that asked is no more there; everything is rolled back.
var ErrPeerGone = errors.New("the front-end is gone")

// ErrStopped means: the agent was asked to end, as lockVM does; everything is rolled back.
var ErrStopped = errors.New("stopped for another operation on this VM, or by hand")

// ErrStalled means: the other end gave no sign of life in time.
var ErrStalled = errors.New("no sign of life from the other end")

// Server is the privileged end on a node. It serves one request and ends.
type Server struct {
	Config    Config
	Runner    run.Runner
	OpenGroup func(name string) (lvm.Group, error)
	Own       func(path string, uid, gid int, mode os.FileMode) error // of a volume's device; nil: chown
	Disks     func(context.Context) ([]lvm.PhysicalVolume, error)
	Facts     func(ctx context.Context, frontEnd string) *facts.Facts
	Version   string
	Self      string // the program that Confined runs in, with the argument "confined"
}

// session is one conversation.
type session struct {
	*Server
	frames   *frameWriter
	req      Request
	payload  *io.PipeReader
	acks     chan struct{} // the receiver of a save has it all
	peer     string        // version of the other end
	step     atomic.Pointer[string]
	bytes    atomic.Int64 // of the running step
	total    atomic.Int64 // of the running step, 0 unknown
	before   atomic.Int64 // bytes of earlier steps of the same job
	whole    atomic.Int64 // of the whole job, instead of total
	seen     atomic.Int64 // when the peer was last heard of, Unix nanoseconds
	busy     atomic.Bool  // a frame is here and waits for this end, not for the peer
	childRSS int64

	data *lvm.DataMap // of an image that is made: what was written

	quarantined []quarantined // to be wiped and removed past the VM's lock
}

// Serve reads one request from in, does it, and answers on out. Its error was
// already told to the other end, as far as that was possible.
func (s *Server) Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	if pipe, ok := in.(*os.File); ok {
		widen(pipe.Fd())
	}
	frames := &frameWriter{w: out}
	if err := frames.greet(s.Version); err != nil {
		return fmt.Errorf("greet: %w", err)
	}
	c := &session{Server: s, frames: frames, acks: make(chan struct{}, 1)}
	reader, err := c.receiveRequest(in)
	if err != nil {
		return c.refuse(err)
	}
	signals := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	payload, feed := io.Pipe()
	c.payload = payload
	context.AfterFunc(ctx, func() { _ = feed.CloseWithError(context.Cause(ctx)) }) // whoever waits for data is let go
	go c.listen(reader, feed, cancel)
	c.seen.Store(time.Now().UnixNano())
	go watch(ctx, cancel, &c.seen, &c.busy, c.Config.StallTimeout)
	go c.signOfLife(ctx, cancel)
	res, err := c.perform(ctx)
	_ = payload.CloseWithError(errors.New("the operation has ended")) // never fails
	if err != nil {
		cause := context.Cause(ctx)
		if signals.Err() != nil {
			cause = ErrStopped
		}
		if cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		return c.refuse(err)
	}
	res.PeakRSS = peakRSS() + c.childRSS
	return frames.writeJSON(frameResult, res)
}

func (c *session) receiveRequest(in io.Reader) (*frameReader, error) {
	reader := newFrameReader(in)
	h, err := reader.greeting("the front-end")
	if err != nil {
		return nil, err
	}
	c.peer = h.Version
	t, payload, err := reader.read()
	if err != nil {
		return nil, fmt.Errorf("read the request: %w", err)
	}
	if t != frameRequest {
		return nil, fmt.Errorf("%w: frame %q instead of a request", ErrProtocol, t)
	}
	if c.req, err = decodeRequest(payload); err != nil {
		return nil, err
	}
	return reader, c.req.validate(&c.Config)
}

func decodeRequest(payload []byte) (Request, error) {
	var q Request
	if err := json.Unmarshal(payload, &q); err != nil {
		return q, fmt.Errorf("%w: request: %w", ErrProtocol, err)
	}
	return q, nil
}

// maxErrorText is what an error frame has room for, in bytes, however it is encoded.
const maxErrorText = maxFrame / 8

func (c *session) refuse(err error) error {
	remote := RemoteError{Kind: kindOf(err), Text: err.Error()}
	if len(remote.Text) > maxErrorText {
		remote.Text = remote.Text[:maxErrorText] + " …"
	}
	return errors.Join(err, c.frames.writeJSON(frameError, remote))
}

// listen feeds the payload pipe until the trailer, and notices when the peer goes.
// The pipe ends cleanly only after the trailer was found right.
func (c *session) listen(reader *frameReader, feed *io.PipeWriter, cancel context.CancelCauseFunc) {
	check := newPayloadCheck()
	for {
		t, payload, err := reader.read()
		if err != nil {
			_ = feed.CloseWithError(fmt.Errorf("%w: %w", ErrStream, ErrPeerGone)) // never fails
			cancel(ErrPeerGone)
			return
		}
		c.seen.Store(time.Now().UnixNano())
		switch t {
		case frameData:
			check.add(payload)
			c.busy.Store(true)
			_, _ = feed.Write(payload) // the reading side knows why it stopped
			c.seen.Store(time.Now().UnixNano())
			c.busy.Store(false)
		case frameTrailer:
			_ = feed.CloseWithError(check.verify(payload)) // nil makes it io.EOF
		case frameAbort:
			err := fmt.Errorf("the front-end could not read its source: %s", payload)
			_ = feed.CloseWithError(err)
			cancel(err)
		case frameResult:
			select {
			case c.acks <- struct{}{}:
			default: // once is enough
			}
		case frameAlive:
		default:
			cancel(fmt.Errorf("%w: unexpected frame %q", ErrProtocol, t))
			return
		}
	}
}

// signOfLife tells the peer what goes on; that fails when the peer is gone.
func (c *session) signOfLife(ctx context.Context, cancel context.CancelCauseFunc) {
	atIntervals(ctx, func() bool {
		p := Progress{Bytes: c.before.Load() + c.bytes.Load(), Total: max(c.whole.Load(), c.total.Load())}
		if step := c.step.Load(); step != nil {
			p.Step = *step
		}
		err := c.frames.writeJSON(frameProgress, p)
		if err != nil {
			cancel(fmt.Errorf("%w: %w", ErrPeerGone, err))
		}
		return err != nil
	})
}

// begin names the running step and returns a function that logs its end.
func (c *session) begin(step string) func(error) {
	started := time.Now()
	c.step.Store(&step)
	c.bytes.Store(0)
	c.total.Store(0)
	return func(err error) {
		outcome := "done"
		if err != nil {
			outcome = "failed: " + err.Error()
		}
		c.log("info", "%s %s in %s", step, outcome, time.Since(started).Round(time.Millisecond))
	}
}

func (c *session) progress(n int64) { c.bytes.Store(n) }

func (c *session) log(level, format string, args ...any) {
	subject := "op " + c.req.Operation
	switch {
	case c.req.Op.ofImage():
		subject += fmt.Sprintf(": image %d", c.req.Image.ID)
	case !c.req.Op.ofGroup():
		subject += fmt.Sprintf(": VM %d", c.req.VM)
		if c.req.Disk >= 0 {
			subject += fmt.Sprintf(" disk %d", c.req.Disk)
		}
	}
	line := LogLine{Level: level, Text: subject + ": " + fmt.Sprintf(format, args...)}
	_ = c.frames.writeJSON(frameLog, line) // a peer that is gone is noticed by signOfLife
}

func (c *session) perform(ctx context.Context) (Result, error) {
	if c.req.Op == OpDisks {
		disks, err := c.Disks(ctx)
		return Result{Disks: disks}, err
	}
	if c.req.Op == OpFacts {
		return Result{Facts: c.Facts(ctx, c.req.FrontEnd)}, nil
	}
	if c.req.Op == OpStatFile {
		return c.statFile()
	}
	var g lvm.Group
	if c.req.Group != "" {
		var err error
		if g, err = c.open(c.req.Group); err != nil {
			return Result{}, err
		}
	}
	if c.req.Op.ofGroup() {
		return c.serveGroup(ctx, g)
	}
	if err := c.mayTakeOver(ctx, g); err != nil {
		return Result{}, err
	}
	lock, err := c.lock(ctx)
	if err != nil {
		return Result{}, err
	}
	res, err := c.change(ctx, g)
	err = errors.Join(err, lock.unlock())
	reapErr := c.reapQuarantined(ctx)
	if reapErr != nil && err == nil && c.req.Op.makes() {
		c.log("warn", "an earlier attempt is not cleared away: %v", reapErr)
		return res, nil
	}
	return res, errors.Join(err, reapErr)
}

// serveGroup does what concerns a volume group, and no VM of which to take the lock.
func (c *session) serveGroup(ctx context.Context, g lvm.Group) (Result, error) {
	switch c.req.Op {
	case OpMonitor:
		return c.monitor(ctx, g)
	case OpAudit:
		return c.audit(ctx, g)
	case OpReap:
		return c.reapAll(ctx, g)
	case OpWipeFree:
		return c.wipeFree(ctx, g)
	}
	info, volumes, err := g.Report(ctx)
	return Result{Info: &info, Volumes: volumes}, err
}

// mayTakeOver refuses the disks of a node that cannot be reached, where nothing tells that
// it does not use them any more.
func (c *session) mayTakeOver(ctx context.Context, g lvm.Group) error {
	if c.req.TakeOver == "" || g == nil {
		return nil
	}
	info, err := g.Info(ctx)
	if err != nil || info.LockManager != lvm.NoLockManager {
		return err
	}
	volumes, err := g.Volumes(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(volumes, func(v lvm.Volume) bool {
		return (c.isDisk(v) || c.isLent(v)) && !v.IsSnapshot() && !v.Tags.Has(lvm.TagParked)
	}) {
		return nil // they were taken off that node before it was lost
	}
	return &lvm.Error{Op: string(c.req.Op), Group: g.Name(), Err: fmt.Errorf("%w, perhaps: oned has lost %s, where the disks of VM %d are, and the group has no lock manager that knows whether they are in use there: make sure that the node is off, then run onehost offline %s", lvm.ErrLocked, c.req.TakeOver, c.req.VM, c.req.TakeOver)}
}

func (c *session) change(ctx context.Context, g lvm.Group) (Result, error) {
	switch c.req.Op {
	case OpCreate:
		return c.create(ctx, g)
	case OpSave:
		return c.save(ctx, g)
	case OpRemove:
		if c.req.Snapshot != nil {
			return Result{}, c.removeRequested(ctx, g)
		}
		return Result{}, c.remove(ctx, g)
	case OpDrop:
		return Result{}, c.drop(ctx, g)
	case OpActivate:
		return Result{}, c.activate(ctx, g)
	case OpPark:
		return Result{}, c.park(ctx, g)
	case OpExtend:
		return c.extend(ctx, g)
	case OpSnapshot:
		return c.takeSnapshot(ctx, g)
	case OpRevert:
		return Result{}, c.revert(ctx, g)
	case OpLink:
		return c.link(ctx, g)
	case OpUnlink:
		return Result{}, c.unlink(ctx, g)
	case OpStore:
		return c.store(ctx, g)
	case OpDigest:
		return c.digest(ctx, g)
	case OpPublish:
		return Result{}, c.publish(ctx, g)
	case OpBackup:
		return c.backup(ctx, g)
	case OpUnbackup:
		return Result{}, c.endBackup(ctx, g)
	case OpRestore:
		return c.restore(ctx, g)
	case OpReplace:
		return Result{}, c.replace(ctx, g)
	}
	return c.changeHome(ctx, g)
}

// changeHome does what concerns files of a VM's home, and no volume of its own.
func (c *session) changeHome(ctx context.Context, g lvm.Group) (Result, error) {
	switch c.req.Op {
	case OpMoveHome:
		return Result{}, c.moveHome(ctx)
	case OpFile:
		return Result{}, c.putFile(ctx)
	case OpLinkFile:
		return c.linkFile(ctx, g)
	case OpAdopt:
		return c.adoptDisk(ctx, g)
	case OpRelease:
		return c.releaseDisk(ctx, g)
	}
	return c.changeImage(ctx, g)
}

// changeImage does what concerns an image of its own, and no VM's disk.
func (c *session) changeImage(ctx context.Context, g lvm.Group) (Result, error) {
	switch c.req.Op {
	case OpMakeImage:
		return c.makeImage(ctx, g)
	case OpDropImage:
		if c.req.Snapshot != nil {
			return Result{}, c.removeImageSnapshot(ctx, g)
		}
		return Result{}, c.dropImage(ctx, g)
	case OpRevertImage:
		return Result{}, c.revertImage(ctx, g)
	case OpSendImage:
		return c.sendImage(ctx, g)
	}
	return Result{}, fmt.Errorf("operation %q is not known to this agent", c.req.Op)
}

// owner is the user and group that links and files in a home belong to.
func (c *session) owner() (uid, gid int, err error) {
	u, err := user.Lookup(c.Config.Owner)
	if err != nil {
		return 0, 0, fmt.Errorf("OWNER in agent.conf: %w", err)
	}
	uid, err = strconv.Atoi(u.Uid)
	if err != nil {
		return 0, 0, fmt.Errorf("OWNER in agent.conf: user id %q: %w", u.Uid, err)
	}
	gid, err = strconv.Atoi(u.Gid)
	if err != nil {
		return 0, 0, fmt.Errorf("OWNER in agent.conf: group id %q: %w", u.Gid, err)
	}
	return uid, gid, nil
}

// Refuse greets and answers with an error: the node cannot serve anything.
func (s *Server) Refuse(out io.Writer, err error) error {
	frames := &frameWriter{w: out}
	if greetErr := frames.greet(s.Version); greetErr != nil {
		return errors.Join(err, greetErr)
	}
	c := &session{Server: s, frames: frames}
	return c.refuse(err)
}
