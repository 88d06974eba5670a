package rgmanager

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"one-clvm/cluster"
	"one-clvm/internal/failpoint"
	"one-clvm/internal/run"
	"one-clvm/internal/undo"
)

// errRace: another writer was faster. The change is made again, on what that one wrote.
var errRace = errors.New("the configuration was changed by somebody else at the same time")

const (
	attempts = 5
	interval = time.Second
)

// change edits the cluster's configuration: a private copy, which the tools validate, is
// given to every live member, read back from each, and then loaded into the running
// cluster. A node that is down has no part in it; it gets the file when it joins.
//
// The lock keeps other verbs of this driver away, on all nodes. A person with ccs is not
// kept away: what is read back tells, and then the change is made again.
//
//	died after        left                              the next change
//	the copies        files in Scratch                  nothing
//	given to some     files that differ in our services overwrites them with a greater version
//	given to all      files that are not loaded         loads them, with its own edits
func (p *Stack) change(ctx context.Context, o cluster.Order, edits func(*Config) []edit) error {
	release, err := p.Lock(ctx)
	if err != nil {
		return fmt.Errorf("lock on the cluster's configuration: %w; nothing was changed", err)
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, attempts*o.Service.Patience.Settle)
	defer cancel()
	once := p.distribute
	if p.RHEL5 {
		once = p.update
	}
	for n := 1; ; n++ {
		err := once(ctx, o, edits)
		if !errors.Is(err, errRace) {
			return err
		}
		if n == attempts {
			return fmt.Errorf("%w, %d times; nothing of this verb is in force: run it again once nobody else edits cluster.conf", err, n)
		}
		if err := p.Clock.Sleep(ctx, interval); err != nil {
			return err
		}
	}
}

// distribute is the way of RHEL 6: ccs and cman_tool.
func (p *Stack) distribute(ctx context.Context, o cluster.Order, edits func(*Config) []edit) error {
	seen, err := p.settled(ctx, o.Service)
	if err != nil {
		return err
	}
	members := seen.members()
	loaded, err := p.loaded(ctx)
	if err != nil {
		return err
	}
	base, top, err := p.gather(ctx, o.Service, members, loaded)
	if err != nil {
		return err
	}
	wanted := edits(base)
	if len(wanted) == 0 && base.Version == loaded && top == loaded {
		return nil
	}
	before, drop, err := p.copy(base)
	if err != nil {
		return err
	}
	defer drop()
	file, drop, err := p.prepare(ctx, o.Service, base, wanted, top+1)
	if err != nil {
		return fmt.Errorf("%w; nothing was changed", err)
	}
	defer drop()
	if again, latest, err := p.gather(ctx, o.Service, members, loaded); err != nil || latest != top || !again.same(base, true) {
		return errors.Join(errRace, err)
	}
	var taken undo.Stack
	taken.Push("give the nodes their former configuration back", func(ctx context.Context) error { return p.giveBack(ctx, o.Service, before, members) })
	err = p.give(ctx, o.Service, file, members)
	if err == nil {
		err = p.readBack(ctx, o.Service, file, members)
	}
	if err != nil {
		if p.changed(ctx, o.Service, members) {
			err = fmt.Errorf("%w: the members of the cluster are others by now: %w", errRace, err)
		}
		return taken.Unwind(context.WithoutCancel(ctx), err)
	}
	if err := p.activate(ctx, top+1); err != nil {
		return taken.Unwind(context.WithoutCancel(ctx), err)
	}
	failpoint.Hit("rgmanager.loaded")
	return p.awaitLoaded(ctx, top+1)
}

// prepare makes the new configuration: a private copy on which ccs carries out the edits,
// and validates each.
func (p *Stack) prepare(ctx context.Context, s cluster.Service, base *Config, edits []edit, version int) (file string, drop func(), err error) {
	file, drop, err = p.copy(base)
	if err != nil {
		return "", nil, err
	}
	for _, e := range append(edits, edit{action: "setversion", name: strconv.Itoa(version)}) {
		if _, err := p.ccs(ctx, s, append([]string{"-f", file}, e.argv()...)...); err != nil {
			drop()
			return "", nil, err
		}
	}
	return file, drop, nil
}

