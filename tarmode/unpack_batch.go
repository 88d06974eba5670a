package tarmode

import (
	"context"
	"fmt"
	"io"
	"sync"

	"one-clvm/tarmode/archive"
)

// Bounds of what is on its way from the reader to the workers.
const (
	bufferSize    = 256 << 10
	batchMembers  = 64
	batchHandles  = 16 // directories of a batch, which are open as long as it is
	batchMetadata = 64 << 10
)

// member is one file, link or node that a worker creates.
type member struct {
	head *archive.Header
	path string // clean
	name string // its last component
	dir  *handle
	data []byte        // what is stored, in the batch's buffer
	more <-chan []byte // the same for a large file, piece by piece
}

// batch is a number of members for one worker: neighbours, so that two workers seldom
// wait for each other at one directory.
type batch struct {
	buf      []byte
	used     int
	metadata int
	members  []member
	handles  []*handle
}

// hold keeps the directory of the batch's next member open.
func (b *batch) hold(dir *handle) {
	if len(b.handles) == 0 || b.handles[len(b.handles)-1] != dir {
		b.handles = append(b.handles, dir.hold())
	}
}

// takes says that one more member fits in.
func (b *batch) takes(stored int64) bool {
	return len(b.members) < batchMembers && len(b.handles) < batchHandles &&
		b.metadata < batchMetadata && int64(b.used)+stored <= int64(len(b.buf))
}

// other hands a member that is neither directory nor hard link to the workers.
func (u *unpacker) other(path string, head *archive.Header) error {
	if path == "" {
		return fmt.Errorf("the root can only be a directory: %w", ErrUnsafe)
	}
	dirPath, name := splitPath(path)
	dir, err := u.tree.claim(path, dirPath)
	if err != nil {
		return err
	}
	if footprint(head) > batchMetadata { // one such header at a time
		if err := u.submit(); err != nil {
			return err
		}
		u.flight.waitAll()
	}
	m := member{head: head, path: path, name: name, dir: dir}
	if head.Stored() > bufferSize {
		return u.large(m)
	}
	return u.small(m)
}

func (u *unpacker) small(m member) error {
	stored := m.head.Stored()
	if u.batch != nil && !u.batch.takes(stored) {
		if err := u.submit(); err != nil {
			return err
		}
	}
	if u.batch == nil {
		buf, err := u.buffer()
		if err != nil {
			return err
		}
		u.batch = &batch{buf: buf, members: make([]member, 0, batchMembers)}
	}
	b := u.batch
	m.data = b.buf[b.used : b.used+int(stored)]
	if _, err := io.ReadFull(u.in, m.data); err != nil {
		return err
	}
	b.used += int(stored)
	b.metadata += footprint(m.head)
	b.hold(m.dir)
	b.members = append(b.members, m)
	u.flight.add(m.path)
	return nil
}

// large gives the worker a file of which the pieces follow.
func (u *unpacker) large(m member) error {
	if err := u.submit(); err != nil {
		return err
	}
	more := make(chan []byte, 4)
	defer close(more)
	m.more = more
	u.batch = &batch{members: []member{m}}
	u.batch.hold(m.dir)
	u.flight.add(m.path)
	if err := u.submit(); err != nil {
		return err
	}
	for left := m.head.Stored(); left > 0; {
		buf, err := u.buffer()
		if err != nil {
			return err
		}
		piece := buf[:min(left, bufferSize)]
		if _, err := io.ReadFull(u.in, piece); err != nil {
			return err
		}
		left -= int64(len(piece))
		select {
		case more <- piece:
		case <-u.ctx.Done():
			return context.Cause(u.ctx)
		}
	}
	return nil
}

// buffer waits for a free one.
func (u *unpacker) buffer() ([]byte, error) {
	select {
	case buf := <-u.free:
		return buf[:bufferSize], nil
	case <-u.ctx.Done():
		return nil, context.Cause(u.ctx)
	}
}

// submit gives what is collected to the workers.
func (u *unpacker) submit() error {
	u.report()
	if u.batch == nil {
		return nil
	}
	select {
	case u.jobs <- u.batch:
		u.batch = nil
		return nil
	case <-u.ctx.Done():
		return context.Cause(u.ctx)
	}
}

// work creates members until there are no more. After a failure it only clears away,
// so that nobody waits for it in vain.
func (u *unpacker) work() {
	for b := range u.jobs {
		for i := range b.members {
			m := &b.members[i]
			if u.ctx.Err() != nil {
				break
			}
			if err := u.create(m); err != nil {
				u.fail(memberError(m.head, err))
			}
		}
		u.finish(b)
	}
}

// finish returns what a batch holds.
func (u *unpacker) finish(b *batch) {
	for _, m := range b.members {
		if m.more != nil {
			for piece := range m.more {
				u.free <- piece
			}
		}
	}
	u.flight.remove(b.members)
	for _, dir := range b.handles {
		dir.release()
	}
	if b.buf != nil {
		u.free <- b.buf
	}
}

// footprint is about what a header takes in memory.
func footprint(head *archive.Header) int {
	n := 256 + len(head.Name) + len(head.Linkname) + 16*len(head.Sparse)
	for key, value := range head.Xattrs {
		n += 64 + len(key) + len(value)
	}
	return n
}

// flight is the set of paths that are on their way. Its size is that of the batches.
type flight struct {
	mu     sync.Mutex
	landed *sync.Cond
	paths  map[string]struct{}
}

func newFlight() *flight {
	f := &flight{paths: map[string]struct{}{}}
	f.landed = sync.NewCond(&f.mu)
	return f
}

func (f *flight) add(path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.paths[path] = struct{}{}
}

func (f *flight) remove(members []member) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range members {
		delete(f.paths, members[i].path)
	}
	f.landed.Broadcast()
}

func (f *flight) has(path string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.paths[path]
	return ok
}

func (f *flight) wait(path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		if _, ok := f.paths[path]; !ok {
			return
		}
		f.landed.Wait()
	}
}

func (f *flight) waitAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.paths) > 0 {
		f.landed.Wait()
	}
}
