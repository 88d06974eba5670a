// Package clustertest runs scenarios: directories that hold what a stack's tools say, one
// verb, and the plan and the log that are to come of it.
//
//	verb     the verb, then the node that it goes to, or what it is about
//	N.xml    what the cluster manager reports from the Nth look on
//	N.error  the same where it fails: its exit status and its message
//	domain   what the hypervisor of this node says, a line for each look
//	hardware what the domain has, the same; of the verbs about that
//	fails    programs that fail: the beginning of the call, =>, status, message with \n between lines;
//	         or late: it is cut off at its deadline, or left running if it must not be
//	plan     what is decided
//	log      what then happens, by a clock that only waiting moves
//
// With -update the last two are written instead of compared; read what has changed.
package clustertest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
	"one-clvm/internal/run"
	"one-clvm/lvm"
)

// Update is the flag -update of a test program that has this package in it.
var Update = flag.Bool("update", false, "write what is compared with anew, such as the plans and logs of scenarios")

// Self is this node, home the directory of the VM of all scenarios.
const (
	Self = "node1"
	home = "/var/lib/one/datastores/101/42"
)

// Service is the one of all scenarios.
func Service() cluster.Service {
	return cluster.Service{
		VM: 42, Name: "one-42", Definition: home + "/domain.xml", Hypervisor: "qemu:///system", MemoryMiB: 512, CPUs: 2,
		Patience: cluster.Patience{Start: 90 * time.Second, Shutdown: time.Minute, Stop: 2 * time.Minute, Migrate: 5 * time.Minute, Settle: 30 * time.Second},
	}
}

// Document is the domain of all scenarios.
func Document() (string, error) { return "<domain/>", nil }

