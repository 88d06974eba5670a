//go:build lab

package lab

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
	"one-clvm/lab/cluster"
	"one-clvm/lab/profile"
	"one-clvm/lvm"
	"one-clvm/test/fakeoned"
)

// startHA starts nodes that run VMs, and gives them the drivers' scripts as "onehost sync" does.
func startHA(t *testing.T, p profile.Profile) *site {
	t.Helper()
	t.Parallel()
	s := start(t, p, nil)
	for _, n := range s.Nodes {
		s.syncHost(n)
	}
	return s
}

func (s *site) syncHost(n *cluster.Node) {
	s.Helper()
	for name, text := range map[string]string{
		"VERSION":           "7.4.0\n",
		"etc/tm/clvm/cxmrc": "START_TIMEOUT=240\nSHUTDOWN_TIMEOUT=120\nMIGRATION_TIMEOUT=300\nSETTLE_TIMEOUT=120\nVG_NAME=" + cluster.Group + "\n",
	} {
		require.NoError(s, n.Put(s.Context(), cluster.Remotes+"/"+name, strings.NewReader(text), 0o644, cluster.OneadminID))
	}
}

// driver runs a script of the VMM driver on a host, as oned does.
func (s *site) driver(host, stdin, verb string, vm int, argv ...string) result {
	s.Helper()
	return s.driverFrom(host, host, stdin, verb, vm, argv...)
}

// driverFrom runs a script of the VMM driver on a machine in the way of one_vmm_exec: as
// oneadmin, with the VM's id and its host appended.
func (s *site) driverFrom(machine, host, stdin, verb string, vm int, argv ...string) result {
	s.Helper()
	began := time.Now()
	answer, err := run.Exec{}.Run(s.Context(), run.Cmd{Path: "ssh", Args: s.script(machine, host, verb, vm, argv...), Stdin: strings.NewReader(stdin)})
	var failed *run.Error
	if err != nil && !errors.As(err, &failed) {
		s.Errorf("%s: %v", verb, err)
	}
	s.Logf("%5.1f s %s of VM %d on %s\n%s", time.Since(began).Seconds(), verb, vm, host, answer.Stderr)
	return result{answer.Status, string(answer.Stdout), string(answer.Stderr)}
}

// script are the arguments of ssh for a script of the VMM driver.
func (s *site) script(machine, host, verb string, vm int, argv ...string) []string {
	words := []string{cluster.Remotes + "/vmm/rhcs/" + verb}
	for _, word := range append(argv, strconv.Itoa(vm), host) {
		words = append(words, "'"+word+"'")
	}
	return []string{"-F", s.SSHConfig(), "-l", "oneadmin", machine, strings.Join(words, " ")}
}

// drives is a call of the driver that succeeds.
func (s *site) drives(host, verb string, vm int, argv ...string) {
	s.Helper()
	r := s.driver(host, s.action(vm), verb, vm, argv...)
	require.Zero(s, r.status, "%s: %s", verb, r.stderr)
}

// action is what oned tells a verb on standard input.
func (s *site) action(vm int) string {
	return "<VMM_DRIVER_ACTION_DATA>" + s.oned.Document(fakeoned.VMs, vm) + "</VMM_DRIVER_ACTION_DATA>"
}

// argument is the same, for the verbs that have it as an argument, too.
func (s *site) argument(vm int) string {
	return base64.StdEncoding.EncodeToString([]byte(s.action(vm)))
}

func (s *site) deploy(host string, vm int) {
	s.Helper()
	r := s.driver(host, guestDomain(vm), "deploy", vm, home(vm)+"/deployment.0", host)
	require.Zero(s, r.status, r.stderr)
	require.Equal(s, name(vm)+"\n", r.stdout, "the deploy id")
}

func name(vm int) string { return fmt.Sprintf("one-%d", vm) }

func checkpoint(vm int) string { return home(vm) + "/checkpoint" }

