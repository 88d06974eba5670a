package lvm2

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"one-clvm/internal/run"
	"one-clvm/lvm"
)

// holder is another node that holds a lock on a volume.
type holder struct {
	Node string
	Mode lvm.Mode // Off: it is known that it holds one, not which
	Note string   // what else there is to know: it does not answer
}

// holderLookup asks a lock manager which other nodes hold a lock on a volume. None and no
// error means that nobody does any more.
type holderLookup interface {
	holders(ctx context.Context, volume lvm.Volume) ([]holder, error)
}

// holderTime bounds the question: it is asked for the sake of a message.
const holderTime = 10 * time.Second

// clvmdLookup has only what the report told: that other nodes have a volume, and how.
type clvmdLookup struct{ elsewhere map[string]lvm.Mode }

func (l clvmdLookup) holders(_ context.Context, volume lvm.Volume) ([]holder, error) {
	return []holder{{Node: "another node", Mode: l.elsewhere[volume.Name], Note: "clvmd does not tell which; lvs -o lv_active on each node does"}}, nil
}

// lookup of the group's lock manager; nil where there is none.
func (g *Group) lookup(now state) holderLookup {
	switch now.info.LockManager {
	case managerDLM:
		return dlmLookup{g}
	case managerSanlock:
		return sanlockLookup{g}
	case managerCLVMD:
		return clvmdLookup{now.elsewhere}
	}
	return nil
}

// locked is ErrLocked with the nodes that hold the volume, as far as the lock manager
// tells. That the volume is locked stays true when it does not.
func (g *Group) locked(ctx context.Context, now state, name string, err error) error {
	lookup := g.lookup(now)
	volume, missing := now.find(name)
	if lookup == nil || missing != nil {
		return fmt.Errorf("%w: %w", lvm.ErrLocked, err)
	}
	ctx, cancel := context.WithTimeout(ctx, holderTime)
	defer cancel()
	found, lookupErr := lookup.holders(ctx, volume)
	return fmt.Errorf("%w: %s: %w", lvm.ErrLocked, describe(found, lookupErr), err)
}

// describe makes half a sentence of who holds a volume.
func describe(found []holder, err error) string {
	if err != nil {
		return fmt.Sprintf("which node has it is not known (%s)", err)
	}
	if len(found) == 0 {
		return "no node has it any more, try again"
	}
	by := map[lvm.Mode][]string{}
	for _, h := range found {
		name := h.Node
		if h.Note != "" {
			name += " (" + h.Note + ")"
		}
		by[h.Mode] = append(by[h.Mode], name)
	}
	var parts []string
	for _, kind := range []struct {
		mode lvm.Mode
		text string
	}{{lvm.Exclusive, "active exclusively on "}, {lvm.Shared, "active shared on "}, {lvm.Off, "active on "}} {
		if names := by[kind.mode]; len(names) > 0 {
			slices.Sort(names)
			parts = append(parts, kind.text+strings.Join(names, " and "))
		}
	}
	return strings.Join(parts, ", ")
}

// query runs a program of a lock manager, once.
func (g *Group) query(ctx context.Context, program string, args ...string) (string, error) {
	result, err := g.once(ctx, run.Cmd{Path: program, Args: args})
	if err != nil {
		return "", err
	}
	if text := strings.TrimSpace(string(result.Stdout)); text == "" {
		return "", fmt.Errorf("%s %s: no answer: %s", program, strings.Join(args, " "), strings.TrimSpace(string(result.Stderr)))
	}
	return string(result.Stdout), nil
}