// Run runs all scenarios of a directory, which must have that many at least.
func Run(t *testing.T, dir string, least int, stack func(run.Runner) cluster.Stack) {
	found, err := filepath.Glob(filepath.Join(dir, "*", "verb"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(found), least)
	for _, file := range found {
		path := filepath.Dir(file)
		t.Run(filepath.Base(path), func(t *testing.T) {
			start := time.Date(2026, 2, 3, 10, 0, 0, 0, time.UTC)
			w := &world{t: t, dir: path, start: start, now: start}
			w.play(stack(w))
		})
	}
}

// world is the tools, the volumes and the clock of one scenario.
type world struct {
	t          *testing.T
	dir        string
	start, now time.Time
	looks      int
	log        strings.Builder
	bench      *Bench // over a stateful double; nil for reports
}

func (w *world) play(stack cluster.Stack) {
	words := strings.Fields(w.read("verb"))
	order := cluster.Order{Verb: cluster.Verb(words[0]), Service: Service(), Node: Self}
	switch {
	case order.Verb.ChangesHardware():
		w.subject(&order, words[1:])
	case len(words) > 1:
		order.To = words[1]
	}
	if w.bench != nil && w.bench.Service != nil {
		w.bench.Service(&order.Service)
	}
	if order.Verb == cluster.VerbSave || order.Verb == cluster.VerbRestore {
		order.File = home + "/checkpoint"
	}
	x := &cluster.Executor{Stack: stack, Runner: w, Clock: w, Volumes: w.volumes, Store: w.store, Inspect: w.hardware, Log: func(format string, args ...any) {
		w.note("log", fmt.Sprintf(format, args...))
	}}
	plan, err := x.Execute(context.Background(), order)
	if err != nil {
		w.note("error", err.Error())
	} else {
		w.note("done", "")
	}
	if w.bench != nil {
		w.note("state", w.bench.Tools.Summary())
	}
	w.compare("plan", plan.String())
	w.compare("log", w.log.String())
}

func (w *world) note(kind, text string) {
	text = strings.ReplaceAll(strings.TrimSpace(w.plain(text)), "\n", "\n      ")
	fmt.Fprintf(&w.log, "%-5s %s\n", "+"+strconv.Itoa(int(w.now.Sub(w.start).Seconds())), strings.TrimSpace(kind+" "+text))
}

func (w *world) compare(name, got string) {
	path := filepath.Join(w.dir, name)
	if *Update {
		require.NoError(w.t, os.WriteFile(path, []byte(got), 0o644))
		return
	}
	assert.Equal(w.t, w.read(name), got, path)
}

func (w *world) read(name string) string {
	data, err := os.ReadFile(filepath.Join(w.dir, name))
	require.NoError(w.t, err)
	return string(data)
}

// Run implements run.Runner. No call is to last for ever.
func (w *world) Run(ctx context.Context, c run.Cmd) (run.Result, error) {
	deadline, limited := ctx.Deadline()
	assert.True(w.t, limited, "%s %s has no deadline", c.Path, strings.Join(c.Args, " "))
	if w.bench != nil {
		return w.call(c)
	}
	call := c.Path + " " + strings.Join(c.Args, " ")
	switch {
	case c.Path == "crm_mon":
		w.looks++
		return w.report(call)
	case c.Path == "crm_node":
		return run.Result{Stdout: []byte(Self + "\n")}, nil
	case strings.Contains(call, " domstate "):
		return w.domain(call)
	}
	if c.Stdin != nil {
		text, err := io.ReadAll(c.Stdin)
		require.NoError(w.t, err)
		call += " <<< " + strings.TrimSpace(string(text))
	}
	w.note("run", call)
	err := w.fails(call)
	if errors.Is(err, context.DeadlineExceeded) {
		settle := Service().Patience.Settle
		w.now = w.now.Add(time.Until(deadline).Truncate(settle) + settle) // all that it had, also on a slow machine
		if c.Writer {
			err = fmt.Errorf("%w (%w)", run.ErrStillRunning, err)
		}
	}
	return run.Result{}, err
}

// report is that of the cluster manager at this look.
func (w *world) report(call string) (run.Result, error) {
	for n := w.looks; n > 0; n-- {
		if text, err := os.ReadFile(filepath.Join(w.dir, fmt.Sprintf("%d.error", n))); err == nil {
			return failed(call, string(text))
		}
		if text, err := os.ReadFile(filepath.Join(w.dir, fmt.Sprintf("%d.xml", n))); err == nil {
			return run.Result{Stdout: text}, nil
		}
	}
	w.t.Fatal("the scenario has no report")
	return run.Result{}, nil
}

// domain is the hypervisor's word at the same look; outside of a cluster it is the look.
func (w *world) domain(call string) (run.Result, error) {
	lines := strings.Split(strings.TrimSpace(w.read("domain")), "\n")
	reports, err := filepath.Glob(filepath.Join(w.dir, "1.*"))
	require.NoError(w.t, err)
	if len(reports) == 0 {
		w.looks++
	}
	line := lines[min(w.looks, len(lines))-1]
	if strings.HasPrefix(line, "error:") {
		return failed(call, "1 "+line)
	}
	return run.Result{Stdout: []byte(line + "\n\n")}, nil
}

func failed(call, text string) (run.Result, error) {
	if text == "late" {
		return run.Result{Status: -1}, &run.Error{Argv: strings.Fields(call), Status: -1, Err: context.DeadlineExceeded}
	}
	status, message, _ := strings.Cut(strings.ReplaceAll(strings.TrimSpace(text), `\n`, "\n"), " ")
	code, err := strconv.Atoi(status)
	if err != nil {
		return run.Result{}, err
	}
	return run.Result{Status: code, Stderr: []byte(message)}, &run.Error{Argv: strings.Fields(call), Status: code, Stderr: message, Err: fmt.Errorf("exit status %d", code)}
}

func (w *world) fails(call string) error {
	text, err := os.ReadFile(filepath.Join(w.dir, "fails"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	require.NoError(w.t, err)
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		beginning, outcome, _ := strings.Cut(line, " => ")
		if strings.HasPrefix(call, beginning) {
			_, err := failed(beginning, outcome)
			return err
		}
	}
	return nil
}

func (w *world) volumes(_ context.Context, mode lvm.Mode) error {
	w.note("volumes", mode.String())
	return w.fails("volumes " + mode.String())
}

func (w *world) store(context.Context) error {
	w.note("store", "")
	return w.fails("store")
}

// Now implements cluster.Clock.
func (w *world) Now() time.Time { return w.now }

// Sleep implements cluster.Clock.
func (w *world) Sleep(_ context.Context, d time.Duration) error {
	w.now = w.now.Add(d)
	return nil
}
