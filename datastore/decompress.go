package datastore

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"one-clvm/internal/run"
	"one-clvm/tarmode"
)

// xzMemory is what xz may use to decompress: enough for xz -9.
const xzMemory = "128MiB"

// compression is that of a file, unless the datastore or the record says that it is to be
// taken as it is.
func (c *call) compression(file io.ReaderAt, mode tarmode.Mode) (tarmode.Compression, error) {
	if mode == tarmode.RAW || isYes(c.Datastore.Template["NO_DECOMPRESS"]) {
		return tarmode.None, nil
	}
	return sniff(file)
}

func isYes(text string) bool {
	return strings.EqualFold(text, "yes") || strings.EqualFold(text, "true")
}

func sniff(file io.ReaderAt) (tarmode.Compression, error) {
	head := make([]byte, 16)
	n, err := file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return tarmode.None, err
	}
	return tarmode.Sniff(head[:n]), nil
}

// decompress reads the plain content of a compressed file.
func (d *Driver) decompress(ctx context.Context, file *os.File, c tarmode.Compression) (io.ReadCloser, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return d.decompressStream(ctx, file, c)
}

func (d *Driver) decompressStream(ctx context.Context, compressed io.Reader, c tarmode.Compression) (io.ReadCloser, error) {
	if c != tarmode.Xz {
		return tarmode.NewDecompressor(compressed, c)
	}
	ctx, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, err := d.Runner.Run(ctx, run.Cmd{Path: "xz", Args: []string{"--decompress", "--stdout", "--memlimit-decompress=" + xzMemory}, Stdin: compressed, Stdout: w, DiesWithCaller: true})
		_ = w.CloseWithError(err) // nil is the end of the file
	}()
	return &xzReader{r, func() { cancel(); <-ended }}, nil
}

// xzReader reads what a running xz writes.
type xzReader struct {
	*io.PipeReader
	stop func()
}

// Close ends xz, too.
func (x *xzReader) Close() error {
	err := x.PipeReader.Close()
	x.stop()
	return err
}
