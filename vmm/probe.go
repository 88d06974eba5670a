package vmm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"one-clvm/cluster"
	"one-clvm/opennebula"
)

// Probe is one of oned's monitoring probes: a script below REMOTES/im/NAME-probes.d/vm, or, up to
// 5.10, in REMOTES/im/NAME-probes.d itself.
type Probe string

// The probes.
const (
	ProbeStatus  Probe = "status"
	ProbeMonitor Probe = "monitor"
	ProbePoll    Probe = "poll" // of all VMs of a host, up to 5.10
)

// ProbeOf says which probe a script is, by its directory, and where the drivers' scripts are; "" for
// none. A host's probes are called by their names alone, in their directory.
func ProbeOf(script string) (probe Probe, remotes string) {
	if !strings.Contains(script, "/") {
		return "", ""
	}
	script, err := filepath.Abs(script)
	if err != nil {
		return "", ""
	}
	dir := filepath.Dir(script)
	if ofProbes(dir) {
		return ProbePoll, filepath.Join(dir, "../..")
	}
	if filepath.Base(filepath.Dir(dir)) == "vm" && ofProbes(filepath.Join(dir, "../..")) {
		switch p := Probe(filepath.Base(dir)); p {
		case ProbeStatus, ProbeMonitor:
			return p, filepath.Join(dir, "../../../..")
		}
	}
	return "", ""
}

func ofProbes(dir string) bool { return strings.HasSuffix(dir, "-probes.d") }

// IsPollAll says whether a call of the script poll is for all VMs of the node: with -t, behind the
// hypervisor's name as an option in some releases.
func IsPollAll(script string, words []string) bool {
	return filepath.Base(script) == "poll" && len(words) > 0 && words[len(words)-1] == "-t" &&
		!slices.ContainsFunc(words, func(word string) bool { return !strings.HasPrefix(word, "-") })
}

// Monitor prints a probe's answer.
func (d *Driver) Monitor(ctx context.Context, probe Probe) error {
	if probe == ProbePoll {
		return d.PollAll(ctx)
	}
	survey, err := d.survey(ctx)
	if err != nil {
		return fmt.Errorf("%s of the VMs of this node: %w", probe, err)
	}
	if probe == ProbeMonitor {
		_, err = io.WriteString(d.Stdout, opennebula.MonitorProbe(survey.here()))
		return err
	}
	missing := "POWEROFF"
	if survey.Clustered {
		missing = "UNKNOWN" // the cluster may have it on another node, or be about to start it
	}
	_, err = io.WriteString(d.Stdout, opennebula.StatusProbe(survey.here(), missing))
	return err
}

// PollAll prints what all VMs of the node do, as host probes up to 5.10 pass it on.
func (d *Driver) PollAll(ctx context.Context) error {
	survey, err := d.survey(ctx)
	if err != nil {
		return fmt.Errorf("poll of the VMs of this node: %w", err)
	}
	_, err = io.WriteString(d.Stdout, opennebula.PollAll(d.Release, survey.here()))
	return err
}

func (d *Driver) survey(ctx context.Context) (*Survey, error) {
	q := d.patience()
	q.Verb, q.Node = VerbPoll, "localhost"
	last, err := d.ask(ctx, d.Agent, q)
	if err == nil && last.Survey == nil {
		err = errors.New("the privileged end gave no figures: is it of another version?")
	}
	return last.Survey, err
}

func (d *Driver) printPoll(call opennebula.VMMCall, survey *Survey) error {
	if survey == nil {
		return errors.New("the privileged end gave no figures: is it of another version?")
	}
	sight := opennebula.VMSight{VM: call.VM, State: stateNames[cluster.ReportOff]}
	for _, s := range survey.VMs {
		if s.VM == call.VM {
			sight = s.opennebula()
		}
	}
	_, err := fmt.Fprintln(d.Stdout, opennebula.PollLine(d.Release, sight))
	return err
}

// here are the VMs that this node may tell of.
func (s *Survey) here() (out []opennebula.VMSight) {
	for _, sight := range s.VMs {
		if sight.Here {
			out = append(out, sight.opennebula())
		}
	}
	return out
}

var stateNames = map[cluster.Report]string{
	cluster.ReportRunning: "RUNNING", cluster.ReportSuspended: "SUSPENDED", cluster.ReportFailed: "FAILURE",
	cluster.ReportOff: "POWEROFF", cluster.ReportUnknown: "UNKNOWN",
}

func (s *Sight) opennebula() opennebula.VMSight {
	out := opennebula.VMSight{VM: s.VM, State: stateNames[s.Report], CPU: s.CPU}
	if f := s.Figures; f != nil {
		out.Figures, out.MemoryKiB, out.NetRX, out.NetTX = true, f.MemoryKiB, f.NetRX, f.NetTX
		out.ReadBytes, out.WriteBytes, out.ReadOps, out.WriteOps = f.ReadBytes, f.WriteBytes, f.ReadOps, f.WriteOps
	}
	return out
}
