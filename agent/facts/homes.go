package facts

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"one-clvm/gfs2"
	"one-clvm/internal/lazyregexp"
	"one-clvm/internal/membership"
	"one-clvm/internal/run"
)

// mount is one line of /proc/self/mountinfo.
type mount struct {
	point, kind, source string
	options             []string
}

// parseMounts reads /proc/self/mountinfo, see proc(5). The last of several mounts at one
// place is the one that is seen.
func parseMounts(r io.Reader) ([]mount, error) {
	var all []mount
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		before, after, found := strings.Cut(lines.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !found || len(left) < 6 || len(right) < 3 {
			continue
		}
		m := mount{point: unescape(left[4]), kind: right[0], source: unescape(right[1])}
		for _, option := range strings.Split(left[5]+","+right[2], ",") {
			if !slices.Contains(m.options, option) {
				m.options = append(m.options, option)
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

// mountOf finds the file system that a path is on.
func mountOf(all []mount, name string) mount {
	var best mount
	for _, m := range all {
		inside := m.point == "/" || name == m.point || strings.HasPrefix(name, m.point+"/")
		if inside && len(m.point) >= len(best.point) {
			best = m
		}
	}
	return best
}

var number = lazyregexp.New(`^[0-9]{1,9}$`)

// homes looks at all directories DATASTORE below HOME_BASE.
func (w *collecting) homes(ctx context.Context) error {
	file, err := os.Open(w.path("proc/self/mountinfo"))
	if err != nil {
		return err
	}
	mounts, err := parseMounts(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("mounts: %w", err)
	}
	homes := []Home{}
	for _, base := range w.HomeBases {
		entries, err := os.ReadDir(w.path(base))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if number.MatchString(e.Name()) {
				homes = append(homes, w.home(ctx, path.Join(base, e.Name()), mounts))
			}
		}
	}
	w.set(func(f *Facts) { f.Homes = homes })
	return nil
}

// home looks into a datastore's directory, unless its file system is one that would not
// answer.
func (w *collecting) home(ctx context.Context, name string, mounts []mount) Home {
	m := mountOf(mounts, name)
	h := Home{Path: name, Device: m.source, Point: m.point, Type: m.kind, Options: m.options, Links: []Link{}}
	if m.kind == "gfs2" && w.unusable(m) {
		h.Error = "it is withdrawn or frozen on this node"
		return h
	}
	// A program, not a system call: it may never come back.
	result, err := w.Runner.Run(ctx, run.Cmd{Path: "stat", Args: []string{"-f", "-c", "%S %b %a %d", "--", name}})
	if err == nil {
		err = h.readSpace(string(result.Stdout))
	}
	if err == nil {
		h.Links, err = w.links(name)
	}
	if err != nil {
		h.Error = err.Error()
	}
	return h
}

// unusable says whether a file system must not be touched.
func (w *collecting) unusable(m mount) bool {
	tables, _ := gfs2.Mounted(w.Root) // told by the cluster's part
	for _, table := range tables {
		s, err := gfs2.ReadState(w.Root, table)
		if err == nil && (s.Withdrawn || s.Frozen) && gfs2.DeviceOf(w.Root, table) == "/dev/"+w.deviceName(m.source) {
			return true
		}
	}
	return false
}

// readSpace reads what stat -f printed: size of a block, blocks, free ones, free inodes.
func (h *Home) readSpace(text string) error {
	words := strings.Fields(text)
	if len(words) != 4 {
		return fmt.Errorf("stat -f says %q", text)
	}
	var n [4]int64
	for i, word := range words {
		var err error
		if n[i], err = strconv.ParseInt(word, 10, 64); err != nil {
			return fmt.Errorf("stat -f says %q", text)
		}
	}
	h.Size, h.Free, h.Inodes = n[0]*n[1], n[0]*n[2], n[3]
	if n[3] == 0 && n[2] > 0 { // btrfs has no inodes to count
		h.Inodes = -1
	}
	return nil
}

// maxLinks is how many links of one datastore are told.
const maxLinks = 4096

var diskName = lazyregexp.New(`^disk\.[0-9]{1,9}$`)

// links are the links DATASTORE/VM/disk.N. What is no link is no business of ours.
func (w *collecting) links(name string) ([]Link, error) {
	links := []Link{}
	vms, err := os.ReadDir(w.path(name))
	if err != nil {
		return links, err
	}
	for _, vm := range vms {
		if !number.MatchString(vm.Name()) || !vm.IsDir() {
			continue
		}
		entries, err := os.ReadDir(w.path(path.Join(name, vm.Name())))
		if errors.Is(err, fs.ErrNotExist) {
			continue // just deleted
		}
		if err != nil {
			return links, err
		}
		for _, e := range entries {
			full := path.Join(name, vm.Name(), e.Name())
			if target, err := os.Readlink(w.path(full)); err == nil && diskName.MatchString(e.Name()) && len(links) < maxLinks {
				links = append(links, Link{Path: full, Target: target})
			}
		}
	}
	return links, nil
}

// gfs2 puts together what the kernel, dlm and the device say of each mounted GFS2.
func (w *collecting) gfs2(ctx context.Context, dlm *membership.DLM) error {
	tables, err := gfs2.Mounted(w.Root)
	if err != nil {
		return err
	}
	counting := w.Runner
	if !w.Installed("gfs2_edit") {
		counting = nil
	}
	all := []gfs2.State{}
	for _, table := range tables {
		s, err := gfs2.Examine(ctx, counting, w.Root, table, dlm)
		if err != nil {
			return err
		}
		all = append(all, s)
	}
	w.set(func(f *Facts) { f.GFS2 = all })
	return nil
}
