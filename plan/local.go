package plan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"one-clvm/agent"
	"one-clvm/internal/failpoint"
	"one-clvm/lvm"
	"one-clvm/opennebula"
)

// A volume group without a lock manager may be changed if its disks are one node's own.
// That is proved here, because only the front-end knows all nodes: each is asked which
// physical volumes it sees, and those that one node alone sees are its own. The answer is
// kept, so that a verb goes on costing one connection. A node that does not answer proves
// nothing: then the group is refused.

// maxAsked is how many nodes are asked at a time.
const maxAsked = 16

// localDisks is what is kept of a proof for one node.
type localDisks struct {
	Host  string    `json:"host"`
	Disks []string  `json:"disks"` // ids of physical volumes that no other node sees
	Asked []string  `json:"asked"` // all nodes that were asked
	Until time.Time `json:"until"`
}

// Ask has a node's agent do something that is no verb.
func (d *Driver) Ask(ctx context.Context, host string, q agent.Request) (agent.Result, error) {
	q.SingleWriter, q.Patience = d.Config.Bool("SINGLE_WRITER"), d.Config.Int("LOCK_TIMEOUT")
	return d.ask(ctx, Step{Host: host, Request: q}, func(q agent.Request) (agent.Result, error) {
		return d.Agents.Do(ctx, host, q, agent.Transfer{})
	})
}

// ask carries out a step's request, with what its node needs for a volume group without
// a lock manager.
func (d *Driver) ask(ctx context.Context, s Step, send func(agent.Request) (agent.Result, error)) (agent.Result, error) {
	q := s.Request
	if q.SingleWriter && q.Group != "" {
		if !s.InTurn {
			release, err := d.TakeTurns(ctx, q)
			if err != nil {
				return agent.Result{}, err
			}
			defer release()
		}
		return send(q)
	}
	q.Local = d.knownLocal(ctx, s.Host)
	if s.Once && q.Local == nil {
		q.Local = d.proveFirst(ctx, s.Host, q.Group)
	}
	res, err := send(q)
	if !errors.Is(err, lvm.ErrUnlocked) {
		return res, err
	}
	local, proofErr := d.proveLocal(ctx, s.Host, q.Group)
	if proofErr != nil {
		return res, fmt.Errorf("%w: %w", err, proofErr)
	}
	q.Local = local
	return send(q)
}

// proveFirst proves what a group without a lock manager will ask for. Without a proof it
// refuses and says why.
func (d *Driver) proveFirst(ctx context.Context, host, group string) []string {
	res, err := d.Agents.Do(ctx, host, agent.Request{Op: agent.OpMonitor, Operation: NewOperation(), Group: group}, agent.Transfer{})
	if err != nil || res.Info == nil || res.Info.LockManager != lvm.NoLockManager {
		return nil
	}
	local, err := d.proveLocal(ctx, host, group)
	if err != nil {
		return nil
	}
	return local
}

// knownLocal are a node's own disks by an earlier proof; none if it has expired, or if
// there are nodes now that were not asked.
func (d *Driver) knownLocal(ctx context.Context, host string) []string {
	text, err := os.ReadFile(d.localFile(host))
	if err != nil {
		return nil
	}
	var known localDisks
	if json.Unmarshal(text, &known) != nil || known.Host != host || time.Now().After(known.Until) {
		return nil
	}
	hosts, err := d.hostsToAsk(ctx, host)
	if err != nil || slices.ContainsFunc(hosts, func(h string) bool { return !slices.Contains(known.Asked, h) }) {
		return nil
	}
	return known.Disks
}

