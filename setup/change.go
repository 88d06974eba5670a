// Package setup makes the changes that an installation needs in files of others: on the
// front-end in oned's, on a node in those of sudo, udev, libvirt and the cluster. It plans
// first, so that the plan can be shown; what is missing is what doctor says of it.
package setup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pmezard/go-difflib/difflib"

	"one-clvm/internal/failpoint"
	"one-clvm/internal/publish"
)

// Change is one file as it is and as it must be.
type Change struct {
	Path          string
	Before, After string
	Missing       bool        // there is no such file yet
	Mode          fs.FileMode // of a new file, or of one whose mode is wrong; 0: as it was
	Why           []string
	Then          string // a command that makes it count; "" without one
	// verify refuses a content that would do harm; nil: any goes.
	verify func(ctx context.Context, content string) error
}

// ErrChanged means: somebody else has changed the file since it was read.
var ErrChanged = errors.New("the file was changed meanwhile; run the command again")

// read is a file's content; a link is followed, so that what it leads to is replaced.
func read(path string) (Change, error) {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Change{Path: path, Missing: true}, nil
	}
	if err != nil {
		return Change{}, err
	}
	text, err := os.ReadFile(real)
	return Change{Path: real, Before: string(text), After: string(text)}, err
}

// needed says whether there is anything to do.
func (c Change) needed() bool { return len(c.Why) > 0 }

// changes are those that are needed.
func changes(looks ...func() (Change, error)) ([]Change, error) {
	var all []Change
	for _, look := range looks {
		c, err := look()
		if err != nil {
			return nil, err
		}
		if c.needed() {
			all = append(all, c)
		}
	}
	return all, nil
}

// Diff is the change in the unified format.
func (c Change) Diff() string {
	from := c.Path
	if c.Missing {
		from = "/dev/null"
	}
	text, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
		A: lines(c.Before), B: lines(c.After), FromFile: from, ToFile: c.Path, Context: 3,
	})
	if err != nil {
		return err.Error() // of a writer in memory: never
	}
	return text
}

// lines are those of a text, each with its end.
func lines(text string) []string {
	if text == "" {
		return nil
	}
	if text[len(text)-1] != '\n' {
		text += "\n\\ No newline at end of file\n"
	}
	all := difflib.SplitLines(text)
	return all[:len(all)-1] // SplitLines adds an empty one
}

// Make writes the change; the backup is the name that what was there has now, "" for a new
// file.
//
//	killed …                  leaves
//	before setup.kept         perhaps a temporary file, which the next run removes
//	setup.kept                the old file, and its backup
//	setup.written             the new file, and the backup
//
// Done again, it is planned again: what is there already is not done.
func (c Change) Make(ctx context.Context, now time.Time) (backup string, err error) {
	if c.verify != nil {
		if err := c.verify(ctx, c.After); err != nil {
			return "", err
		}
	}
	current, err := read(c.Path)
	if err != nil {
		return "", err
	}
	if current.Before != c.Before || current.Missing != c.Missing {
		return "", fmt.Errorf("%s: %w", c.Path, ErrChanged)
	}
	mode, uid, gid := c.Mode, os.Geteuid(), os.Getegid()
	if c.Missing {
		if err := os.MkdirAll(filepath.Dir(c.Path), 0o755); err != nil {
			return "", err
		}
	} else {
		st, err := os.Stat(c.Path)
		if err != nil {
			return "", err
		}
		owner := st.Sys().(*syscall.Stat_t) //nolint:errcheck // what Linux gives
		uid, gid = int(owner.Uid), int(owner.Gid)
		if mode == 0 {
			mode = st.Mode().Perm()
		}
		backup = c.Path + now.UTC().Format(".20060102-150405.bak")
		if err := write(backup, c.Before, mode, uid, gid); err != nil {
			return "", fmt.Errorf("backup: %w", err)
		}
		failpoint.Hit("setup.kept")
	}
	if err := write(c.Path, c.After, mode, uid, gid); err != nil {
		return "", err
	}
	failpoint.Hit("setup.written")
	return backup, nil
}

// write makes a file that is there whole and durably, or not at all.
func write(path, content string, mode fs.FileMode, uid, gid int) error {
	f, err := publish.Create(path)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if err == nil {
		err = f.Chown(uid, gid)
	}
	if err == nil {
		err = f.Chmod(mode) // behind Chown, which takes bits away
	}
	if err == nil {
		err = f.Flush()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), f.Discard())
	}
	return f.Publish()
}
