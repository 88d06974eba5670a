package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"one-clvm/cluster"
	"one-clvm/cluster/cxm"
	"one-clvm/cluster/pacemaker"
	"one-clvm/cluster/rgmanager"
	"one-clvm/cluster/virsh"
	"one-clvm/cxmrc"
	"one-clvm/hook"
	"one-clvm/hook/entrance"
	"one-clvm/hook/spool"
	"one-clvm/internal/command"
	"one-clvm/internal/run"
	"one-clvm/opennebula"
	"one-clvm/vmm"
)

// These are variables for tests alone.
var (
	configFile  = cxmrc.HookPath
	clusterConf = rgmanager.ConfigFile
)

// accept takes an event, as one-migrate-hook itself does.
func accept(kind entrance.Kind) func(*pflag.FlagSet) command.Action {
	return func(*pflag.FlagSet) command.Action {
		return func(_ context.Context, words []string, io command.Stdio) error {
			return entrance.Take(kind, words, entrance.Process{Stdin: io.In, Stderr: io.Err, Config: configFile})
		}
	}
}

func stateFile(cfg *cxmrc.Config) string {
	return filepath.Join(cfg.String("STATE_DIR"), "deliveries.json")
}

var errAlone = fmt.Errorf("%w: this node is in none", hook.ErrNoCluster)

// theCluster is asked where VMs are: by a node of it.
func theCluster() (*hook.Nodes, error) {
	cfg, err := cxmrc.LoadAgent(cxmrc.AgentPath)
	if err != nil {
		return nil, err
	}
	exists := func(path string) bool { _, err := os.Stat(path); return err == nil }
	stack := vmm.ChooseStack(cfg.String("STACK"), exists, run.Installed)
	return ask(cfg, stack, run.Exec{})
}

// ask is the question of where VMs are, as a stack answers it.
func ask(cfg *cxmrc.Config, stack string, programs run.Runner) (*hook.Nodes, error) {
	client := &virsh.Client{Runner: programs, MigrationURI: cfg.String("MIGRATION_URI")}
	nodes := &hook.Nodes{Now: time.Now, Active: func(ctx context.Context, node string) ([]string, error) {
		return client.Active(ctx, cfg.String("LIBVIRT_URI"), node)
	}}
	switch stack {
	case pacemaker.Name:
		nodes.Manager = &pacemaker.Stack{Runner: programs}
	case rgmanager.Name:
		nodes.Silent, nodes.Manager = true, &rgmanager.Stack{Runner: programs, Config: func() ([]byte, error) { return os.ReadFile(clusterConf) }}
	case cxm.Name:
		return nodes, askCXM(nodes, cfg, programs)
	default:
		return nil, fmt.Errorf("%w, it has the stack %s (STACK in agent.conf)", errAlone, stack)
	}
	return nodes, nil
}

// askCXM has cxm answer, which knows VMs by the names that their files have.
func askCXM(nodes *hook.Nodes, cfg *cxmrc.Config, programs run.Runner) error {
	self, err := os.Hostname()
	if err != nil {
		return err
	}
	var owners map[string]int
	manager := &cxm.Whole{Stack: &cxm.Stack{Runner: programs, Self: self, Files: cfg.String("CFG_DIR")}, Names: func() ([]string, error) {
		owners, err = vmm.XenVMs(cfg.String("CFG_DIR"))
		return slices.Collect(maps.Keys(owners)), err
	}}
	nodes.Manager, nodes.Active = manager, manager.Active
	nodes.Whose = func(v cluster.Surveyed) (int, error) {
		vm, found := owners[v.Name]
		if !found {
			return opennebula.None, hook.ErrForeign
		}
		return vm, nil
	}
	return nil
}

// setupWhere answers the question of a front-end.
func setupWhere(*pflag.FlagSet) command.Action {
	return func(ctx context.Context, _ []string, io command.Stdio) error {
		all, err := where(ctx)
		if err != nil {
			return err
		}
		return json.NewEncoder(io.Out).Encode(all)
	}
}

// where: a node without a cluster speaks for itself, and has nothing to say.
func where(ctx context.Context) (hook.Whereabouts, error) {
	nodes, err := theCluster()
	if errors.Is(err, errAlone) {
		self, err := os.Hostname()
		return hook.Whereabouts{Nodes: []string{self}}, err
	}
	if err != nil {
		return hook.Whereabouts{}, err
	}
	return nodes.All(ctx)
}

