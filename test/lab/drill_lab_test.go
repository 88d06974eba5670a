//go:build lab

package lab

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
	"one-clvm/lab/cluster"
	"one-clvm/test/fakeoned"
)

// recovery bounds what the nodes do by themselves: they are emulated, and not alone.
const recovery = 4 * time.Minute

// otherVM runs on node2, where the drills are done.
const otherVM = 43

// The drills, with the test for the administrator who pulls cables. Then a fault that
// can only be mended by a node that starts anew.
func TestDrills(t *testing.T) {
	t.Parallel()
	c := startClinic(t)
	one, two := c.Nodes[0], c.Nodes[1]
	steps := []struct {
		name string
		do   func()
	}{
		{"path", func() { c.losePath(two) }},
		{"migration", func() { c.migrate(vmID, one, two) }},
		{"network", func() { c.loseNetwork(two, one) }},
		{"withdrawn", func() { c.withdraw(two) }},
		{"SAN", func() { c.loseSAN(two, one) }},
	}
	for _, s := range steps {
		started := time.Now()
		s.do()
		t.Logf("%s: %s", s.name, time.Since(started).Round(time.Second))
	}
}

// prompt is told what a program says, and closes asked when that has the question.
type prompt struct {
	question string
	text     bytes.Buffer // not embedded: what reads into a buffer by itself passes Write by
	asked    chan struct{}
	once     sync.Once
}

func (p *prompt) Write(text []byte) (int, error) {
	n, err := p.text.Write(text)
	if strings.Contains(p.text.String(), p.question) {
		p.once.Do(func() { close(p.asked) })
	}
	return n, err
}

// drill does one as it says: the fault, then Enter. It must be passed.
func (c clinic) drill(name string, n *cluster.Node, fault func(), more ...string) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), 2*recovery)
	defer cancel()
	out, errs := &prompt{question: "Press Enter", asked: make(chan struct{})}, &bytes.Buffer{}
	keyboard, keys := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		_, err := run.Exec{}.Run(ctx, run.Cmd{
			Path: c.program, Args: append([]string{"doctor", "drill", name, n.Name, "--wait", recovery.String()}, more...), Env: c.environment(),
			Stdin: keyboard, Stdout: out, Stderr: errs,
		})
		ended <- err
	}()
	select {
	case <-out.asked:
	case err := <-ended:
		require.FailNow(c, "the drill does not start", "%v: %s", err, errs)
	}
	fault()
	_, err := io.WriteString(keys, "\n")
	require.NoError(c, err)
	require.NoError(c, keys.Close())
	require.NoError(c, <-ended, "%s%s", out.text.String(), errs)
	require.Contains(c, out.text.String(), "as it must be")
}

func (c clinic) awaits(what string, is func() bool) {
	c.Helper()
	require.Eventually(c, is, recovery, 50*time.Millisecond, what)
}

// losePath has two paths to the group's disk, loses one, and gets it back.
func (c clinic) losePath(n *cluster.Node) {
	f := c.find("fencing", "", "nobody has seen it work")
	require.Contains(c, f.Fix.Command, "doctor drill network")
	_, second := c.overPaths(n, strings.Replace(multipathConf, "no_path_retry queue", "no_path_retry 12", 1))
	require.Len(c, c.examine(), 1, "two paths, and a queue that ends")
	c.drill("path", n, func() { require.NoError(c, n.BreakPath(c.Context(), second)) })
	require.NoError(c, n.MendPath(c.Context(), second))
	c.eventually(func() bool { return c.activePaths(n) == 2 }, "the path is back")
}

// migrate is what oned does in a live migration, but for the VM itself.
func (c clinic) migrate(vm int, from, to *cluster.Node) {
	document := func(n *cluster.Node) string {
		text := fakeoned.VM{ID: vm, Name: "vm", Host: n.Name, LCMState: 3, Disks: []fakeoned.Disk{fakeoned.VolatileDisk(0, "", 40)}}.Document()
		c.oned.Put(fakeoned.VMs, vm, text)
		return base64.StdEncoding.EncodeToString([]byte(text)) + "\n"
	}
	c.drill("migration", to, func() {
		stdin := document(from)
		for _, verb := range []string{"premigrate", "postmigrate"} {
			r := c.verb(strings.NewReader(stdin), verb, append([]string{from.Name, to.Name, home(vm)}, of(vm, fakeoned.SystemDS)...)...)
			require.Zero(c, r.status, r.stderr)
		}
		document(to)
	}, "--vm", fmt.Sprint(vm))
}

