package membership

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"one-clvm/internal/lazyregexp"
	"one-clvm/internal/run"
)

// DLM is what dlm_controld on one node knows.
type DLM struct {
	Lockspaces []Lockspace `json:"lockspaces"`
	// Waiting are the node ids whose fencing is waited for: nobody gets a lock until then.
	Waiting []int `json:"waiting,omitempty"`
	// Fencing is false where the daemon was told not to fence (enable_fencing=0).
	Fencing bool `json:"fencing"`
}

// Lockspace of dlm on one node.
type Lockspace struct {
	Name     string `json:"name"`    // lvm_VG, lvm_global, or that of a GFS2
	Members  []int  `json:"members"` // node ids
	Changing bool   `json:"changing,omitempty"`
}

// Lockspace of that name, if the node is in it.
func (d DLM) Lockspace(name string) (Lockspace, bool) {
	i := slices.IndexFunc(d.Lockspaces, func(l Lockspace) bool { return l.Name == name })
	if i < 0 {
		return Lockspace{}, false
	}
	return d.Lockspaces[i], true
}

// ReadDLM asks dlm_controld.
func ReadDLM(ctx context.Context, r run.Runner) (DLM, error) {
	spaces, err := output(ctx, r, "dlm_tool", "ls")
	if err != nil {
		return DLM{}, fmt.Errorf("lock spaces: %w", err)
	}
	status, err := output(ctx, r, "dlm_tool", "status")
	if err != nil {
		return DLM{}, fmt.Errorf("state of dlm: %w", err)
	}
	config, err := output(ctx, r, "dlm_tool", "dump_config")
	if err != nil {
		return DLM{}, fmt.Errorf("configuration of dlm: %w", err)
	}
	return DLM{Lockspaces: parseLockspaces(spaces), Waiting: parseWaiting(status), Fencing: !fencingOff.MatchString(config)}, nil
}

var fencingOff = lazyregexp.New(`(?m)^enable_fencing=0\b`)

// parseLockspaces reads dlm_tool ls:
//
//	dlm lockspaces
//	name          home
//	id            0x6a5b6a5b
//	flags         0x00000000
//	change        member 2 joined 1 remove 0 failed 0 seq 2,2
//	members       1 2
//
// A line "new change" belongs to a lock space whose members are being changed; flags name
// what it waits for (fencing, kern_stop).
func parseLockspaces(text string) []Lockspace {
	var all []Lockspace
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		if words[0] == "name" {
			all = append(all, Lockspace{Name: words[1]})
			continue
		}
		if len(all) == 0 {
			continue
		}
		last := &all[len(all)-1]
		switch {
		case words[0] == "new" && words[1] == "change":
			last.Changing = true
		case words[0] == "flags":
			last.Changing = last.Changing || strings.Contains(line, "fencing") || strings.Contains(line, "kern_stop")
		case words[0] == "members":
			last.Members = numbers(words[1:])
		}
	}
	return all
}

func numbers(words []string) []int {
	var all []int
	for _, word := range words {
		if n, err := strconv.Atoi(word); err == nil {
			all = append(all, n)
		}
	}
	return all
}

// nodeLine in dlm_tool status:
//
//	node 2 X add 9 rem 120 fail 118 fence 0 at 0 0
//
// X is a node that is lost; "fence 0" of one that failed means that it is still to be fenced.
var nodeLine = lazyregexp.New(`^node (\d{1,9}) X add \d+ rem \d+ fail ([1-9]\d*) fence 0\b`)

// waitLine: fence 2 nodedown pid 1234 actor 1 fail 118 fence 0 now 130
var waitLine = lazyregexp.New(`^(?:fence|startup_fence|startup) (\d{1,9}) (?:nodedown|wait)`)

func parseWaiting(text string) []int {
	var all []int
	for line := range strings.Lines(text) {
		for _, pattern := range []lazyregexp.Regexp{nodeLine, waitLine} {
			if m := pattern.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
				id, _ := strconv.Atoi(m[1]) // up to nine digits cannot fail
				if !slices.Contains(all, id) {
					all = append(all, id)
				}
			}
		}
	}
	return all
}
