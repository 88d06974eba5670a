package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// CacheDir is where images and snapshots are kept; it may be removed at any time at
// which no lab runs.
func CacheDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	directory := filepath.Join(cache, "one-clvm", "lab")
	return directory, os.MkdirAll(directory, 0o755)
}

// Cached returns the directory of that name in the cache. Where it is missing, fill
// makes its content, in a directory that gets the name only when all of it is there;
// others who want the same wait meanwhile. A crash leaves a directory that the next call
// removes.
func Cached(ctx context.Context, name string, progress io.Writer, fill func(directory string) error) (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	target := filepath.Join(cache, name)
	if used(target) {
		return target, nil
	}
	lock, err := lockFile(ctx, target+".lock", progress)
	if err != nil {
		return "", err
	}
	defer lock.Close() // the file stays: removing it would let two in
	if used(target) {
		return target, nil
	}
	unfinished := target + ".unfinished"
	if err := os.RemoveAll(unfinished); err != nil {
		return "", err
	}
	if err := os.Mkdir(unfinished, 0o755); err != nil {
		return "", err
	}
	if err := fill(unfinished); err != nil {
		return "", errors.Join(err, os.RemoveAll(unfinished))
	}
	if err := os.Rename(unfinished, target); err != nil {
		return "", err
	}
	return target, prune(cache)
}

// used says whether the directory is there, and notes the time.
func used(directory string) bool {
	now := time.Now()
	return os.Chtimes(directory, now, now) == nil
}

// lockFile waits for the lock; the closing of the file, or the end of the process, gives
// it back.
func lockFile(ctx context.Context, path string, progress io.Writer) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	told := false
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return file, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
		}
		if !told {
			fmt.Fprintf(progress, "somebody else makes %s: waiting\n", strings.TrimSuffix(filepath.Base(path), ".lock"))
			told = true
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), file.Close())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// keptFor is how long what nobody uses stays in the cache: a system takes a minute to
// make, the rest seconds, and there is one for every state of the code.
func keptFor(name string) time.Duration {
	if strings.HasPrefix(name, systemPrefix) {
		return 14 * 24 * time.Hour
	}
	return 24 * time.Hour
}

// prune removes what was not used for long.
func prune(cache string) error {
	entries, err := os.ReadDir(cache)
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range entries {
		info, err := entry.Info()
		if err == nil && entry.IsDir() && time.Since(info.ModTime()) > keptFor(entry.Name()) {
			errs = append(errs, os.RemoveAll(filepath.Join(cache, entry.Name())))
		}
	}
	return errors.Join(errs...)
}
