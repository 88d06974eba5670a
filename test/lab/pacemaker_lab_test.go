//go:build lab

package lab

import (
	"context"
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	service "one-clvm/cluster"
	"one-clvm/cluster/clustertest"
	"one-clvm/cluster/pacemaker"
	"one-clvm/cluster/virsh"
	"one-clvm/lab/cluster"
	"one-clvm/lab/profile"
	"one-clvm/lab/wire"
	"one-clvm/lvm"
)

// The suite of all clusters, which the doubles of rgmanager and cxm pass, on Pacemaker itself.
// The guests have files for disks: volumes are the transfer manager's, which takes no part.
func TestConformanceOfPacemaker(t *testing.T) {
	s := startHA(t, profile.HA)
	subject := s.subject()
	subject.Ready = s.readiness()
	subject.Fail = func(node string) {
		n, err := s.Node(node)
		require.NoError(s, err)
		require.NoError(s, n.Kill())
		s.await(node+" is fenced", func() bool { return strings.Contains(s.fencing(), "off "+node+": "+wire.FenceDone) })
	}
	for _, vm := range []int{42, 43} {
		s.defines(vm, strings.NewReplacer("disk type='block'", "disk type='file'", "source dev=", "source file=").Replace(guestDomain(vm)))
		s.copies(s.guestDisk("guest", 8), home(vm)+"/disk.0")
	}
	clustertest.Conformance(t, subject)
}

// subject has orders carried out as the driver's privileged end carries them out, by the tools
// of the nodes.
func (s *site) subject() *clustertest.Subject {
	on := map[string]*service.Executor{}
	var names []string
	for _, n := range s.Nodes {
		client := &virsh.Client{Runner: n, MigrationURI: "qemu+ssh://%s/system"}
		document := func() (string, error) { return n.Output(s.Context(), "cat", home(42)+"/domain.xml") } // the only one that is restored
		on[n.Name] = &service.Executor{
			Stack: &pacemaker.Stack{Runner: n, Virsh: client, Document: document}, Runner: n, Clock: service.RealClock{},
			Volumes: func(context.Context, lvm.Mode) error { return nil }, Log: func(string, ...any) {},
		}
		names = append(names, n.Name)
	}
	return &clustertest.Subject{
		Nodes: names, On: func(node string) *service.Executor { return on[node] },
		Service: func(vm int) service.Service {
			return service.Service{
				VM: vm, Name: name(vm), Definition: path.Join(home(vm), "domain.xml"), Hypervisor: "qemu:///system",
				Patience: service.Patience{Start: guestTime, Shutdown: time.Minute, Stop: guestTime, Migrate: guestTime, Settle: guestTime},
			}
		},
		Configuration: func() string { return s.configuration(s.Nodes[0]) },
	}
}

// fencing is what the power switch was asked for.
func (s *site) fencing() string {
	s.Helper()
	lines, err := s.Fenced()
	require.NoError(s, err)
	return strings.Join(lines, "\n")
}

// defines makes the home of a VM, with its domain.
func (s *site) defines(vm int, domain string) {
	s.Helper()
	n := s.Nodes[0]
	s.Output(s.T, n, "install", "-d", "-o", "oneadmin", "-g", "oneadmin", home(vm))
	require.NoError(s, n.Put(s.Context(), home(vm)+"/domain.xml", strings.NewReader(domain), 0o644, cluster.OneadminID))
}

// copies puts a file of this machine onto the shared file system.
func (s *site) copies(from, to string) {
	s.Helper()
	require.NoError(s, s.Nodes[0].PutFile(s.Context(), from, to, 0o600))
	s.Output(s.T, s.Nodes[0], "chown", "oneadmin:oneadmin", to)
}

// readiness is of guests whose disk is a file on the shared home. One that was told to reboot,
// or reset, has done so once it has booted again.
func (s *site) readiness() func(service.Verb, int, string) {
	boots := map[int]int{}
	return func(verb service.Verb, vm int, node string) {
		n, err := s.Node(node)
		require.NoError(s, err)
		least := boots[vm]
		if verb == service.VerbReboot || verb == service.VerbReset {
			least++
		}
		first := s.guestAt(n, home(vm)+"/disk.0")
		s.await(fmt.Sprintf("the guest writes after %s", verb), func() bool {
			g := s.guestAt(n, home(vm)+"/disk.0")
			boots[vm] = g.boots
			return g.boots >= least && g.writes > first.writes+1
		})
	}
}
