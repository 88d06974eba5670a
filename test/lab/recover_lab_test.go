//go:build lab

package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
	"one-clvm/lab/cluster"
	"one-clvm/lvm"
	rec "one-clvm/recovery"
	"one-clvm/test/build"
	"one-clvm/test/fakeoned"
)

// driverStops is where the VMM driver's privileged end on a node is told where to stop
// (internal/failpoint).
const driverStops = "/run/failpoints/driver"

// stoppable puts programs on the nodes that can be stopped: the VMM driver, and the agent of the
// VM that is to wait in vain.
func (h *hooked) stoppable() {
	h.Helper()
	for name, on := range map[string]string{"tm-clvm": cluster.Program, "vmm-rhcs": cluster.Driver + "-stops"} {
		program := filepath.Join(h.directory, name+"-stops")
		require.NoError(h, build.Program(h.Context(), program, "./cmd/"+name, "-tags", "failpoint"))
		for _, n := range h.Nodes {
			require.NoError(h, n.PutFile(h.Context(), program, on, 0o755))
		}
	}
	script := fmt.Sprintf("#!/bin/sh\nONE_CLVM_FAILPOINTS=%s exec %s-stops \"$@\"\n", driverStops, cluster.Driver)
	for _, n := range h.Nodes {
		h.Output(h.T, n, "mkdir", "-p", driverStops)
		require.NoError(h, n.Put(h.Context(), cluster.Driver, strings.NewReader(script), 0o755, 0))
		// Nodes are slow to answer here.
		require.NoError(h, n.Put(h.Context(), oneadminHome+"/remotes/etc/tm/clvm/cxmrc", strings.NewReader("CONNECT_TIMEOUT=120\n"), 0o644, cluster.OneadminID))
	}
}

// The front-end dies in the middle of each verb in the life of a VM, with the verb's processes: what
// oned then waits for is ended by vmm-rhcs recover, and oned goes on.
func TestRecoverOnPacemaker(t *testing.T) {
	h := startHooked(t)
	one, two := h.Nodes[0], h.Nodes[1]
	const vm = vmID
	m := &matrix{site: h.site}
	w := m.newWorker(h.T, vm, one)
	w.program = filepath.Join(h.directory, "tm-clvm-stops")
	h.stuck = w
	ended := 0
	situation := func(name string, happens func()) {
		h.sub("recover: "+name, func() { w.T = h.T; happens() })
		w.T = h.T
		ended++
	}
	situation("CLONE is cut off", func() {
		h.locate(vm, one.Name) // PROLOG
		w.cutDown(h.cloneOf(), instant{node: one, name: "create.created"})
		h.recovers(vm, rec.Retry, "the transfer finds out itself what is done already")
		h.oned.Settle()
		assert.Equal(h, []any{one.Name, 3, 2}, h.record(vm), "the disk was made anew, and oned boots")
	})
	situation("deploy has not begun", func() {
		h.oned.Die()
		h.cutDown(one, "vmm.stored", guestDomain(vm), "deploy", vm, home(vm)+"/deployment.0", one.Name)
		h.recovers(vm, rec.Retry, "it runs nowhere, its volumes are whole, and node1 is alive")
		h.oned.Settle()
		h.agrees(one, vm)
	})
	situation("PREMIGRATE is cut off", func() {
		h.oned.Begin(vm, two.Name)
		h.oned.Die()
		w.killed(windowLife.acts[1], killCase{instant{node: one, name: "window.opened"}, killFrontEnd})
		h.recovers(vm, rec.Failure, "it still runs on node1")
		assert.Equal(h, []any{one.Name, 3, 3}, h.record(vm), "running")
		assert.Equal(h, "running", h.domstate(one, vm))
	})
	situation("migrate is not heard of", func() {
		h.oned.Begin(vm, two.Name)
		h.oned.Die()
		h.windowVerb("premigrate", one.Name, two.Name, vm)
		h.cutDown(one, "cluster.thaw", h.action(vm), "migrate", vm, name(vm), two.Name, one.Name)
		h.recovers(vm, rec.Retry, "it has arrived on node2: the same migration finds that")
		h.moveless(two, []int{vm}, h.oned.Settle)
	})
	situation("save is not heard of", func() {
		h.oned.Lose(vm, 3, 6) // SAVE_SUSPEND
		h.cutDown(two, "cluster.remove", h.action(vm), "save", vm, name(vm), checkpoint(vm), two.Name)
		h.recovers(vm, rec.Success, "it runs no more, and its checkpoint is whole")
		assert.Equal(h, []any{two.Name, 5, 0}, h.record(vm), "suspended")
		h.isOffEverywhere(vm)
	})
	situation("DELETE is cut off", func() {
		h.oned.Lose(vm, 3, 11) // EPILOG
		w.node = two
		w.cutDown(deleteDisk, instant{node: two, name: "discard.tagged"})
		h.recovers(vm, rec.Retry, "it runs nowhere, and its volumes are gone")
		h.oned.Settle()
		assert.Equal(h, []any{two.Name, 6, 0}, h.record(vm), "done")
		for _, v := range h.volumes(two) {
			assert.NotEqual(h, fmt.Sprint(vm), v.Tags.Get(lvm.TagVM), "%s is left", v.Name)
		}
	})
	fmt.Printf("recover: %d stuck, %d ended\n", ended, ended)
}

