package lvm2

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"one-clvm/internal/lazyregexp"
	"one-clvm/internal/run"
)

// A VM's disk is a volume whose content a guest has written, perhaps a physical volume
// with the name of the node's own group. LVM on a node must never look inside. Every
// call says so itself (--config), whatever the node's lvm.conf says.

// scanLVsSince is the first version that can be told not to look for physical volumes
// on logical ones (devices/scan_lvs). From 2.03 on that is the default.
var scanLVsSince = version{2, 2, 182}

// withoutGuests is the value of --config for the installed version.
func (g *Group) withoutGuests(ctx context.Context) (string, error) {
	installed, err := g.version.get(ctx, g)
	if err != nil {
		return "", err
	}
	if installed.atLeast(scanLVsSince) {
		return "devices{scan_lvs=0}", nil
	}
	filter, err := g.filter.get(ctx, g)
	if err != nil {
		return "", err
	}
	return "devices{filter=[" + strings.Join(filter, ",") + "]} global{use_lvmetad=0}", nil
}

// filterCache asks for the node's own filter once.
type filterCache struct {
	mutex sync.Mutex
	value []string
}

func (c *filterCache) get(ctx context.Context, g *Group) ([]string, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.value != nil {
		return c.value, nil
	}
	result, err := g.retry(ctx, run.Cmd{Path: "lvmconfig", Args: []string{"devices/filter"}})
	var failed *run.Error
	unset := errors.As(err, &failed) && failed.Status == statusFailed
	if err != nil && !unset {
		return nil, fmt.Errorf("the filter in lvm.conf: %w", err)
	}
	c.value = filterWithoutVolumes(append([]string{g.name}, g.others...), result.Stdout)
	return c.value, nil
}

// statusFailed is LVM's exit status for any failure, among them a setting that is not
// set.
const statusFailed = 5

var (
	quotedPattern = lazyregexp.New(`"(?:[^"\\]|\\.)*"`)
	// acceptsAll are patterns that accept every name.
	acceptsAll = lazyregexp.New(`^"a(.)\.\*/?.?"$`)
)

// filterWithoutVolumes puts patterns that reject the groups' volumes before those that
// lvmconfig printed (filter=["r|…|", …]). A device has many names, and one that is
// accepted makes up for others that are rejected; so a pattern that accepts every name
// is left out. It changes nothing else: what no pattern matches is accepted anyway.
func filterWithoutVolumes(groups []string, configured []byte) []string {
	var filter []string
	for _, group := range groups {
		mapper := strings.ReplaceAll(group, "-", "--")
		filter = append(filter,
			`"r|^/dev/`+regexp.QuoteMeta(group)+`/|"`,
			`"r|^/dev/mapper/`+regexp.QuoteMeta(mapper)+`-[^-]|"`)
	}
	for _, pattern := range quotedPattern.FindAllString(string(configured), -1) {
		if !acceptsAll.MatchString(pattern) {
			filter = append(filter, pattern)
		}
	}
	return filter
}

// lvm runs one of LVM's programs, with its tries.
func (g *Group) lvm(ctx context.Context, c run.Cmd) (run.Result, error) {
	config, err := g.withoutGuests(ctx)
	if err != nil {
		return run.Result{Status: -1}, err
	}
	c.Args = append([]string{"--config", config}, c.Args...)
	return g.retry(ctx, c)
}