// configuration of the cluster, but for the time of the last crm_resource --refresh, which
// Pacemaker itself keeps there.
func (s *site) configuration(n *cluster.Node) string {
	s.Helper()
	var kept strings.Builder
	for line := range strings.Lines(s.Output(s.T, n, "cibadmin", "-Q", "-o", "configuration")) {
		if !strings.Contains(line, `name="last-lrm-refresh"`) {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// domstate is what libvirt says of a VM; "" where it has no such domain.
func (s *site) domstate(n *cluster.Node, vm int) string {
	s.Helper()
	r, err := n.Run(s.Context(), run.Cmd{Path: "virsh", Args: []string{"-c", "qemu:///system", "domstate", name(vm)}})
	if err != nil {
		require.Contains(s, string(r.Stderr), "failed to get domain")
		return ""
	}
	return strings.TrimSpace(string(r.Stdout))
}

// runsOn: the VM's domain and its volume are on that node alone.
func (s *site) runsOn(n *cluster.Node, vm int) guest {
	s.Helper()
	for _, other := range s.Nodes {
		want, mode := "", lvm.Off
		if other == n {
			want, mode = "running", lvm.Exclusive
		}
		assert.Equal(s, want, s.domstate(other, vm), other.Name)
		assert.Equal(s, mode, s.volumes(other)[volume(vm, 0)].Mode, other.Name)
	}
	return s.writing(n, vm)
}

// isOffEverywhere: no node has the domain, and the cluster has no service of it.
func (s *site) isOffEverywhere(vm int) {
	s.Helper()
	for _, n := range s.Nodes {
		assert.Empty(s, s.domstate(n, vm), n.Name)
	}
	assert.NotContains(s, s.configuration(s.Nodes[0]), name(vm))
}

func (s *site) document(vm int) string {
	return base64.StdEncoding.EncodeToString([]byte(s.oned.Document(fakeoned.VMs, vm))) + "\n"
}

// windowVerb is a verb of a live migration between two hosts.
func (s *site) windowVerb(verb, from, to string, vm int) {
	s.Helper()
	r := s.verb(strings.NewReader(s.document(vm)), verb, append([]string{from, to, home(vm)}, of(vm, fakeoned.SystemDS)...)...)
	require.Zero(s, r.status, "%s: %s", verb, r.stderr)
}

// moves carries a VM's disk and home between two hosts, as oned does when it does not run.
func (s *site) moves(from, to string, vm int) {
	s.Helper()
	s.ok("mv", append([]string{at(from, vm, 0), at(to, vm, 0)}, of(vm, fakeoned.ImageDS)...)...)
	s.ok("mv", append([]string{from + ":" + home(vm), to + ":" + home(vm)}, of(vm, fakeoned.SystemDS)...)...)
}

func (s *site) deletes(n *cluster.Node, vm int) {
	s.Helper()
	s.ok("delete", append([]string{at(n.Name, vm, 0)}, of(vm, fakeoned.ImageDS)...)...)
	s.ok("delete", append([]string{n.Name + ":" + home(vm)}, of(vm, fakeoned.SystemDS)...)...)
	assert.NotContains(s, s.volumes(n), volume(vm, 0))
}

// standby says whether a node may have services, until it starts anew.
func (s *site) standby(n *cluster.Node, value string) {
	s.Helper()
	s.Output(s.T, n, "crm_attribute", "--node", n.Name, "--name", "standby", "--update", value, "--lifetime", "reboot")
}

// settled: the cluster has the VM on exactly that node, and is doing nothing with it.
func (s *site) settled(n *cluster.Node, vm int) bool {
	s.Helper()
	report := s.Output(s.T, n, "crm_mon", "-1", "--output-as=xml", "--resource="+name(vm), "--exclude=all", "--include=resources")
	return strings.Contains(report, `<node name="`+n.Name+`"`) && strings.Contains(report, `nodes_running_on="1"`) &&
		strings.Contains(report, `role="Started"`) && !strings.Contains(report, "pending=")
}

// comesTo waits until the cluster has the VM on that node.
func (s *site) comesTo(n *cluster.Node, vm int) {
	s.Helper()
	s.await(name(vm)+" runs on "+n.Name, func() bool { return s.domstate(n, vm) == "running" && s.settled(n, vm) })
}

// process is that of the VM's hypervisor, "" where there is none: one that was migrated to or
// started anew is another.
func (s *site) process(n *cluster.Node, vm int) string {
	s.Helper()
	text, err := n.Output(s.Context(), "cat", "/run/libvirt/qemu/"+name(vm)+".pid")
	var failed *run.Error
	if errors.As(err, &failed) && failed.Status == 1 {
		return ""
	}
	require.NoError(s, err)
	return strings.TrimSpace(text)
}

// crashes has the hypervisor of a VM end, and waits until the cluster has started it anew there.
func (s *site) crashes(n *cluster.Node, vm int) {
	s.Helper()
	before := s.process(n, vm)
	require.NotEmpty(s, before)
	s.Output(s.T, n, "virsh", "-c", "qemu:///system", "destroy", name(vm))
	s.await("another process runs it", func() bool { is := s.process(n, vm); return is != "" && is != before })
	s.comesTo(n, vm)
	s.awaitGuest(n, vm, "the guest boots", func(g guest) bool { return g.boots == 2 })
}

// lockSample is how two nodes had the VM's volume at some time.
type lockSample struct {
	modes        [2]lvm.Mode
	began, ended time.Time
}

// sample asks the lock manager, again and again, in which modes two nodes have the VM's volume,
// until end, which gives all that was seen.
func (s *site) sample(nodes ...*cluster.Node) (end func() []lockSample) {
	s.Helper()
	var samples []lockSample
	var failed error
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for failed == nil {
			sample := lockSample{began: time.Now()}
			for i, n := range nodes {
				list, err := s.group(n).Volumes(s.Context())
				for _, v := range list {
					if v.Name == volume(vmID, 0) {
						sample.modes[i] = v.Mode
					}
				}
				failed = errors.Join(failed, err)
			}
			sample.ended = time.Now()
			samples = append(samples, sample)
			select {
			case <-stop:
				return
			case <-time.After(500 * time.Millisecond):
			}
		}
	}()
	return func() []lockSample {
		s.Helper()
		close(stop)
		<-stopped
		require.NoError(s, failed)
		return samples
	}
}

// plugged is what the running domain has as a disk.
func (s *site) plugged(n *cluster.Node, vm int, target string) string {
	s.Helper()
	for line := range strings.Lines(s.Output(s.T, n, "virsh", "-c", "qemu:///system", "domblklist", name(vm))) {
		if words := strings.Fields(line); len(words) == 2 && words[0] == target {
			return words[1]
		}
	}
	return ""
}