func (h *hooked) record(vm int) []any {
	host, state, lcm := h.oned.At(vm)
	return []any{host, state, lcm}
}

// cloneOf makes the VM's disk, of the image that locate has made known.
func (h *hooked) cloneOf() act {
	return act{name: "CLONE", argv: func(w *worker) []string {
		return words("clone", "frontend:"+filepath.Join(h.directory, "guest"), w.at(w.node.Name), w.imageArgs())
	}}
}

// Prolog implements fakeoned.Transfers, of the VM that waits in vain.
func (h *hooked) Prolog(int, string) error {
	h.stuck.succeeds(h.cloneOf())
	return nil
}

// Epilog implements fakeoned.Transfers.
func (h *hooked) Epilog(vm int, host string) error {
	h.stuck.succeeds(deleteDisk)
	h.ok("delete", append([]string{host + ":" + home(vm)}, of(vm, fakeoned.SystemDS)...)...)
	return nil
}

// cutDown runs an act of the worker's VM to an instant on a node, and kills both of its ends
// there.
func (w *worker) cutDown(a act, at instant) {
	w.Helper()
	verb := w.stopAt(a, at)
	require.NoError(w, syscall.Kill(verb.Process.Pid, syscall.SIGKILL))
	w.Output(w.T, at.node, "kill", "-KILL", strings.TrimSpace(w.Output(w.T, at.node, "cat", w.onNode("reached"))))
	w.goOn(at)
	_ = verb.Wait() // killed
}

// cutDown runs a script of the VMM driver on a node to an instant, and kills both of its ends.
func (h *hooked) cutDown(n *cluster.Node, at, stdin, verb string, vm int, argv ...string) {
	h.Helper()
	require.NoError(h, n.Put(h.Context(), driverStops+"/stop", strings.NewReader(at+" 0"), 0o600, 0))
	ctx, die := context.WithCancel(h.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := run.Exec{}.Run(ctx, run.Cmd{Path: "ssh", Args: h.script(n.Name, n.Name, verb, vm, argv...), Stdin: strings.NewReader(stdin)})
		ended <- err
	}()
	pid := reached(h.T, n, driverStops, "%s of %s", at, verb)
	die()
	require.Error(h, <-ended)
	h.Output(h.T, n, "kill", "-KILL", pid)
	h.Output(h.T, n, "rm", "-f", driverStops+"/reached", driverStops+"/stop")
}

// recovered is what vmm-rhcs recover says of a VM.
type recovered struct {
	VM    int
	Is    string
	Error string
	Facts rec.Facts
	Do    rec.Decision `json:"decision"`
}

// recoverCommand on the front-end says what it has found of a VM.
func (h *hooked) recoverCommand(vm int, words string) recovered {
	h.Helper()
	began := time.Now()
	r := h.onFrontEnd(h.alive()[0], cluster.Driver+" recover --json"+words)
	require.LessOrEqual(h, r.Status, 1, "it could not look: %s", r.Stderr)
	var list []recovered
	require.NoError(h, json.Unmarshal(r.Stdout, &list))
	at := slices.IndexFunc(list, func(r recovered) bool { return r.VM == vm })
	require.GreaterOrEqual(h, at, 0, "VM %d is not stuck", vm)
	h.Logf("%5.1f s recover%s: %s%s", time.Since(began).Seconds(), words, r.Stdout, r.Stderr)
	return list[at]
}

// recovers: the stuck VM is judged so, and oned is called as that asks for, once.
func (h *hooked) recovers(vm int, action rec.Action, why string) {
	h.Helper()
	before := len(h.oned.Changes())
	var found recovered
	h.await("it is judged", func() bool {
		found = h.recoverCommand(vm, "")
		return found.Do.Action != rec.Wait && found.Facts.Truth.Doubt == "" // what was killed may not have ended yet
	})
	assert.Equal(h, []any{action, "done"}, []any{found.Do.Action, found.Is}, found.Error)
	assert.Contains(h, found.Do.Why, why)
	assert.Equal(h, []string{"one.vm.recover"}, h.oned.Changes()[before:])
	var last fakeoned.Call
	for _, c := range h.oned.Calls() {
		if c.Method == "one.vm.recover" {
			last = c
		}
	}
	operation := map[rec.Action]int64{rec.Failure: 0, rec.Success: 1, rec.Retry: 2}[action]
	assert.Equal(h, []any{fakeoned.Session, int64(vm), operation}, last.Params)
}

// judged: the VM is left to a person, with what to type, and oned is not called.
func (h *hooked) judged(vm int, action rec.Action, why, command string) {
	h.Helper()
	before := h.oned.Changes()
	found := h.recoverCommand(vm, " --dry-run")
	assert.Equal(h, []any{action, why, command, "left"}, []any{found.Do.Action, found.Do.Why, found.Do.Command, found.Is})
	assert.Equal(h, before, h.oned.Changes())
}
