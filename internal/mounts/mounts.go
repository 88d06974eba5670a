// Package mounts reads which file systems are mounted, without touching any of them: one
// that waits for something would not answer.
package mounts

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"one-clvm/internal/lazyregexp"
)

// Mount is one line of /proc/self/mountinfo.
type Mount struct {
	Point, Type, Source string
	Number              string   // MAJOR:MINOR of the device
	Options             []string // of the mount, and of the file system
}

// Read reads those of this process. root is "/" outside of tests.
func Read(root string) ([]Mount, error) {
	file, err := os.Open(filepath.Join(root, "proc/self/mountinfo"))
	if err != nil {
		return nil, fmt.Errorf("mounts: %w", err)
	}
	all, err := parse(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("mounts: %w", err)
	}
	return all, nil
}

// parse reads /proc/self/mountinfo, see proc(5).
func parse(r io.Reader) ([]Mount, error) {
	var all []Mount
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		before, after, found := strings.Cut(lines.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !found || len(left) < 6 || len(right) < 3 {
			continue
		}
		m := Mount{Point: unescape(left[4]), Type: right[0], Source: unescape(right[1]), Number: left[2]}
		for _, option := range strings.Split(left[5]+","+right[2], ",") {
			if !slices.Contains(m.Options, option) {
				m.Options = append(m.Options, option)
			}
		}
		all = append(all, m)
	}
	return all, lines.Err()
}

var octal = lazyregexp.New(`\\[0-7]{3}`)

// unescape undoes what the kernel does to blanks in names.
func unescape(text string) string {
	return octal.ReplaceAllStringFunc(text, func(s string) string {
		n, err := strconv.ParseUint(s[1:], 8, 8)
		if err != nil {
			return s
		}
		return string([]byte{byte(n)})
	})
}

// Of finds the file system that a path is on, of which no part is a symbolic link. The last
// of several mounts at one place is the one that is seen.
func Of(all []Mount, path string) Mount {
	var best Mount
	for _, m := range all {
		inside := m.Point == "/" || path == m.Point || strings.HasPrefix(path, m.Point+"/")
		if inside && len(m.Point) >= len(best.Point) {
			best = m
		}
	}
	return best
}
