package lvm2

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"one-clvm/internal/lazyregexp"
	"one-clvm/lvm"
)

// sanlockLookup reads the leases. Each volume has one, in the hidden volume lvmlock of
// its group, at the place that lv_lockargs tells (1.0.0:OFFSET); the nodes' names are in
// the leases of the lockspace, at the beginning.
type sanlockLookup struct{ *Group }

// leaseSize is how much is read: the least size of a lease's area. It begins with what is
// needed.
const leaseSize = 1 << 20

func (l sanlockLookup) holders(ctx context.Context, volume lvm.Volume) ([]holder, error) {
	text, err := l.query(ctx, "sanlock", "client", "gets", "-h", "1")
	if err != nil {
		return nil, err
	}
	space, err := parseLockspace(text, "lvm_"+l.name)
	if err != nil {
		return nil, err
	}
	offset, err := l.leaseOffset(ctx, volume.Name)
	if err != nil {
		return nil, err
	}
	text, err = l.query(ctx, "sanlock", "direct", "dump", fmt.Sprintf("%s:%d:%d", space.path, offset, leaseSize))
	if err != nil {
		return nil, err
	}
	owners := parseLease(text, volume.UUID)
	names := nodelist{}
	if text, err = l.query(ctx, "sanlock", "direct", "dump", fmt.Sprintf("%s:%d:%d", space.path, space.offset, leaseSize)); err == nil {
		names = parseHostLeases(text)
	}
	var found []holder
	for id, mode := range owners {
		if id != space.own {
			found = append(found, holder{Node: names.name(id), Mode: mode, Note: space.notes[id]})
		}
	}
	return found, nil
}

func (l sanlockLookup) leaseOffset(ctx context.Context, name string) (int64, error) {
	rows, err := l.report(ctx, "lvs", "lv", []string{"lv_name", "lv_lockargs"})
	if err != nil {
		return 0, err
	}
	for _, r := range rows {
		if r["lv_name"] == name {
			_, offset, _ := strings.Cut(r["lv_lockargs"], ":")
			return strconv.ParseInt(offset, 10, 64)
		}
	}
	return 0, lvm.ErrNotFound
}

// lockspace is a lockspace of sanlock as this node knows it.
type lockspace struct {
	own    int // this node's host id
	path   string
	offset int64
	notes  map[int]string // about hosts that are not well
}

var (
	lockspaceLine = lazyregexp.New(`^s ([^:\s]+):(\d{1,9}):([^:\s]+):(\d{1,18})\b`)
	hostLine      = lazyregexp.New(`^h (\d{1,9}) gen \d+ timestamp \d+ (\w+)$`)
)

// parseLockspace reads the output of sanlock client gets -h 1:
//
//	s lvm_vg-one:2:/dev/mapper/vg--one-lvmlock:0
//	h 1 gen 1 timestamp 55 DEAD
//	h 2 gen 1 timestamp 39 LIVE
func parseLockspace(output, name string) (lockspace, error) {
	space := lockspace{notes: map[int]string{}}
	inside := false
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if m := lockspaceLine.FindStringSubmatch(line); m != nil {
			if inside = m[1] == name; inside {
				space.own, _ = strconv.Atoi(m[2]) // so many digits cannot fail
				space.path = m[3]
				space.offset, _ = strconv.ParseInt(m[4], 10, 64)
			}
		}
		if m := hostLine.FindStringSubmatch(line); m != nil && inside {
			id, _ := strconv.Atoi(m[1])
			switch m[2] {
			case "FAIL":
				space.notes[id] = "it does not renew its lease; its watchdog is to reset it"
			case "DEAD":
				space.notes[id] = "dead, its lease has expired"
			}
		}
	}
	if space.path == "" {
		return lockspace{}, fmt.Errorf("sanlock has no lockspace %s on this node", name)
	}
	return space, nil
}

// parseLease reads who has a lease in the output of sanlock direct dump:
//
//	  offset     lockspace      resource   timestamp  own  gen lver
//	70254592    lvm_vg-one   dhm3XL-ijY…  0000000068 0001 0001 1
//	                                                 0001 0001 SH
//
// The owner of the first line has it alone if the timestamp is not zero; the lines with
// SH behind it have it shared.
func parseLease(output, resource string) map[int]lvm.Mode {
	owners := map[int]lvm.Mode{}
	inside := false
	for line := range strings.Lines(output) {
		words := strings.Fields(line)
		switch {
		case len(words) >= 6:
			inside = words[2] == resource
			stamp, _ := strconv.ParseInt(words[3], 10, 64)
			if id, err := strconv.Atoi(words[4]); err == nil && inside && stamp != 0 {
				owners[id] = lvm.Exclusive
			}
		case len(words) == 3 && words[2] == "SH" && inside:
			if id, err := strconv.Atoi(words[0]); err == nil {
				owners[id] = lvm.Shared
			}
		}
	}
	return owners
}

// hostUUID is what sanlock puts before a host's name that nobody configured.
var hostUUID = lazyregexp.New(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.`)

// parseHostLeases reads the names of the hosts in the output of sanlock direct dump:
//
//	00000512    lvm_vg-one         node2   0000000060 0002 0001
func parseHostLeases(output string) nodelist {
	names := nodelist{}
	for line := range strings.Lines(output) {
		words := strings.Fields(line)
		if len(words) != 6 {
			continue
		}
		if id, err := strconv.Atoi(words[4]); err == nil {
			names[id] = hostUUID.ReplaceAllString(words[2], "")
		}
	}
	return names
}
