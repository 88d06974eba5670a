package filevg

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"one-clvm/internal/lazyregexp"
)

// What the kernel says about loop devices, without opening one: an open that lasts a
// moment makes another process's mount, mkfs or deactivation fail.

const sysBlock = "/sys/block"

var loopName = lazyregexp.New(`^loop([0-9]{1,7})$`)

// attached lists the loop devices over the file pv, in no order. root is /sys/block.
func attached(root, pv string) ([]loopDevice, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("list loop devices: %w", err)
	}
	var devices []loopDevice
	for _, entry := range entries {
		match := loopName.FindStringSubmatch(entry.Name())
		if match == nil {
			continue
		}
		r, over, err := readLoop(filepath.Join(root, entry.Name(), "loop"), pv)
		if err != nil {
			return nil, fmt.Errorf("list loop devices: %w", err)
		}
		if over {
			number, _ := strconv.Atoi(match[1]) // digits only
			devices = append(devices, loopDevice{number, r})
		}
	}
	return devices, nil
}

// readLoop reads the loop directory of a device; over is false for one that is free
// or over another file.
func readLoop(dir, pv string) (r byteRange, over bool, err error) {
	file, err := os.ReadFile(filepath.Join(dir, "backing_file"))
	if isDetached(err) {
		return byteRange{}, false, nil
	}
	if err != nil || strings.TrimSuffix(string(file), "\n") != pv {
		return byteRange{}, false, err
	}
	r.Offset, err = readNumber(filepath.Join(dir, "offset"))
	if err == nil {
		r.Length, err = readNumber(filepath.Join(dir, "sizelimit"))
	}
	if isDetached(err) {
		return byteRange{}, false, nil
	}
	return r, err == nil, err
}

// isDetached: the attributes vanish with the backing file, also between two reads.
func isDetached(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.ENXIO)
}

func readNumber(path string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}
