package datastore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"one-clvm/agent"
	"one-clvm/cxmrc"
	"one-clvm/internal/qcow2"
	"one-clvm/opennebula"
	"one-clvm/plan"
	"one-clvm/tarmode"
)

// countTime is how long stat reads a source whose format does not tell its size: oned gives
// up after 90 seconds.
const countTime = 75 * time.Second

// How often a source is looked at for the size that its format tells: small reads of a
// file, requests to a server.
const (
	readsOfFile    = 1 << 22
	readsOfAddress = 64
)

// planStat prints how large the image of a source will be, in MiB.
func (d *Driver) planStat(ctx context.Context, c *call) ([]plan.Step, error) {
	if d.IsShared(c.Image.Path) {
		return d.planShared(ctx, c, func(res agent.Result) error {
			_, err := fmt.Fprint(d.Stdout, opennebula.FormatStat(res.Size))
			return err
		})
	}
	return []plan.Step{{What: "look how large " + c.Image.Path + " is", Here: func(ctx context.Context) error {
		bytes, err := d.sizeOf(ctx, c)
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(d.Stdout, opennebula.FormatStat(bytes))
		return err
	}}}, nil
}

func (d *Driver) sizeOf(ctx context.Context, c *call) (int64, error) {
	switch scheme(c.Image.Path) {
	case "lvm":
		_, disk, err := d.diskSource(ctx, c)
		if err != nil {
			return 0, err
		}
		return disk.Size << 20, nil
	case "vol":
		image, err := d.imageSource(ctx, c)
		if err != nil {
			return 0, err
		}
		return image.Size << 20, nil
	case "http", "https":
		return d.sizeOfAddress(ctx, c)
	case "":
		return d.sizeOfFile(ctx, c)
	}
	return 0, fmt.Errorf("%w: %s:// is nothing that an image on the SAN can be made of", ErrRefused, scheme(c.Image.Path))
}

func (d *Driver) sizeOfFile(ctx context.Context, c *call) (int64, error) {
	file, err := c.openLocal(c.Image.Path)
	if err != nil {
		return 0, err
	}
	defer file.Close() // only read
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	return d.measure(ctx, c, file, info.Size(), readsOfFile, func(ctx context.Context, kind tarmode.Compression) (io.ReadCloser, error) {
		return d.decompress(ctx, file, kind)
	})
}

// measure tells a disk's size by the words of its format: raw by the file's, QCOW2, zstd and
// xz by their own. gzip and bzip2 tell none that can be trusted: what plain gives is
// counted.
func (d *Driver) measure(ctx context.Context, c *call, file io.ReaderAt, size int64, reads int, plain func(context.Context, tarmode.Compression) (io.ReadCloser, error)) (int64, error) {
	kind, err := c.compression(file, "")
	if err != nil {
		return 0, err
	}
	if kind == tarmode.None {
		return c.plainSize(file, size)
	}
	r, err := plain(ctx, kind)
	if err != nil {
		return 0, err
	}
	head := make([]byte, headSize)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, errors.Join(err, r.Close())
	}
	if isTar(head[:n]) {
		disk, err := c.diskOfArchive()
		return disk, errors.Join(err, r.Close())
	}
	if h, err := qcow2.ReadHeader(beginning(head[:n])); err == nil {
		return h.Size, r.Close()
	}
	if known, ok := formatSize(file, size, kind, reads); ok {
		return known, r.Close()
	}
	count, err := counted(r, n)
	return count, errors.Join(err, r.Close())
}

// diskOfArchive is the size of the disk that an archive is to fill: SIZE, in LVM's syntax, or
// else the default.
func (c *call) diskOfArchive() (int64, error) {
	bytes, _, err := cxmrc.DiskSize(cxmrc.DiskSizeInput{Template: c.Image.Asked, Default: c.cfg.Size("DEFAULT_LV_SIZE")})
	return bytes, err
}