// hostsToAsk are all hosts of oned but those that the administrator has disabled or set
// offline. One in error may be alive, and see a disk.
func (d *Driver) hostsToAsk(ctx context.Context, host string) ([]string, error) {
	hosts, err := d.Records.Hosts(ctx)
	if err != nil {
		return nil, err
	}
	names := []string{host}
	for _, h := range hosts {
		if !h.SetAside() && h.Name != host {
			names = append(names, h.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// proveLocal asks all nodes, keeps what it learns of each, and gives the own disks of
// host if all disks of the group are among them.
func (d *Driver) proveLocal(ctx context.Context, host, group string) ([]string, error) {
	hosts, err := d.hostsToAsk(ctx, host)
	if err != nil {
		return nil, err
	}
	seen, err := d.askDisks(ctx, hosts)
	if err != nil {
		return nil, fmt.Errorf("who else sees its disks is not known, because not every node answered: %w; bring that node back, or say that it is out of service (onehost offline)", err)
	}
	until := time.Now().Add(time.Duration(d.Config.Int("LOCAL_EXPIRY")) * time.Second)
	for _, h := range hosts {
		if err := d.keepLocal(localDisks{Host: h, Disks: ownDisks(seen, h), Asked: hosts, Until: until}); err != nil {
			d.Report.Warn("the proof that disks are local is not kept: %v", err)
		}
	}
	own := ownDisks(seen, host)
	for _, disk := range seen[host] {
		if disk.Group == group && !slices.Contains(own, disk.UUID) {
			return nil, fmt.Errorf("%s of %s is also seen by %s", disk.Path, group, strings.Join(othersSeeing(seen, host, disk.UUID), ", "))
		}
	}
	return own, nil
}

// askDisks asks all hosts at once.
func (d *Driver) askDisks(ctx context.Context, hosts []string) (map[string][]lvm.PhysicalVolume, error) {
	var mutex sync.Mutex
	seen := map[string][]lvm.PhysicalVolume{}
	var failed error
	var all errgroup.Group
	all.SetLimit(maxAsked)
	for _, host := range hosts {
		all.Go(func() error {
			err := opennebula.CheckHost(host)
			var res agent.Result
			if err == nil {
				res, err = d.Agents.Do(ctx, host, agent.Request{Op: agent.OpDisks, Operation: NewOperation()}, agent.Transfer{})
			}
			mutex.Lock()
			defer mutex.Unlock()
			seen[host] = res.Disks
			failed = errors.Join(failed, err)
			return nil
		})
	}
	_ = all.Wait() // the failures are in failed, all of them
	return seen, failed
}

// ownDisks are the ids of the disks that only host sees.
func ownDisks(seen map[string][]lvm.PhysicalVolume, host string) []string {
	own := []string{}
	for _, disk := range seen[host] {
		if len(othersSeeing(seen, host, disk.UUID)) == 0 {
			own = append(own, disk.UUID)
		}
	}
	slices.Sort(own)
	return own
}

func othersSeeing(seen map[string][]lvm.PhysicalVolume, host, id string) []string {
	var others []string
	for other, disks := range seen {
		if other != host && slices.ContainsFunc(disks, func(disk lvm.PhysicalVolume) bool { return disk.UUID == id }) {
			others = append(others, other)
		}
	}
	slices.Sort(others)
	return others
}

func (d *Driver) localFile(host string) string {
	return filepath.Join(d.Config.String("STATE_DIR"), "local-"+filepath.Base(host)+".json")
}

// keepLocal replaces the file as a whole: a crash leaves the old one, and a file that the
// next verb overwrites. The lock on the directory keeps verbs apart.
func (d *Driver) keepLocal(known localDisks) (err error) {
	dir := d.Config.String("STATE_DIR")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	text, err := json.Marshal(known)
	if err != nil {
		return err
	}
	lock, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", dir, err)
	}
	file := d.localFile(known.Host)
	failpoint.Hit("local.proven")
	failpoint.Change("write", file)
	if err := os.WriteFile(file+".new", text, 0o600); err != nil {
		return err
	}
	failpoint.Hit("local.written")
	failpoint.Change("rename", file)
	err = os.Rename(file+".new", file)
	failpoint.Hit("local.kept")
	return err
}
