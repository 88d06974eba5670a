package lvm2

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"one-clvm/internal/lazyregexp"
	"one-clvm/internal/run"
)

// version of LVM2: major, minor, patch level.
type version [3]int

// autoactivationSince is the first version that can keep a volume from being activated
// at boot (lvcreate --setautoactivation n).
var autoactivationSince = version{2, 3, 12}

func (v version) atLeast(other version) bool { return slices.Compare(v[:], other[:]) >= 0 }

// versionLine as "lvm version" prints it: "  LVM version:     2.03.16(2) (2022-05-18)".
var versionLine = lazyregexp.New(`(?m)^\s*LVM version:\s+(\d{1,4})\.(\d{1,4})\.(\d{1,4})\b`)

func parseVersion(output []byte) (version, error) {
	match := versionLine.FindSubmatch(output)
	if match == nil {
		return version{}, fmt.Errorf("no line %q in the output of lvm version", "LVM version: …")
	}
	var v version
	for i := range v {
		v[i], _ = strconv.Atoi(string(match[i+1])) // up to four digits cannot fail
	}
	return v, nil
}

// versionCache asks once; a failure is asked again the next time.
type versionCache struct {
	mutex sync.Mutex
	known bool
	value version
}

func (c *versionCache) get(ctx context.Context, g *Group) (version, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.known {
		return c.value, nil
	}
	result, err := g.retry(ctx, run.Cmd{Path: "lvm", Args: []string{"version"}})
	if err != nil {
		return version{}, err
	}
	c.value, err = parseVersion(result.Stdout)
	c.known = err == nil
	return c.value, err
}
