package mkimage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"one-clvm/internal/publish"
	"one-clvm/internal/qcow2"
	"one-clvm/internal/run"
	"one-clvm/lvm"
	"one-clvm/tarmode"
	"one-clvm/tarmode/archive"
)

// fill writes the image's content, flushes it, and notes what became of it.
func (j *job) fill(ctx context.Context, file *publish.File) error {
	write := j.disk
	if j.Mode.Tar() {
		write = j.tar
	}
	err := write(ctx, file)
	if err == nil {
		err = j.give(file)
	}
	if err == nil {
		err = file.Flush()
	}
	if err != nil {
		return err
	}
	st, err := file.Stat()
	if err != nil {
		return err
	}
	if stat, ok := st.Sys().(*syscall.Stat_t); ok {
		j.result.Bytes = stat.Blocks * 512
	}
	j.result.Template = j.template()
	if j.volume {
		j.result.Template = j.volumeTemplate()
	}
	return ctx.Err()
}

// give makes the file the datastore's owner's: root may have made it.
func (j *job) give(file *publish.File) error {
	if os.Geteuid() != 0 {
		return nil
	}
	dir := j.ds.BasePath
	if j.volume { // it may have no directory
		dir = filepath.Dir(dir)
	}
	st, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return file.Chown(int(owner.Uid), int(owner.Gid))
}

// template is what oned is told. SOURCE is where the image is already: oned copies nothing.
func (j *job) template() string {
	lines := []string{
		fmt.Sprintf("NAME=%q", j.Name), `TYPE="OS"`, `FORMAT="raw"`, fmt.Sprintf("SOURCE=%q", j.path),
		fmt.Sprintf(`SIZE="%d"`, lvm.RoundUp(j.result.Size, 1<<20)>>20), fmt.Sprintf("MODE=%q", string(j.Mode)),
	}
	if j.Mode.Tar() {
		lines = append(lines, fmt.Sprintf("FSTYPE=%q", j.FSType))
	}
	return strings.Join(lines, "\n") + "\n"
}

// tar makes a compressed tar, of a directory, of another tar, or of nothing.
func (j *job) tar(ctx context.Context, to *publish.File) error {
	packed, err := tarmode.NewCompressor(to, j.Mode.Compression(), j.level)
	if err != nil {
		return err
	}
	switch j.Format {
	case Tar:
		err = j.transcode(ctx, packed)
	case Directory:
		err = j.pack(ctx, packed, j.From)
	default:
		err = j.packNothing(ctx, packed)
	}
	return errors.Join(err, packed.Close())
}

func (j *job) pack(ctx context.Context, to io.Writer, path string) error {
	root, err := os.Open(path)
	if err != nil {
		return err
	}
	total, err := dataBelow(ctx, path)
	if err == nil {
		var stats tarmode.PackStats
		stats, err = tarmode.Pack(ctx, to, root, tarmode.PackOptions{Progress: func(bytes, _ int64) { j.Progress(bytes, total) }})
		j.result.Content = stats.Bytes
	}
	return errors.Join(err, root.Close())
}

func (j *job) packNothing(ctx context.Context, to io.Writer) error {
	empty, err := os.MkdirTemp("", "one-clvm-mkimage-")
	if err != nil {
		return err
	}
	return errors.Join(j.pack(ctx, to, empty), os.Remove(empty))
}

// dataBelow is what the files of a tree take, for the progress: it may be wrong, where
// files change.
func dataBelow(ctx context.Context, root string) (total int64, err error) {
	err = filepath.WalkDir(root, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if info, infoErr := entry.Info(); infoErr == nil && info.Mode().IsRegular() {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				total += min(info.Size(), st.Blocks*512) / max(int64(st.Nlink), 1)
			}
		}
		return ctx.Err()
	})
	return total, err
}

// transcode compresses an archive anew, and reads it to its end: one that cannot be
// deployed is not made an image.
func (j *job) transcode(ctx context.Context, to io.Writer) error {
	source, total, err := j.open(ctx)
	if err != nil {
		return err
	}
	counted := &counter{ctx: ctx, r: source, told: func(n int64) { j.Progress(n, total) }}
	plain, err := tarmode.Decompress(counted, tarmode.TGZ)
	if err != nil {
		return errors.Join(err, source.Close())
	}
	err = readArchive(io.TeeReader(plain, to))
	j.result.Content = counted.n
	return errors.Join(err, plain.Close(), source.Close())
}

// readArchive reads all members, and what is behind the end mark.
func readArchive(plain io.Reader) error {
	members := archive.NewReader(plain)
	for {
		_, err := members.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			_, err = io.Copy(io.Discard, members)
		}
		if err != nil {
			return err
		}
	}
	_, err := io.Copy(io.Discard, plain)
	return err
}

// disk makes a disk: the file itself, or compressed into it.
func (j *job) disk(ctx context.Context, file *publish.File) error {
	if j.Mode == tarmode.RAW {
		return j.rawDisk(ctx, file.File)
	}
	raw, err := publish.Create(j.path + ".raw") // it never gets its name
	if err != nil {
		return err
	}
	err = j.rawDisk(ctx, raw.File)
	if err == nil {
		err = j.compress(ctx, file, raw.File)
	}
	return errors.Join(err, discard(raw))
}