// give sends a file to all live members. It is in force nowhere yet.
func (p *Stack) give(ctx context.Context, s cluster.Service, file string, members []string) error {
	for _, node := range members {
		if _, err := p.ccs(ctx, s, "-f", file, "-h", node, "--setconf"); err != nil {
			return err
		}
		failpoint.Hit("rgmanager.given")
	}
	return nil
}

// changed says whether a member has died, or joined, meanwhile.
func (p *Stack) changed(ctx context.Context, s cluster.Service, members []string) bool {
	seen, err := p.settled(ctx, s)
	return err == nil && !slices.Equal(seen.members(), members)
}

// giveBack sends the former file to those members that still live, whichever of them takes it.
func (p *Stack) giveBack(ctx context.Context, s cluster.Service, file string, members []string) error {
	seen, err := p.settled(ctx, s)
	if err != nil {
		return err
	}
	var failed error
	for _, node := range seen.members() {
		if slices.Contains(members, node) {
			failed = errors.Join(failed, p.give(ctx, s, file, []string{node}))
		}
	}
	return failed
}

// loaded is the version that the running cluster has.
func (p *Stack) loaded(ctx context.Context) (int, error) {
	res, err := p.Runner.Run(ctx, run.Cmd{Path: "cman_tool", Args: []string{"version"}})
	if err != nil {
		return 0, fmt.Errorf("%w: %w", cluster.ErrDown, err)
	}
	words := strings.Fields(string(res.Stdout)) // 6.2.0 config 17
	if len(words) != 3 || words[1] != "config" {
		return 0, fmt.Errorf("%w: cman_tool version says %q", cluster.ErrDown, strings.TrimSpace(string(res.Stdout)))
	}
	return strconv.Atoi(words[2])
}

// gather reads the file of every live member. Members may differ in what an interrupted
// change of ours has left; any other difference needs a person, and is refused. top is the
// greatest version seen.
func (p *Stack) gather(ctx context.Context, s cluster.Service, members []string, loaded int) (base *Config, top int, err error) {
	files := make([]*Config, 0, len(members))
	top = loaded
	for _, node := range members {
		c, err := p.fetch(ctx, s, node)
		if err != nil {
			return nil, 0, err
		}
		files = append(files, c)
		top = max(top, c.Version)
		if base == nil || c.Version == loaded && base.Version != loaded || base.Version != loaded && c.Version > base.Version {
			base = c
		}
	}
	if base == nil {
		return nil, 0, fmt.Errorf("%w: clustat names no live member", cluster.ErrDown)
	}
	for i, c := range files {
		if c.same(base, true) || c.Version != base.Version && c.same(base, false) {
			continue
		}
		return nil, 0, fmt.Errorf("%w: cluster.conf on %s (version %d) is not that of the other nodes (version %d in force): compare them, then ccs -h NODE --sync --activate from the right one; nothing was changed",
			cluster.ErrRefused, members[i], c.Version, loaded)
	}
	return base, top, nil
}

func (p *Stack) fetch(ctx context.Context, s cluster.Service, node string) (*Config, error) {
	text, err := p.ccs(ctx, s, "-h", node, "--getconf")
	if err != nil {
		return nil, fmt.Errorf("%w; nothing was changed", err)
	}
	c, err := ReadConfig(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("cluster.conf of %s: %w; nothing was changed", node, err)
	}
	return c, nil
}

// readBack: ccs ends with status 0 whether or not ricci has written the file.
func (p *Stack) readBack(ctx context.Context, s cluster.Service, file string, members []string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	wanted, err := ReadConfig(bytes.NewReader(text))
	if err != nil {
		return err
	}
	for _, node := range members {
		got, err := p.fetch(ctx, s, node)
		if err != nil {
			return err
		}
		if got.Version != wanted.Version || !got.same(wanted, true) {
			return fmt.Errorf("%w: %s has version %d, and was given %d", errRace, node, got.Version, wanted.Version)
		}
	}
	return nil
}

// activate has the running cluster load the file, which every live member has by now: one
// that had not would lose its quorum, and its VMs.
func (p *Stack) activate(ctx context.Context, version int) error {
	_, err := p.Runner.Run(ctx, run.Cmd{Path: "cman_tool", Args: []string{"version", "-r", "-S"}})
	if err != nil && strings.Contains(err.Error(), "older or equal") { // and the files it was in are overwritten
		return fmt.Errorf("load version %d of the configuration: %w; somebody else has loaded one at the same moment, and what that changed may be lost: see whether cluster.conf has it", version, err)
	}
	if err != nil {
		return fmt.Errorf("load version %d of the configuration: %w", version, err)
	}
	return nil
}

