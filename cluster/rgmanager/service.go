package rgmanager

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"one-clvm/cluster"
	"one-clvm/internal/run"
)

// Results of clusvcadm: negative numbers, as exit statuses.
const (
	unknown        = 252
	againLater     = 250
	dependencyRule = 249
	notPossible    = 248
	needsQuorum    = 247
	frozenNow      = 245
	targetDead     = 244
	fencing        = 243
	notRunnable    = 241
	exclusive      = 240
	stillRunning   = 239
	denied         = 238
)

// loading is how long a service may be unknown after its definition was loaded.
const loading = 30 * time.Second

// serviceID is a VM's service for clusvcadm and clustat. A name alone would be tried as
// another kind of service first.
func serviceID(name string) string { return "vm:" + name }

// admin calls clusvcadm, which ends when the operation has: rgmanager goes on with it if
// the deadline comes first. It is asked again while the service is busy.
func (p *Stack) admin(ctx context.Context, limit time.Duration, args ...string) (status int, err error) {
	deadline := p.Clock.Now().Add(limit)
	for {
		call, cancel := context.WithTimeout(ctx, limit)
		res, err := p.Runner.Run(call, run.Cmd{Path: "clusvcadm", Args: args})
		cancel()
		if err == nil {
			return 0, nil
		}
		var failed *run.Error
		if !errors.As(err, &failed) {
			return -1, err
		}
		if failed.Status != againLater || !p.Clock.Now().Before(deadline) {
			said := strings.Join(strings.Fields(string(res.Stdout)+" "+string(res.Stderr)), " ")
			return failed.Status, fmt.Errorf("%w: %w: %s", meaning(failed.Status), err, said)
		}
		if err := p.Clock.Sleep(ctx, interval); err != nil {
			return -1, err
		}
	}
}

// meaning is the sentinel of a result.
func meaning(status int) error {
	switch status {
	case dependencyRule, notPossible, needsQuorum, frozenNow, targetDead, notRunnable, exclusive, denied:
		return cluster.ErrRefused
	case fencing:
		return cluster.ErrFencing
	case againLater:
		return cluster.ErrTimeout
	}
	return cluster.ErrFailed
}

// enable starts the service on a node. A failed one has to be disabled first.
func (p *Stack) enable(ctx context.Context, o cluster.Order, node string) error {
	name, patience := o.Service.Name, o.Service.Patience
	seen, err := p.settled(ctx, o.Service)
	if err != nil {
		return err
	}
	if seen.Service.Failed {
		if err := p.disable(ctx, o); err != nil {
			return err
		}
	}
	deadline := p.Clock.Now().Add(loading)
	for {
		status, err := p.admin(ctx, patience.Start+patience.Settle, "-e", serviceID(name), "-m", node)
		if status != unknown || !p.Clock.Now().Before(deadline) {
			return err
		}
		if err := p.Clock.Sleep(ctx, interval); err != nil { // it is being loaded
			return err
		}
	}
}

// disable stops the service, and has it stay stopped. rgmanager refuses that while it is
// frozen.
func (p *Stack) disable(ctx context.Context, o cluster.Order) error {
	if err := p.thaw(ctx, o); err != nil {
		return err
	}
	if err := p.confirmFailed(ctx, o.Service); err != nil {
		return err
	}
	status, err := p.admin(ctx, o.Service.Patience.Stop, "-d", serviceID(o.Service.Name))
	if status == unknown { // defined, and never loaded
		return nil
	}
	return err
}

// confirmFailed: rgmanager takes the guest of a failed service for stopped once it is
// disabled. So every live node has to say that it is.
func (p *Stack) confirmFailed(ctx context.Context, s cluster.Service) error {
	seen, err := p.settled(ctx, s)
	if err != nil || !seen.Service.Failed {
		return err
	}
	return p.absentEverywhere(ctx, s)
}

func (p *Stack) thaw(ctx context.Context, o cluster.Order) error {
	seen, err := p.settled(ctx, o.Service)
	if err != nil || !seen.Service.Frozen {
		return err
	}
	_, err = p.admin(ctx, o.Service.Patience.Settle, "-U", serviceID(o.Service.Name))
	return err
}

// move has rgmanager migrate the VM. It is only asked for a node that it knows: it would
// take another one whose name begins alike.
func (p *Stack) move(ctx context.Context, o cluster.Order, node string) error {
	status, err := p.admin(ctx, o.Service.Patience.Migrate, "-M", serviceID(o.Service.Name), "-m", node)
	if err == nil {
		return nil
	}
	if status == stillRunning {
		return fmt.Errorf("%w; it runs on %s as before", err, o.Node)
	}
	seen, lookErr := p.settled(ctx, o.Service)
	if lookErr == nil && seen.Service.Failed {
		return fmt.Errorf("%w; rgmanager has given the service up, and does not look after it any more: see where the guest is (virsh list on %s and %s); where it is down, power the VM off hard and on again", err, o.Node, node)
	}
	return errors.Join(err, lookErr)
}
