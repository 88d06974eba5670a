package facts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"one-clvm/gfs2"
	"one-clvm/internal/lazyregexp"
	"one-clvm/internal/membership"
	"one-clvm/internal/mounts"
	"one-clvm/internal/run"
)

var number = lazyregexp.New(`^[0-9]{1,9}$`)

// homes looks at all directories DATASTORE below HOME_BASE.
func (w *collecting) homes(ctx context.Context) error {
	mounted, err := mounts.Read(w.Root)
	if err != nil {
		return err
	}
	homes := []Home{}
	for _, base := range w.HomeBases {
		entries, err := os.ReadDir(w.path(base))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if number.MatchString(e.Name()) {
				homes = append(homes, w.home(ctx, path.Join(base, e.Name()), mounted))
			}
		}
	}
	w.set(func(f *Facts) { f.Homes = homes })
	return nil
}

// home looks into a datastore's directory, unless its file system is one that would not
// answer.
func (w *collecting) home(ctx context.Context, name string, mounted []mounts.Mount) Home {
	m := mounts.Of(mounted, name)
	h := Home{Path: name, Device: m.Source, Point: m.Point, Type: m.Type, Options: m.Options, Links: []Link{}}
	if m.Type == "gfs2" && w.unusable(m) {
		h.Error = "it is withdrawn or frozen on this node"
		return h
	}
	// A program, not a system call: it may never come back.
	result, err := w.Runner.Run(ctx, run.Cmd{Path: "stat", Args: []string{"-f", "-c", "%S %b %a %d", "--", name}})
	if err == nil {
		err = h.readSpace(string(result.Stdout))
	}
	if err == nil {
		h.Links, err = w.links(ctx, name)
	}
	if err != nil {
		h.Error = err.Error()
	}
	return h
}

// unusable says whether a file system must not be touched.
func (w *collecting) unusable(m mounts.Mount) bool {
	tables, _ := gfs2.Mounted(w.Root) // told by the cluster's part
	for _, table := range tables {
		s, err := gfs2.ReadState(w.Root, table)
		if err == nil && (s.Withdrawn || s.Frozen) && gfs2.DeviceOf(w.Root, table) == "/dev/"+w.deviceName(m.Source) {
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

// links are the links DATASTORE/VM/disk.N. What is no link is no business of ours. A
// program looks for them: reading a directory of a cluster's file system can wait in the
// kernel for ever, and this process must be able to end all the same.
func (w *collecting) links(ctx context.Context, name string) ([]Link, error) {
	result, err := w.Runner.Run(ctx, run.Cmd{Path: "find", Args: []string{"-H", name, "-mindepth", "2", "-maxdepth", "2", "-ignore_readdir_race",
		"-type", "l", "-name", "disk.*", "-printf", `%P\0%l\0`}})
	links := []Link{}
	words := strings.Split(string(result.Stdout), "\x00")
	for i := 0; i+1 < len(words) && len(links) < maxLinks; i += 2 {
		vm, disk := path.Split(words[i])
		if number.MatchString(path.Clean(vm)) && diskName.MatchString(disk) {
			links = append(links, Link{Path: path.Join(name, words[i]), Target: words[i+1]})
		}
	}
	return links, err
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
