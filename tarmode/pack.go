package tarmode

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"one-clvm/internal/beneath"
	"one-clvm/tarmode/archive"
)

// PackOptions says what of a tree goes into its archive.
type PackOptions struct {
	// Global are the archive's global records; none when empty.
	Global map[string]string
	// Progress is called now and then, by one goroutine at a time, with the bytes of
	// data and the members written so far.
	Progress func(bytes, members int64)
	// Skip leaves an entry out, with everything below it. The path is relative to the
	// root and clean ("var/tmp").
	Skip func(path string) bool
}

// PackStats is what an archive got.
type PackStats struct {
	Members int64
	Bytes   int64 // data as it stands in the archive, holes not counted
	Sockets int64 // left out: a tar has no kind for them
}

// Pack writes an uncompressed tar of the tree below root. The order is that of the
// names, so the same tree gives the same archive. Owners, modes, times, extended
// attributes, hard links, device nodes and holes are kept; what is mounted below root,
// sockets and an ext file system's empty lost+found are left out.
//
// No symbolic link is followed. The tree is expected to be quiet: a file that got
// shorter since it was looked at is an error that names it.
//
// When ctx ends, Pack returns its cause; a Write to w that blocks is for the caller to
// end. The archive has its end mark only when the error is nil.
func Pack(ctx context.Context, w io.Writer, root *os.File, opt PackOptions) (PackStats, error) {
	p := &packer{opt: opt, out: archive.NewWriter(w), copy: make([]byte, bufferSize)}
	p.ctx, p.fail = context.WithCancelCause(ctx)
	defer p.fail(nil)
	if err := p.run(root); err != nil {
		return p.stats, fmt.Errorf("pack %s: %w", root.Name(), err)
	}
	return p.stats, nil
}

// packer has three stages: one goroutine walks the tree and names its entries, some
// load small files and open large ones, and the caller's writes all in the order of
// the walk. Channels of fixed length between them bound what is in memory.
type packer struct {
	opt   PackOptions
	stats PackStats
	out   *archive.Writer
	copy  []byte // for large files

	ctx  context.Context
	fail context.CancelCauseFunc
}

// ahead is how many loads the walk may be ahead of the writing.
const ahead = 16

func (p *packer) run(root *os.File) error {
	fd, err := beneath.OpenDirAt(int(root.Fd()), ".") // a place of its own to read names
	if err != nil {
		return err
	}
	if err := p.global(); err != nil {
		unix.Close(fd)
		return err
	}
	inOrder, toLoad := make(chan *load, ahead), make(chan *load, ahead)
	walk := &walker{ctx: p.ctx, skip: p.opt.Skip, inOrder: inOrder, toLoad: toLoad, links: map[inode]*linked{}}
	var others sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), 4) {
		others.Add(1)
		go func() {
			defer others.Done()
			for l := range toLoad {
				l.run(p.ctx)
			}
		}()
	}
	others.Add(1)
	go func() {
		defer others.Done()
		defer close(inOrder)
		defer close(toLoad)
		if err := walk.run(newHandle(fd)); err != nil {
			p.fail(err)
		}
	}()
	for l := range inOrder {
		<-l.done
		if err := p.write(l); err != nil {
			p.fail(err)
		}
		l.close()
	}
	others.Wait()
	if err := context.Cause(p.ctx); err != nil {
		return err
	}
	p.stats.Sockets = walk.sockets
	p.report()
	return p.out.Close()
}

func (p *packer) global() error {
	if len(p.opt.Global) == 0 {
		return nil
	}
	return p.out.WriteGlobal(p.opt.Global)
}

// write writes one load, unless something has failed already.
func (p *packer) write(l *load) error {
	if p.ctx.Err() != nil {
		return context.Cause(p.ctx)
	}
	if l.err != nil {
		return l.err
	}
	for i := range l.entries {
		if err := p.entry(&l.entries[i]); err != nil {
			return fmt.Errorf("%s: %w", l.entries[i].head.Name, err)
		}
	}
	p.report()
	return nil
}

func (p *packer) entry(e *entry) error {
	if err := p.out.WriteHeader(&e.head); err != nil {
		return err
	}
	p.stats.Members++
	if e.file == nil {
		p.stats.Bytes += int64(len(e.data))
		_, err := p.out.Write(e.data)
		return err
	}
	return readExtents(e.file.fd, e.extents(), p.copy, func(data []byte) error {
		if p.ctx.Err() != nil {
			return context.Cause(p.ctx)
		}
		p.stats.Bytes += int64(len(data))
		p.report()
		_, err := p.out.Write(data)
		return err
	})
}

func (p *packer) report() {
	if p.opt.Progress != nil {
		p.opt.Progress(p.stats.Bytes, p.stats.Members)
	}
}
