// Package virsh has all text of libvirt's client: what it is called with and what it says.
package virsh

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"one-clvm/cluster"
	"one-clvm/internal/run"
)

// Client asks the libvirt of this node.
type Client struct {
	Runner run.Runner
	// MigrationURI is where the libvirt of another node is; %s stands for the node.
	MigrationURI string
	// MigrateOptions are further options of virsh migrate.
	MigrateOptions []string
}

// State is what the hypervisor says of a domain. A libvirt that does not answer is no error
// but Unknown; its own words come as reason.
func (v *Client) State(ctx context.Context, s cluster.Service) (state cluster.Domain, reason string) {
	res, err := v.Runner.Run(ctx, run.Cmd{Path: "virsh", Args: v.args(s, "domstate", s.Name), Reads: true})
	if err == nil {
		return parseState(string(res.Stdout)), ""
	}
	var failed *run.Error
	if errors.As(err, &failed) && isAbsent(failed.Stderr) {
		return cluster.Absent, ""
	}
	return cluster.Unknown, err.Error()
}

// Active are the names of the domains that hold disks on a node: not those that are only
// defined. The node is this one with "".
func (v *Client) Active(ctx context.Context, hypervisor, node string) ([]string, error) {
	if node != "" {
		hypervisor = strings.ReplaceAll(v.MigrationURI, "%s", node)
	}
	res, err := v.Runner.Run(ctx, run.Cmd{Path: "virsh", Args: []string{"-c", hypervisor, "list", "--name"}, Reads: true})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", cluster.ErrHypervisor, err)
	}
	return strings.Fields(string(res.Stdout)), nil
}

// isAbsent: only these words mean that the domain is not there. Any other failure, above
// all one to connect, says nothing about it.
func isAbsent(text string) bool {
	for _, words := range []string{"failed to get domain", "Domain not found"} {
		if strings.Contains(text, words) && !strings.Contains(text, "failed to connect") {
			return true
		}
	}
	return false
}

// parseState reads the answer of domstate: one line, a state.
func parseState(text string) cluster.Domain {
	switch strings.TrimSpace(text) {
	case "running", "idle", "blocked", "no state":
		return cluster.Active
	case "paused":
		return cluster.Paused
	case "in shutdown":
		return cluster.Dying
	case "shut off":
		return cluster.Absent
	case "crashed":
		return cluster.Crashed
	case "pmsuspended":
		return cluster.Asleep
	}
	return cluster.Unknown
}

func (v *Client) args(s cluster.Service, words ...string) []string {
	return append([]string{"-c", s.Hypervisor}, words...)
}

// Commands carry out the steps that concern a domain on this node; nil for the others.
// The domain that is started is the checked one: it comes on standard input.
func (v *Client) Commands(o cluster.Order, s cluster.Step, document func() (string, error)) ([]cluster.Command, error) {
	service := o.Service
	one := func(words ...string) []cluster.Command {
		return []cluster.Command{{Program: "virsh", Args: v.args(service, words...)}}
	}
	switch s.Action {
	case cluster.Ask:
		return one("shutdown", service.Name), nil
	case cluster.Destroy:
		return one("destroy", service.Name), nil
	case cluster.Reboot:
		return one("reboot", service.Name), nil
	case cluster.Reset:
		return one("reset", service.Name), nil
	case cluster.Resume:
		commands := one("resume", service.Name)
		commands[0].Whole = true // else libvirt may have the guest go on after it was taken for one that never ran
		return commands, nil
	case cluster.Abort:
		return one("domjobabort", service.Name), nil
	case cluster.Save:
		return one("save", service.Name, s.File), nil
	case cluster.Move:
		return one(v.migrate(service, s.Node)...), nil
	case cluster.Create, cluster.Restore:
		text, err := document()
		if err != nil {
			return nil, err
		}
		words := []string{"create", "/dev/stdin"}
		if s.Action == cluster.Restore { // the file names disks, too: the checked ones count
			words = []string{"restore", s.File, "--xml", "/dev/stdin", "--paused"}
		}
		commands := one(words...)
		commands[0].Stdin = text
		return commands, nil
	}
	return v.hardware(o, s), nil
}

// migrate keeps nothing of the domain on either end but the running one.
func (v *Client) migrate(s cluster.Service, to string) []string {
	words := append([]string{"migrate", "--live"}, v.MigrateOptions...)
	return append(words, s.Name, strings.ReplaceAll(v.MigrationURI, "%s", to))
}
