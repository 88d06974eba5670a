package gfs2

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"one-clvm/internal/membership"
	"one-clvm/internal/mounts"
	"one-clvm/internal/run"
)

// State is a mounted GFS2 as its node sees it. It is read without touching the file system:
// one that waits for its locks would never answer.
type State struct {
	Table     Table  `json:"table"`
	Protocol  string `json:"protocol"`
	Withdrawn bool   `json:"withdrawn,omitempty"` // this node has given it up
	Frozen    bool   `json:"frozen,omitempty"`
	Journals  int    `json:"journals"`         // 0: not known
	Members   []int  `json:"members"`          // node ids in its lock space
	Changing  bool   `json:"changing"`         // its lock space waits
	Device    string `json:"device,omitempty"` // as it is mounted
}

// Examine reads all of a State that can be had: r may be nil, then journals are not counted;
// dlm may be nil where dlm_controld does not answer. root is "/" outside of tests.
func Examine(ctx context.Context, r run.Runner, root string, table Table, dlm *membership.DLM) (State, error) {
	s, err := ReadState(root, table)
	if err != nil {
		return s, err
	}
	s.Device = DeviceOf(root, table)
	if dlm != nil {
		space, _ := dlm.Lockspace(table.Name)
		s.Members, s.Changing = space.Members, space.Changing
	}
	if r != nil && !s.Withdrawn {
		s.Journals, err = Journals(ctx, r, s.Device)
	}
	return s, err
}

// DeviceOf a mounted file system, as the kernel names it; "" without it.
func DeviceOf(root string, table Table) string {
	target, err := os.Readlink(filepath.Join(root, sysfs, table.String(), "device"))
	if err != nil {
		return ""
	}
	return "/dev/" + filepath.Base(target)
}

// At finds the file system that is mounted at a directory, of which no part is a symbolic
// link. ErrNotGFS2.
func At(point string) (Table, error) {
	all, err := mounts.Read("/")
	if err != nil {
		return Table{}, fmt.Errorf("%s: %w", point, err)
	}
	m := mounts.Of(all, filepath.Clean(point))
	if m.Type != "gfs2" {
		return Table{}, fmt.Errorf("%s: %w", point, ErrNotGFS2)
	}
	here, err := os.Readlink("/sys/dev/block/" + m.Number)
	if err != nil {
		return Table{}, fmt.Errorf("%s: %w", point, err)
	}
	tables, err := Mounted("/")
	if err != nil {
		return Table{}, err
	}
	for _, table := range tables {
		if DeviceOf("/", table) == "/dev/"+filepath.Base(here) {
			return table, nil
		}
	}
	return Table{}, fmt.Errorf("%s: %w", point, ErrNotGFS2)
}

// sysfs has a directory of each mounted GFS2, named by its lock table.
const sysfs = "sys/fs/gfs2"

// Mounted lists the lock tables of the file systems that this node has mounted. root is
// "/" outside of tests.
func Mounted(root string) ([]Table, error) {
	entries, err := os.ReadDir(filepath.Join(root, sysfs))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // the kernel has not even loaded it
	}
	if err != nil {
		return nil, fmt.Errorf("mounted GFS2: %w", err)
	}
	var tables []Table
	for _, e := range entries {
		if table, err := ParseTable(e.Name()); err == nil {
			tables = append(tables, table)
		}
	}
	return tables, nil
}

// ReadState reads what the kernel says of a mounted file system.
func ReadState(root string, table Table) (State, error) {
	s := State{Table: table}
	dir := filepath.Join(root, sysfs, table.String())
	for name, set := range map[string]func(string){
		"withdraw":               func(v string) { s.Withdrawn = v == "1" },
		"freeze":                 func(v string) { s.Frozen = v == "1" },
		"lock_module/proto_name": func(v string) { s.Protocol = v },
	} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) && name != "withdraw" {
			continue // lock_nolock has no lock module
		}
		if err != nil {
			return s, fmt.Errorf("state of GFS2 %s: %w", table, err)
		}
		set(strings.TrimSpace(string(data)))
	}
	return s, nil
}
