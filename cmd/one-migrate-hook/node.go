package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"one-clvm/cxmrc"
	"one-clvm/hook"
	"one-clvm/hook/spool"
	"one-clvm/internal/command"
	"one-clvm/internal/run"
)

// configFile is a variable for tests alone.
var configFile = cxmrc.HookPath

// entrance accepts an event.
func entrance(which hook.Entrance) func(*pflag.FlagSet) command.Action {
	return func(*pflag.FlagSet) command.Action {
		return func(ctx context.Context, words []string, io command.Stdio) error {
			ctx, cancel := context.WithTimeout(ctx, hook.AcceptLimit)
			defer cancel()
			journal := hook.OpenSyslog(io.Err)
			if len(words) > 0 && strings.HasPrefix(words[0], "/") {
				words = words[1:] // as an interpreter, the path of the script comes first
			}
			err := hook.Accept(ctx, which, hook.Called{Args: words, Env: os.Getenv, Stdin: io.In, Now: time.Now()}, spoolOf(journal), journal)
			if which == hook.Libvirt {
				return nil // libvirt would kill the guest, and the journal has it
			}
			return err
		}
	}
}

// spoolOf: a configuration that cannot be read does not lose events.
func spoolOf(journal hook.Journal) spool.Spool {
	cfg, err := cxmrc.LoadHook(configFile)
	if err != nil {
		journal.Alarm("%v; the spool is where it is by default", err)
		cfg = cxmrc.Defaults(cxmrc.Hook)
	}
	return spool.Spool{Dir: cfg.String("SPOOL_DIR")}
}

func stateFile(cfg *cxmrc.Config) string {
	return filepath.Join(cfg.String("STATE_DIR"), "deliveries.json")
}

// theCluster is asked where VMs are.
func theCluster() hook.Cluster { return hook.NoCluster{} }

func setupDeliver(*pflag.FlagSet) command.Action {
	return func(ctx context.Context, _ []string, io command.Stdio) error {
		cfg, err := cxmrc.LoadHook(configFile)
		if err != nil {
			return err
		}
		journal := hook.OpenSyslog(io.Err)
		delivery := hook.Delivery{
			Spool: spool.Spool{Dir: cfg.String("SPOOL_DIR")}, Cluster: theCluster(), FrontEnds: cfg.List("FRONTENDS"),
			Transport: hook.SSH{Runner: run.Exec{}, User: cfg.String("FRONTEND_USER"), Key: cfg.String("SSH_KEY")},
			StateFile: stateFile(cfg), Now: time.Now, Journal: journal,
		}
		waiting, err := delivery.Run(ctx)
		if err == nil && waiting > 0 {
			journal.Note("%d VMs wait for another try; one-migrate-hook status says why", waiting)
		}
		return err
	}
}

// status of a node.
type status struct {
	Spool    int        `json:"spool"` // events
	Oldest   *time.Time `json:"oldest,omitempty"`
	Delivery hook.State `json:"delivery"`
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
		if err == nil && s.Spool > 0 {
			err = fmt.Errorf("%w: %d events wait in the spool", command.ErrFindings, s.Spool)
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
	if err != nil {
		return status{}, err
	}
	s := status{Spool: len(entries)}
	if len(entries) > 0 {
		s.Oldest = &entries[0].Time
	}
	s.Delivery, err = hook.ReadState(stateFile(cfg))
	return s, err
}

func (s status) print(io command.Stdio) error {
	fmt.Fprintf(io.Out, "spool: %d events", s.Spool)
	if s.Oldest != nil {
		fmt.Fprintf(io.Out, ", the oldest of %s", s.Oldest.Format(time.RFC3339))
	}
	fmt.Fprintln(io.Out)
	table := tabwriter.NewWriter(io.Out, 0, 8, 2, ' ', 0)
	for vm, w := range s.Delivery.Waiting {
		fmt.Fprintf(table, "VM %d\twaits until %s, after %d tries\t%s\n", vm, w.Next.Format(time.TimeOnly), w.Tries, w.Why)
	}
	for _, l := range s.Delivery.Last {
		fmt.Fprintf(table, "VM %d\t%s on %s\t%s\n", l.VM, l.At.Format(time.RFC3339), l.On, l.Answer)
	}
	return table.Flush()
}
