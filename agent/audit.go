package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"one-clvm/hook/spool"
	"one-clvm/internal/beneath"
	"one-clvm/internal/lazyregexp"
	"one-clvm/lvm"
)

// Audit is what an audit wants to know of a node, beside the volumes.
type Audit struct {
	// Boot is the id of the running kernel: two hosts of oned that have the same are one
	// machine.
	Boot   string   `json:"boot"`
	Wiping []string `json:"wiping,omitempty"` // volumes that are being wiped here
	Homes  []Home   `json:"homes,omitempty"`
	// Domains are the machines that run here; nil where no hypervisor tells.
	Domains []Domain `json:"domains"`
	// Services are the machines that the cluster has; nil where no cluster manager tells.
	Services []Service `json:"services"`
	// Spool is what waits to be told to oned; nil where there is none.
	Spool *Spool `json:"spool,omitempty"`
}

// Spool is that of the cluster's hook on a node.
type Spool struct {
	Dir     string    `json:"dir"`
	Waiting int       `json:"waiting"` // events that no front-end has been told of
	Oldest  time.Time `json:"oldest"`  // of them
	// Unreadable are files that are no events, or were put out of the way as none.
	Unreadable []string `json:"unreadable,omitempty"`
}

// Home is what is in the directory of a VM in a system datastore.
type Home struct {
	Path  string            `json:"path"`
	DS    int               `json:"ds"`
	VM    int               `json:"vm"`
	Links map[string]string `json:"links,omitempty"` // disk.N and where it leads
	Files []string          `json:"files,omitempty"` // everything else
	// Checkpoint is the saved memory: CheckpointSaved or CheckpointPartial; "" where there is
	// none, or none that libvirt has written.
	Checkpoint string `json:"checkpoint,omitempty"`
}

// CheckpointName is the file of a home that libvirt saves a VM's memory in.
const CheckpointName = "checkpoint"

// What libvirt writes at the beginning of a saved memory: the second until it is complete.
const (
	CheckpointSaved   = "LibvirtQemudSave"
	CheckpointPartial = "LibvirtQemudPart"
)

// audit looks at the volumes and what belongs to them on this node. It changes nothing.
func (c *session) audit(ctx context.Context, g lvm.Group) (Result, error) {
	info, volumes, err := g.Report(ctx)
	if err != nil {
		return Result{}, err
	}
	found := &Audit{}
	for _, v := range volumes {
		busy, err := c.isBeingWiped(g.Name(), v.Name)
		if err != nil {
			return Result{}, err
		}
		if busy {
			found.Wiping = append(found.Wiping, v.Name)
		}
	}
	if found.Homes, err = c.homesInTime(); err != nil {
		return Result{}, err
	}
	if found.Spool, err = readSpool(c.Config.SpoolDir); err != nil {
		return Result{}, err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Result{}, fmt.Errorf("which machine this is: %w", err)
	}
	found.Boot = strings.TrimSpace(string(boot))
	found.Domains = c.domains(ctx)
	found.Services = c.services(ctx)
	return Result{Info: &info, Volumes: volumes, Audit: found}, nil
}

var (
	idPattern       = lazyregexp.New(`^(0|[1-9][0-9]{0,8})$`)
	diskLinkPattern = lazyregexp.New(`^disk\.(0|[1-9][0-9]{0,8})$`)
)

// homesInTime leaves the walk behind where it does not come back: a shared file system that
// waits for the cluster keeps its readers in the kernel.
func (c *session) homesInTime() ([]Home, error) {
	type answer struct {
		homes []Home
		err   error
	}
	walked := make(chan answer, 1)
	go func() {
		homes, err := c.homes()
		walked <- answer{homes, err}
	}()
	select {
	case a := <-walked:
		return a.homes, a.err
	case <-time.After(askTime):
		return nil, fmt.Errorf("the homes in %s were not read within %s: look at their file system, with tm-clvm doctor", strings.Join(c.Config.HomeBases, ", "), askTime)
	}
}

// readSpool looks at the spool of the cluster's hook; without one there is nothing.
func readSpool(dir string) (*Spool, error) {
	if dir == "" {
		return nil, nil
	}
	s := spool.Spool{Dir: dir}
	entries, err := s.List()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	found := &Spool{Dir: dir}
	if found.Unreadable, err = s.Rejected(); err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Err != nil {
			found.Unreadable = append(found.Unreadable, filepath.Join(dir, e.Name))
			continue
		}
		if found.Waiting == 0 {
			found.Oldest = e.Time
		}
		found.Waiting++
	}
	return found, nil
}

// homes are those of all VMs below all of HOME_BASE. Directories are walked without
// following links: oneadmin may write there.
func (c *session) homes() ([]Home, error) {
	var all []Home
	for _, path := range c.Config.HomeBases {
		base, err := beneath.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("homes in %s: %w", path, err)
		}
		err = eachDirectory(base, func(ds int, store *beneath.Dir) error {
			return eachDirectory(store, func(vm int, dir *beneath.Dir) error {
				h, err := readHome(dir)
				h.DS, h.VM = ds, vm
				all = append(all, h)
				return err
			})
		})
		if err = joinClose(err, base); err != nil {
			return nil, fmt.Errorf("homes in %s: %w", path, err)
		}
	}
	return all, nil
}

// eachDirectory goes through the directories whose name is an id. What is in an image
// datastore is no directory; what has gone meanwhile is left out.
func eachDirectory(in *beneath.Dir, do func(id int, dir *beneath.Dir) error) error {
	names, err := in.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if !idPattern.MatchString(name) {
			continue
		}
		dir, err := in.OpenDir(name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, beneath.ErrUnsafe) {
			continue
		}
		if err == nil {
			err = joinClose(do(number(name), dir), dir)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func readHome(dir *beneath.Dir) (Home, error) {
	h := Home{Path: dir.Path(), Links: map[string]string{}}
	names, err := dir.Names()
	for _, name := range names {
		target, linkErr := dir.Readlink(name)
		if linkErr != nil || !diskLinkPattern.MatchString(name) {
			h.Files = append(h.Files, name)
			if name == CheckpointName {
				h.Checkpoint = checkpointMark(dir)
			}
			continue
		}
		h.Links[name] = target
	}
	return h, err
}

// checkpointMark reads how libvirt has marked the saved memory.
func checkpointMark(dir *beneath.Dir) string {
	fd, err := unix.Openat(dir.Fd(), CheckpointName, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd) // only read
	mark := make([]byte, len(CheckpointSaved))
	n, _ := unix.Read(fd, mark) // what is too short is no mark
	if text := string(mark[:max(n, 0)]); text == CheckpointSaved || text == CheckpointPartial {
		return text
	}
	return ""
}
