package agent

import (
	"bytes"
	"context"
	"io"
	"os"

	"one-clvm/lvm"
)

// copyBuffer is how much of two devices is compared at a time.
const copyBuffer = 4 << 20

// copyChunks makes the first size bytes of target those of source, and writes no chunk
// (lvm.SnapshotChunk) that is the same already.
func copyChunks(ctx context.Context, source io.ReaderAt, target *os.File, size int64, progress func(int64)) error {
	wanted, found := make([]byte, copyBuffer), make([]byte, copyBuffer)
	for at := int64(0); at < size; at += copyBuffer {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		length := min(copyBuffer, size-at)
		want, have := wanted[:length], found[:length]
		if _, err := io.ReadFull(io.NewSectionReader(source, at, length), want); err != nil {
			return err
		}
		if _, err := io.ReadFull(io.NewSectionReader(target, at, length), have); err != nil {
			return err
		}
		if err := writeDifferences(target, at, want, have); err != nil {
			return err
		}
		progress(at + length)
	}
	return nil
}

func writeDifferences(target *os.File, at int64, want, have []byte) error {
	for len(want) > 0 {
		n := min(len(want), lvm.SnapshotChunk)
		if !bytes.Equal(want[:n], have[:n]) {
			if _, err := target.WriteAt(want[:n], at); err != nil {
				return err
			}
		}
		want, have, at = want[n:], have[n:], at+int64(n)
	}
	return nil
}
