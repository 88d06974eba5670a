package plan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"one-clvm/agent"
)

// turnInterval is how often a verb looks whether it is its turn.
const turnInterval = 100 * time.Millisecond

// TakeTurns takes the turn of every group that requests in single-writer mode change, in one
// order for all, so that two verbs never wait for each other. Requests that need each other
// take theirs together, and are steps with InTurn then.
func (d *Driver) TakeTurns(ctx context.Context, requests ...agent.Request) (release func(), err error) {
	turns := map[string]agent.Request{}
	for _, q := range requests {
		if !q.SingleWriter || q.Group == "" {
			continue
		}
		turns[q.Group] = q
		if q.Image != nil {
			q.Group = q.Image.Group
			turns[q.Group] = q
		}
	}
	var taken []func()
	release = func() {
		for _, giveBack := range taken {
			giveBack()
		}
	}
	for _, group := range slices.Sorted(maps.Keys(turns)) {
		giveBack, err := d.takeTurn(ctx, turns[group])
		if err != nil {
			release()
			return nil, err
		}
		taken = append(taken, giveBack)
	}
	return release, nil
}

// takeTurn keeps the other verbs of this front-end out of a volume group that no lock
// manager protects, for as long as its requests take. The kernel lets go of the lock when
// the process ends, however it ends. What the file says is for people.
func (d *Driver) takeTurn(ctx context.Context, q agent.Request) (release func(), err error) {
	file, err := d.turnFile(q.Group)
	if err != nil {
		return nil, fmt.Errorf("lock of volume group %s: %w", q.Group, err)
	}
	patience := time.Duration(q.Patience) * time.Second
	deadline := time.Now().Add(patience)
	for {
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			noteTurn(file, fmt.Sprintf("process %d (%s, VM %d) since %s\n", os.Getpid(), q.Op, q.VM, time.Now().Format(time.DateTime)))
			return func() { noteTurn(file, ""); _ = file.Close() }, nil
		case !errors.Is(err, unix.EWOULDBLOCK):
		case time.Now().After(deadline):
			err = fmt.Errorf("%w: %s has had the turn to change it for %s; SINGLE_WRITER lets one verb at a time", agent.ErrBusy, holderOfTurn(file), patience)
		default:
			if err = pause(ctx, turnInterval); err == nil {
				continue
			}
		}
		return nil, errors.Join(fmt.Errorf("lock of volume group %s: %w", q.Group, err), file.Close())
	}
}

func (d *Driver) turnFile(group string) (*os.File, error) {
	dir := d.Config.String("LOCK_DIR")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return os.OpenFile(filepath.Join(dir, "vg-"+group+".lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
}

// noteTurn writes who has the turn; a lock without a name is a lock all the same.
func noteTurn(file *os.File, text string) {
	_ = file.Truncate(0)
	_, _ = file.WriteAt([]byte(text), 0)
}

func holderOfTurn(file *os.File) string {
	text := make([]byte, 200)
	n, _ := file.ReadAt(text, 0) // shorter than that is the rule
	if holder := strings.TrimSpace(string(text[:n])); holder != "" {
		return holder
	}
	return "another process"
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