func (j *job) compress(ctx context.Context, to io.Writer, raw *os.File) error {
	packed, err := tarmode.NewCompressor(to, j.Mode.Compression(), j.level)
	if err != nil {
		return err
	}
	source := &counter{ctx: ctx, r: io.NewSectionReader(raw, 0, j.result.Size), told: func(n int64) { j.Progress(n, j.result.Size) }}
	_, err = io.Copy(packed, source)
	return errors.Join(err, packed.Close())
}

// rawDisk fills an empty file with a disk.
func (j *job) rawDisk(ctx context.Context, to *os.File) (err error) {
	switch j.Format {
	case Raw:
		err = j.copyRaw(ctx, to)
	case QCOW2:
		err = j.convert(ctx, to)
	default:
		err = j.makeFS(ctx, to)
		if err == nil && j.mounts() {
			err = j.unpack(ctx, to)
		}
	}
	if err != nil {
		return err
	}
	if j.Size > 0 && j.Size < j.result.Size {
		return fmt.Errorf("the disk has %d bytes, more than the %d of --size: it is not cut off", j.result.Size, j.Size)
	}
	j.result.Size = max(j.result.Size, j.Size)
	return to.Truncate(j.result.Size)
}

func (j *job) copyRaw(ctx context.Context, to *os.File) error {
	source, total, err := j.open(ctx)
	if err != nil {
		return err
	}
	size, read, err := tarmode.CopySparse(ctx, source, to, lvm.MaxSize, func(n int64) { j.Progress(n, total) })
	if err == nil && size == 0 {
		err = errors.New("the disk is empty")
	}
	j.result.Size, j.result.Content = lvm.RoundUp(size, lvm.SectorSize), read
	return errors.Join(err, source.Close())
}

func (j *job) convert(ctx context.Context, to *os.File) error {
	source, err := j.openWhole(ctx)
	if err != nil {
		return err
	}
	limit := j.Size
	if limit == 0 {
		limit = lvm.MaxSize
	}
	header, err := qcow2.ReadHeader(source)
	if err == nil {
		header, err = qcow2.Convert(ctx, j.Runner, source.File, to, limit, func(n int64) { j.Progress(n, header.Size) })
	}
	j.result.Size, j.result.Content = header.Size, header.Size
	return errors.Join(err, discard(source))
}

// openWhole opens a source that is not read from its beginning to its end: what comes on
// standard input is put into a nameless file first.
func (j *job) openWhole(ctx context.Context) (*publish.File, error) {
	if j.From != "-" {
		source, err := os.Open(j.From)
		return &publish.File{File: source}, err
	}
	temp, err := publish.Create(j.path + ".source") // it never gets its name
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(temp, j.stdin(ctx)); err != nil {
		return nil, errors.Join(err, discard(temp))
	}
	return temp, nil
}

// makeFS makes a file system in the file, with the files of a directory if there is one:
// mke2fs reads them, with their owners, and mounts nothing.
func (j *job) makeFS(ctx context.Context, to *os.File) error {
	if err := to.Truncate(j.Size); err != nil {
		return err
	}
	j.result.Size = j.Size
	const file = "/proc/self/fd/3"
	argv := []string{"mke2fs", "-q", "-F", "-t", j.FSType, "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1"}
	switch j.FSType {
	case "ext2", "ext3", "ext4":
		if j.Format == Directory && !j.mounts() {
			argv = append(argv, "-d", j.From)
		}
	case "xfs":
		argv = []string{"mkfs.xfs", "-q", "-f", "-K"}
	case "btrfs":
		argv = []string{"mkfs.btrfs", "-q", "-f", "-K"}
	case "vfat":
		argv = []string{"mkfs.vfat"}
	case "swap":
		argv = []string{"mkswap"}
	}
	_, err := j.Runner.Run(ctx, run.Cmd{Path: argv[0], Args: append(argv[1:], file), Files: []*os.File{to}, DiesWithCaller: true})
	return err
}

// open opens the source, and tells its size; 0 where nobody knows it.
func (j *job) open(ctx context.Context) (io.ReadCloser, int64, error) {
	if j.From == "-" {
		return j.stdin(ctx), 0, nil
	}
	source, err := os.Open(j.From)
	if err != nil {
		return nil, 0, err
	}
	st, err := source.Stat()
	if err == nil && !st.Mode().IsRegular() && st.Mode()&os.ModeDevice == 0 {
		err = fmt.Errorf("%s is neither a file nor a device", j.From)
	}
	if err != nil {
		return nil, 0, errors.Join(err, source.Close())
	}
	return source, st.Size(), nil
}

// stdin is standard input, whose reader need not wait for more of it when ctx has ended.
// Whoever reads it for him may wait on, to the end of the program.
func (j *job) stdin(ctx context.Context) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{j.Stdin}, make([]byte, 256<<10))
		_ = w.CloseWithError(err) // never fails
	}()
	context.AfterFunc(ctx, func() { _ = w.CloseWithError(context.Cause(ctx)) })
	return r
}

// counter counts what is read, and stops when its context ends.
type counter struct {
	ctx  context.Context
	r    io.Reader
	n    int64
	told func(int64)
}

func (c *counter) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.told(c.n)
	return n, err
}
