package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"one-clvm/internal/run"
)

// maker makes one type of file system on a device that reads as zeros.
type maker struct {
	program string
	posix   bool // keeps owners, modes, links and extended attributes
	label   int  // longest label, bytes
	args    func(uuid, label string) []string
	mount   string // mount(2) options for a file system of our own
	save    string // mount(2) options for one that a guest has written
}

// makers knows the file systems by the names that a template may use. A discard would
// only cost time, and a device that was just zeroed needs no zeroed inode tables.
var makers = map[string]maker{
	"ext2": {"mke2fs", true, 16, ext("ext2"), "", "noload"},
	"ext3": {"mke2fs", true, 16, ext("ext3"), "", "noload"},
	"ext4": {"mke2fs", true, 16, ext("ext4"), "", "noload"},
	"xfs": {"mkfs.xfs", true, 12, func(uuid, label string) []string {
		return options([]string{"-q", "-f", "-K"}, "-m", prefixed("uuid=", uuid), "-L", label)
	}, "nouuid", "nouuid,norecovery"},
	"btrfs": {"mkfs.btrfs", true, 16, func(uuid, label string) []string {
		return options([]string{"-q", "-f", "-K"}, "-U", uuid, "-L", label)
	}, "", "rescue=nologreplay"},
	"vfat": {"mkfs.vfat", false, 11, func(_, label string) []string {
		return options(nil, "-n", strings.ToUpper(label))
	}, "", ""},
	"swap": {"mkswap", false, 16, func(uuid, label string) []string {
		return options([]string{"-f"}, "-U", uuid, "-L", label)
	}, "", ""},
}

// LabelFits says whether a file system of the type can have the label.
func LabelFits(fstype, label string) bool { return len(label) <= makers[fstype].label }

func makerNames() []string { return slices.Sorted(maps.Keys(makers)) }

func ext(kind string) func(uuid, label string) []string {
	return func(uuid, label string) []string {
		args := []string{"-q", "-F", "-t", kind, "-E", "nodiscard" + lazily + prezeroed}
		return options(args, "-U", uuid, "-L", label)
	}
}

// What mke2fs may leave out on a device that reads as zeros.
const (
	lazily    = ",lazy_itable_init=1,lazy_journal_init=1"
	prezeroed = ",assume_storage_prezeroed=1" // since e2fsprogs 1.47; it only saves time
)

// withoutOption takes an extended option off the arguments.
func withoutOption(argv []string, option string) {
	for i, arg := range argv {
		argv[i] = strings.TrimSuffix(arg, option)
	}
}

// options adds each pair whose value is not empty.
func options(args []string, pairs ...string) []string {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			args = append(args, pairs[i], pairs[i+1])
		}
	}
	return args
}

func prefixed(prefix, value string) string {
	if value == "" {
		return ""
	}
	return prefix + value
}

// makeFS makes the file system of the request on the device; zeroed: it reads as zeros.
func makeFS(ctx context.Context, r run.Runner, q *Request, device string, zeroed bool) error {
	m := makers[q.FSType]
	argv := append(m.args(q.FSUUID, q.FSLabel), device)
	if !zeroed {
		withoutOption(argv, lazily+prezeroed)
	}
	_, err := r.Run(ctx, run.Cmd{Path: m.program, Args: argv})
	if err != nil && strings.HasPrefix(m.program, "mke2fs") && strings.Contains(err.Error(), "assume_storage_prezeroed") {
		withoutOption(argv, prezeroed)
		_, err = r.Run(ctx, run.Cmd{Path: m.program, Args: argv})
	}
	var failed *run.Error
	if errors.As(err, &failed) {
		failed.Stderr, _, _ = strings.Cut(failed.Stderr, "Usage:") // forty lines of options
	}
	if err != nil {
		return fmt.Errorf("make %s on %s: %w", q.FSType, device, err)
	}
	return nil
}
