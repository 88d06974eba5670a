package debian

import (
	"context"
	"errors"
	"fmt"
	"os"

	"one-clvm/tarmode"
)

// Pack packs a tree into an image file with the suite's own code.
func Pack(ctx context.Context, tree, path string, mode tarmode.Mode) (stats tarmode.PackStats, err error) {
	root, err := os.Open(tree)
	if err != nil {
		return stats, fmt.Errorf("pack: %w", err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	file, err := os.Create(path)
	if err != nil {
		return stats, fmt.Errorf("pack: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	compressor, err := tarmode.NewCompressor(file, mode.Compression(), 1)
	if err != nil {
		return stats, err
	}
	stats, err = tarmode.Pack(ctx, compressor, root, tarmode.PackOptions{})
	return stats, errors.Join(err, compressor.Close())
}