// awaitLoaded: cman_tool lags behind an update by a moment.
func (p *Stack) awaitLoaded(ctx context.Context, version int) error {
	for n := 1; ; n++ {
		loaded, err := p.loaded(ctx)
		if err == nil && loaded >= version {
			return nil
		}
		if n == attempts {
			return errors.Join(fmt.Errorf("%w: the cluster has version %d of the configuration, not %d", cluster.ErrTimeout, loaded, version), err)
		}
		if err := p.Clock.Sleep(ctx, interval); err != nil {
			return err
		}
	}
}

// copy writes a private copy; drop removes it.
func (p *Stack) copy(c *Config) (file string, drop func(), err error) {
	text, err := c.text()
	if err != nil {
		return "", nil, err
	}
	dir, err := os.MkdirTemp(p.Scratch, "cluster.conf-")
	if err != nil {
		return "", nil, fmt.Errorf("private copy of cluster.conf: %w", err)
	}
	drop = func() { _ = os.RemoveAll(dir) } // a copy that stays harms nobody
	file = filepath.Join(dir, "cluster.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		drop()
		return "", nil, fmt.Errorf("private copy of cluster.conf: %w", err)
	}
	return file, drop, nil
}

// ccs is one call. Its messages come on standard output, failures too. It waits for a ricci
// that hangs as long as it is let, and nobody else changes the configuration meanwhile.
func (p *Stack) ccs(ctx context.Context, s cluster.Service, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Patience.Settle)
	defer cancel()
	res, err := p.Runner.Run(ctx, run.Cmd{Path: "ccs", Args: args})
	if err == nil {
		return res.Stdout, nil
	}
	said := strings.Join(strings.Fields(string(res.Stdout)), " ")
	switch {
	case strings.Contains(said, "authenticat") || strings.Contains(said, "password"):
		said += ": ricci there does not know this node: run ccs -h NODE --getconf once on this node as root, and give the password of the user ricci"
	case strings.Contains(said, "Unable to connect"):
		said += " (a live member of the cluster without ricci gets no configuration)"
	case errors.Is(err, context.DeadlineExceeded):
		said += "ricci there does not answer: restart it (service ricci restart)"
	}
	return nil, fmt.Errorf("%w: %s", err, said)
}

// update is the way of RHEL 5: ccsd gives the file to all members, or refuses it.
func (p *Stack) update(ctx context.Context, _ cluster.Order, edits func(*Config) []edit) error {
	text, err := p.Config()
	if err != nil {
		return err
	}
	c, err := ReadConfig(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("cluster.conf of this node: %w; nothing was changed", err)
	}
	loaded, err := p.loaded(ctx)
	if err != nil {
		return err
	}
	wanted := edits(c)
	if len(wanted) == 0 && c.Version == loaded {
		return nil
	}
	for _, e := range wanted {
		if err := c.apply(e); err != nil {
			return err
		}
	}
	c.setVersion(max(c.Version, loaded) + 1)
	file, drop, err := p.copy(c)
	if err != nil {
		return err
	}
	defer drop()
	res, err := p.Runner.Run(ctx, run.Cmd{Path: "ccs_tool", Args: []string{"update", file}})
	if err != nil {
		said := strings.Join(strings.Fields(string(res.Stdout)+" "+string(res.Stderr)), " ")
		switch {
		case strings.Contains(said, "lost the race"), strings.Contains(said, "greater version"):
			return fmt.Errorf("%w: %s", errRace, said)
		case strings.Contains(said, "not quorate"):
			return fmt.Errorf("%w: the cluster has no quorum: %s", cluster.ErrRefused, said)
		}
		return fmt.Errorf("%w: %s; nothing was changed", err, said)
	}
	failpoint.Hit("rgmanager.updated")
	if err := p.awaitLoaded(ctx, c.Version); err == nil {
		return nil
	}
	if _, err := p.Runner.Run(ctx, run.Cmd{Path: "cman_tool", Args: []string{"version", "-r", strconv.Itoa(c.Version)}}); err != nil {
		return fmt.Errorf("load version %d of the configuration: %w", c.Version, err)
	}
	return p.awaitLoaded(ctx, c.Version)
}
