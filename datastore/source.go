package datastore

import (
	"context"
	"crypto/md5" // what markets tell of their images; so is SHA-1
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"one-clvm/cxmrc"
	"one-clvm/lvm"
	"one-clvm/plan"
	"one-clvm/tarmode"
)

// scheme of a PATH that is no file: lvm, vol, http, … ; "" for a file.
func scheme(path string) string {
	name, _, found := strings.Cut(path, "://")
	if !found || strings.HasPrefix(path, "/") {
		return ""
	}
	return name
}

// openSource opens what an image is to be made of as a local file: the user's own, or a
// nameless one that an address was fetched into, whole and with the right checksum.
func (d *Driver) openSource(ctx context.Context, c *call) (*os.File, error) {
	path := c.Image.Path
	switch scheme(path) {
	case "":
		file, err := c.openLocal(path)
		if err != nil {
			return nil, err
		}
		return kept(file, c.verify(file))
	case "http", "https":
		file, err := plan.Temporary(c.cfg.String("TMP_ROOT"))
		if err != nil {
			return nil, err
		}
		return kept(file, d.fetch(ctx, c, file))
	}
	return nil, fmt.Errorf("%w: %s:// is nothing that an image on the SAN can be made of: use a path, http, https, lvm://VM/DISK or vol://IMAGE", ErrRefused, scheme(path))
}

// kept closes the file if there is an error.
func kept(file *os.File, err error) (*os.File, error) {
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func (d *Driver) fetcher(c *call, path string) *fetcher {
	second := func(name string) time.Duration { return time.Duration(c.cfg.Int(name)) * time.Second }
	return newFetcher(path, second("CONNECT_TIMEOUT"), second("STALL_TIMEOUT"))
}

func (d *Driver) fetch(ctx context.Context, c *call, to *os.File) error {
	sums, err := c.checksums()
	if err != nil {
		return err
	}
	limit, err := c.bandwidth()
	if err != nil {
		return err
	}
	most, err := c.most()
	if err != nil {
		return err
	}
	w := limited(ctx, io.MultiWriter(sums.writers(&bounded{to, most})...), limit)
	n, err := d.fetcher(c, c.Image.Path).copy(ctx, w)
	if err != nil {
		return err
	}
	d.Report.Info("%d bytes of %s are here", n, c.Image.Path)
	_, err = to.Seek(0, io.SeekStart)
	return errors.Join(sums.compare(), err)
}

// checksum is one that the image's record tells.
type checksum struct {
	name, want string
	sum        hash.Hash
}

type checksums []checksum

// ErrChecksum says that it is not the file that the image's record means.
var ErrChecksum = errors.New("wrong checksum")

func (c *call) checksums() (checksums, error) {
	var out checksums
	for _, kind := range []checksum{{"MD5", "", md5.New()}, {"SHA1", "", sha1.New()}, {"SHA256", "", sha256.New()}} {
		kind.want = strings.ToLower(strings.TrimSpace(c.Image.Template[kind.name]))
		if kind.want == "" {
			continue
		}
		if text, err := hex.DecodeString(kind.want); err != nil || len(text) != kind.sum.Size() {
			return nil, fmt.Errorf("%w: %s of the image is %q, which is none", ErrChecksum, kind.name, kind.want)
		}
		out = append(out, kind)
	}
	return out, nil
}

func (s checksums) writers(first ...io.Writer) []io.Writer {
	for _, sum := range s {
		first = append(first, sum.sum)
	}
	return first
}

func (s checksums) compare() error {
	for _, sum := range s {
		if got := hex.EncodeToString(sum.sum.Sum(nil)); got != sum.want {
			return fmt.Errorf("%w: %s is %s, the image's record says %s", ErrChecksum, sum.name, got, sum.want)
		}
	}
	return nil
}

// verify reads a file for the checksums that its record tells, if any.
func (c *call) verify(file *os.File) error {
	sums, err := c.checksums()
	if err != nil || len(sums) == 0 {
		return err
	}
	if _, err := io.Copy(io.MultiWriter(sums.writers()...), file); err != nil {
		return fmt.Errorf("image file: %w", err)
	}
	_, err = file.Seek(0, io.SeekStart)
	return errors.Join(sums.compare(), err)
}

// spare is what a file may have beside the content of its disk: tables, headers.
const spare = 64 << 20

// most is how many bytes a file may have that is kept on the front-end while an image is
// made: something more than the disk that oned was told of, so that no source fills
// TMP_ROOT.
func (c *call) most() (int64, error) {
	size := cxmrc.DiskSizeInput{Disk: c.Image.Size, Default: c.cfg.Size("DEFAULT_LV_SIZE")}
	bytes, _, err := cxmrc.DiskSize(size)
	if err != nil {
		return 0, err
	}
	if text := c.Image.Template["SIZE"]; text != "" {
		wanted, err := lvm.ParseSize(text)
		if err != nil {
			return 0, fmt.Errorf("SIZE in the image's template: %w", err)
		}
		bytes = max(bytes, wanted)
	}
	return bytes + bytes/8 + spare, nil
}

// bounded is a writer that takes no more than so many bytes.
type bounded struct {
	io.Writer
	left int64
}

func (b *bounded) Write(p []byte) (int, error) {
	if int64(len(p)) > b.left {
		return 0, fmt.Errorf("%w: the source has more than oned was told: give SIZE in the template", tarmode.ErrTooLarge)
	}
	b.left -= int64(len(p))
	return b.Writer.Write(p)
}

// bandwidth is LIMIT_TRANSFER_BW of the datastore in bytes a second; 0 is no limit. A
// number without a unit is bytes, as the stock drivers have it.
func (c *call) bandwidth() (int64, error) {
	text := strings.TrimSpace(c.Datastore.Template["LIMIT_TRANSFER_BW"])
	if text == "" || text == "-" || text == "0" {
		return 0, nil
	}
	if strings.Trim(text, "0123456789") == "" {
		text += "b"
	}
	n, err := lvm.ParseSize(text)
	if err != nil {
		return 0, fmt.Errorf("LIMIT_TRANSFER_BW of %s: %w", c.Datastore.Origin(), err)
	}
	return n, nil
}

// limited writes to w no more than so many bytes a second, 0 as many as it takes.
func limited(ctx context.Context, w io.Writer, limit int64) io.Writer {
	if limit <= 0 {
		return w
	}
	return &limitedWriter{ctx: ctx, w: w, limit: limit, since: time.Now()}
}

type limitedWriter struct {
	ctx   context.Context
	w     io.Writer
	limit int64
	since time.Time
	n     int64
}

func (l *limitedWriter) Write(p []byte) (written int, err error) {
	step := int(max(l.limit/10, 1)) // so much in a tenth of a second
	for part := range slices.Chunk(p, step) {
		n, err := l.w.Write(part)
		written, l.n = written+n, l.n+int64(n)
		if err != nil {
			return written, err
		}
		due := l.since.Add(time.Duration(float64(l.n) / float64(l.limit) * float64(time.Second)))
		select {
		case <-l.ctx.Done():
			return written, context.Cause(l.ctx)
		case <-time.After(time.Until(due)):
		}
	}
	return written, nil
}