// takenOver is what a cluster and its hook do once the node is fenced, once more than before.
func (c clinic) takenOver(lost, by *cluster.Node, before int, vms ...int) {
	c.awaits(lost.Name+" is fenced", func() bool { return c.fencings(lost) > before })
	for _, vm := range vms {
		c.awaits("its disk is free", func() bool {
			_, err := by.Output(c.Context(), "lvchange", "-aey", cluster.Group+"/"+volume(vm, 0))
			return err == nil
		})
		c.Output(c.T, by, "chown", "oneadmin:oneadmin", "/dev/"+cluster.Group+"/"+volume(vm, 0))
		c.runs(vm, by)
	}
}

func (c clinic) runs(vm int, on *cluster.Node) {
	c.oned.Put(fakeoned.VMs, vm, fakeoned.VM{ID: vm, Name: "vm", Host: on.Name, LCMState: 3}.Document())
}

// fencings is how often the fence device has switched the node off.
func (c clinic) fencings(n *cluster.Node) int {
	requests, err := c.Fenced()
	assert.NoError(c, err)
	return strings.Count(strings.Join(requests, "\n"), "off "+n.Name+": ok")
}

// joins brings a node back that was off.
func (c clinic) joins(n *cluster.Node) {
	ctx, cancel := context.WithTimeout(c.Context(), 2*recovery)
	defer cancel()
	require.NoError(c, c.Boot(ctx, n))
	c.prepare(n)
	c.shareHome(n)
}

// loseNetwork takes the node's cables, by which it reached its fence device, too.
func (c clinic) loseNetwork(n, other *cluster.Node) {
	c.disk(n, otherVM)
	c.runs(otherVM, n)
	fencings := c.fencings(n)
	c.drill("network", n, func() {
		c.Output(c.T, n, "rm", "/usr/sbin/fence_lab")
		require.NoError(c, n.Cut(c.Context(), cluster.Private))
		c.takenOver(n, other, fencings, vmID, otherVM)
	})
	c.joins(n)
	require.Empty(c, c.examine(), "fencing was seen working, and the node is back")
}

// withdraw: a node that gave its GFS2 up can only be started anew.
func (c clinic) withdraw(n *cluster.Node) {
	// Whoever withdraws waits for the others to recover the journal.
	c.Output(c.T, n, "sh", "-c", "(echo 1 > /sys/fs/gfs2/lab:home/withdraw) < /dev/null > /dev/null 2>&1 &")
	c.awaits("it has withdrawn", func() bool { return c.Output(c.T, n, "cat", "/sys/fs/gfs2/lab:home/withdraw") == "1\n" })
	f := c.find("GFS2", n.Name, "has withdrawn")
	require.Equal(c, n.Name, f.Fix.On)
	ctx, cancel := context.WithTimeout(c.Context(), recovery)
	defer cancel()
	fencings := c.fencings(n)
	_, err := n.Output(ctx, "sh", "-c", f.Fix.Command)
	require.Error(c, err, "it does not come back")
	c.awaits("it is fenced", func() bool { return c.fencings(n) > fencings })
	c.joins(n)
	require.Empty(c, c.examine())
}

// loseSAN: nothing on this cluster watches its disks; a cluster manager, which the test
// stands for, fences a node on which a stop fails.
func (c clinic) loseSAN(n, other *cluster.Node) {
	c.Output(c.T, other, "lvchange", "-an", cluster.Group+"/"+volume(otherVM, 0))
	c.Output(c.T, n, "lvchange", "-aey", cluster.Group+"/"+volume(otherVM, 0))
	c.Output(c.T, n, "chown", "oneadmin:oneadmin", "/dev/"+cluster.Group+"/"+volume(otherVM, 0))
	c.runs(otherVM, n)
	fencings := c.fencings(n)
	c.drill("san", n, func() {
		require.NoError(c, n.BreakDisks(c.Context()))
		c.Output(c.T, other, "fence_lab", "-o", "off", "-n", n.Name)
		c.takenOver(n, other, fencings, otherVM)
	})
}
