// Package plan carries out what verbs have worked out, of the transfer manager as of the
// datastore driver: requests to the agents of nodes, one after the other, with what takes
// each back; on which node, and in whose turn.
package plan

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"

	"one-clvm/agent"
	"one-clvm/cxmrc"
	"one-clvm/internal/run"
	"one-clvm/opennebula"
)

// ErrNotYet means: the verb, or this form of it, is not supported by this release. It is
// never reported as success.
var ErrNotYet = errors.New("not supported by this release of one-clvm")

// Records are oned's own, as far as verbs ask for them; *opennebula.Client has them.
type Records interface {
	VM(ctx context.Context, id int) (*opennebula.VM, error)
	VMs(ctx context.Context) ([]opennebula.VM, error)
	Image(ctx context.Context, id int) (*opennebula.Image, error)
	ImageBySource(ctx context.Context, source string) (*opennebula.Image, error)
	Datastore(ctx context.Context, id int) (*opennebula.Datastore, error)
	Hosts(ctx context.Context) ([]opennebula.Host, error)
	UpdateImage(ctx context.Context, id int, template string) error
	Documents(ctx context.Context, vm, image, datastore int) (string, error)
}

// Agents reach the agent of a node, by the node's name.
type Agents interface {
	Do(ctx context.Context, host string, q agent.Request, t agent.Transfer) (agent.Result, error)
}

// Driver is what all drivers are made of.
type Driver struct {
	Config   *cxmrc.Config
	Version  opennebula.Version
	FrontEnd string // the name that oned uses for this machine
	Records  Records
	Agents   Agents
	Runner   run.Runner
	Report   *opennebula.Reporter
	Stdin    io.Reader
	Stdout   io.Writer
	Stderr   io.Writer // for the progress bar, if it is a terminal
	DryRun   bool      // print the plan, change nothing
}

// Carry carries steps out, or only prints them.
func (d *Driver) Carry(ctx context.Context, steps []Step) error {
	if d.DryRun {
		return d.print(steps)
	}
	return d.carryOut(ctx, steps)
}

// DatastoreConfig is base with the overrides of a datastore.
func (d *Driver) DatastoreConfig(ctx context.Context, base *cxmrc.Config, id int) (*cxmrc.Config, error) {
	ds, err := d.Records.Datastore(ctx, id)
	if err != nil {
		return nil, err
	}
	return base.WithDatastore(ds.Template, ds.Origin())
}

// NewOperation makes the id that ties the log lines of both ends together.
func NewOperation() string {
	id := make([]byte, 6)
	_, _ = rand.Read(id) // never fails
	return hex.EncodeToString(id)
}