func setupDeliver(*pflag.FlagSet) command.Action {
	return func(ctx context.Context, _ []string, io command.Stdio) error {
		cfg, err := cxmrc.LoadHook(configFile)
		if err != nil {
			return err
		}
		journal := entrance.System(io.Err)
		nodes, err := theCluster()
		if err != nil {
			return fmt.Errorf("%w; what was reported stays in the spool", err)
		}
		delivery := hook.Delivery{
			Spool: spool.Spool{Dir: cfg.String("SPOOL_DIR")}, Cluster: nodes, FrontEnds: cfg.List("FRONTENDS"),
			Transport: way(cfg),
			StateFile: stateFile(cfg), Now: time.Now, Journal: journal,
		}
		if nodes.Silent {
			delivery.Status = nodes.Manager
		}
		waiting, err := delivery.Run(ctx)
		if err == nil && waiting > 0 {
			journal.Note("%d VMs wait for another try; one-migrate-hook status says why", waiting)
		}
		return err
	}
}

// status of a node or a front-end.
type status struct {
	Spool      int             `json:"spool"` // events
	Oldest     *time.Time      `json:"oldest,omitempty"`
	Delivery   hook.State      `json:"delivery"`
	Reconciled hook.Reconciled `json:"reconciled"` // on a front-end
}

func setupStatus(flags *pflag.FlagSet) command.Action {
	asJSON := flags.Bool("json", false, "for programs")
	return func(_ context.Context, _ []string, io command.Stdio) error {
		s, err := statusOf()
		if err != nil {
			return fmt.Errorf("%w: %w", command.ErrCouldNotLook, err)
		}
		if *asJSON {
			err = json.NewEncoder(io.Out).Encode(s)
		} else {
			err = s.print(io)
		}
		left, silent := len(s.Reconciled.Disagreements), len(s.Reconciled.Silent)
		if err == nil && s.Spool+left+silent > 0 {
			err = fmt.Errorf("%w: %d events wait in the spool, %d disagreements are left, %d could not be asked", command.ErrFindings, s.Spool, left, silent)
		}
		return err
	}
}

func statusOf() (status, error) {
	cfg, err := cxmrc.LoadHook(configFile)
	if err != nil {
		return status{}, err
	}
	entries, err := spool.Spool{Dir: cfg.String("SPOOL_DIR")}.List()
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a front-end has none
		return status{}, err
	}
	s := status{Spool: len(entries)}
	if len(entries) > 0 {
		s.Oldest = &entries[0].Time
	}
	var stateErr, reconciledErr error
	s.Delivery, stateErr = hook.ReadState(stateFile(cfg))
	s.Reconciled, reconciledErr = hook.ReadReconciled(cfg.String("STATE_DIR"))
	return s, errors.Join(stateErr, reconciledErr)
}

func (s status) print(io command.Stdio) error {
	fmt.Fprintf(io.Out, "spool: %d events", s.Spool)
	if s.Oldest != nil {
		fmt.Fprintf(io.Out, ", the oldest of %s", s.Oldest.Format(time.RFC3339))
	}
	fmt.Fprintln(io.Out)
	if s.Delivery.Blind != "" {
		fmt.Fprintf(io.Out, "the cluster's status is not seen: %s\n", s.Delivery.Blind)
	}
	table := tabwriter.NewWriter(io.Out, 0, 8, 2, ' ', 0)
	for vm, w := range s.Delivery.Waiting {
		fmt.Fprintf(table, "VM %d\twaits until %s, after %d tries\t%s\n", vm, w.Next.Format(time.TimeOnly), w.Tries, w.Why)
	}
	for _, l := range s.Delivery.Last {
		fmt.Fprintf(table, "VM %d\t%s on %s\t%s\n", l.VM, l.At.Format(time.RFC3339), l.On, l.Answer)
	}
	if last := s.Reconciled; !last.At.IsZero() {
		fmt.Fprintf(table, "reconciled %s\t%d VMs, %d disagreements\t\n", last.At.Format(time.RFC3339), last.VMs, len(last.Disagreements))
		for _, f := range last.Disagreements {
			fmt.Fprintf(table, "VM %d\t%s %s, really on %q\t%s %s\n", f.VM, f.Host, f.State, f.On, f.Outcome, f.Why)
		}
		for _, line := range last.Silent {
			fmt.Fprintf(table, "not asked\t%s\t\n", line)
		}
	}
	return table.Flush()
}