// beginning is a file of which only that is known.
type beginning []byte

// ReadAt reads what is known.
func (b beginning) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(b)) {
		return 0, io.EOF
	}
	n := copy(p, b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

const (
	headSize = 512
	tarMagic = "ustar" // at offset 257, POSIX and GNU
)

func isTar(head []byte) bool { return len(head) >= 262 && string(head[257:262]) == tarMagic }

// plainSize: a disk that begins like an archive counts no less than it is.
func (c *call) plainSize(file io.ReaderAt, size int64) (int64, error) {
	h, err := qcow2.ReadHeader(file)
	switch {
	case err == nil:
		return h.Size, h.Check()
	case !errors.Is(err, qcow2.ErrFormat):
		return 0, err
	}
	head := make([]byte, headSize)
	n, err := file.ReadAt(head, 0)
	if err = ignoreEnd(err); err != nil || !isTar(head[:n]) {
		return size, err
	}
	disk, err := c.diskOfArchive()
	return max(disk, size), err
}

// counted reads to the end, as long as oned waits.
func counted(r io.Reader, already int) (int64, error) {
	deadline := time.Now().Add(countTime)
	total := int64(already)
	for time.Now().Before(deadline) {
		n, err := io.CopyN(io.Discard, r, 16<<20)
		total += n
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("its format does not tell the size of the disk, and reading %d bytes of it took %s: give SIZE in the template, or compress it with zstd or xz", total, countTime)
}

// sizeOfAddress looks at as little of the file as its format allows.
func (d *Driver) sizeOfAddress(ctx context.Context, c *call) (int64, error) {
	f := d.fetcher(c, c.Image.Path)
	ctx, cancel := context.WithTimeout(ctx, countTime+f.silent)
	defer cancel()
	body, err := f.open(ctx, 0, func() {})
	if err != nil {
		return 0, fmt.Errorf("fetch %s: %w", f.url, err)
	}
	head := make([]byte, headSize)
	n, err := io.ReadFull(body, head)
	if err = errors.Join(ignoreEnd(err), body.Close()); err != nil {
		return 0, fmt.Errorf("fetch %s: %w", f.url, err)
	}
	if kind := tarmode.Sniff(head[:n]); kind == tarmode.None && f.size < 0 && qcow2IsNot(head[:n]) {
		return 0, fmt.Errorf("the server of %s does not tell how large it is: give SIZE in the template", f.url)
	}
	return d.measure(ctx, c, &remote{ctx, f, head[:n]}, f.size, readsOfAddress, func(ctx context.Context, kind tarmode.Compression) (io.ReadCloser, error) {
		whole, err := f.open(ctx, 0, func() {})
		if err != nil {
			return nil, err
		}
		plain, err := d.decompressStream(ctx, whole, kind)
		if err != nil {
			return nil, errors.Join(err, whole.Close())
		}
		return &both{plain, whole}, nil
	})
}

func qcow2IsNot(head []byte) bool {
	_, err := qcow2.ReadHeader(beginning(head))
	return err != nil
}

func ignoreEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// both is a decompressor with its source, which is closed first: the decompressor waits for
// a read that is under way.
type both struct {
	io.ReadCloser
	source io.Closer
}

// Close closes the source, then what reads it.
func (b *both) Close() error { return errors.Join(b.source.Close(), b.ReadCloser.Close()) }

// remote reads parts of a file at an address.
type remote struct {
	ctx  context.Context
	f    *fetcher
	head []byte
}

// ReadAt asks for the part, unless it is in the beginning that is here already.
func (r *remote) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) <= int64(len(r.head)) || off < int64(len(r.head)) && int64(len(r.head)) == r.f.size {
		return beginning(r.head).ReadAt(p, off)
	}
	body, err := r.f.open(r.ctx, off, func() {})
	if err != nil {
		return 0, err
	}
	n, err := io.ReadFull(body, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, errors.Join(err, body.Close())
}
