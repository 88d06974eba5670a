package clustertest

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
)

// Subject is a cluster with a stack, for Conformance: a double, or a real one on the lab.
type Subject struct {
	Nodes []string // two at least; services are told by Service
	// On is what carries orders out on a node.
	On      func(node string) *cluster.Executor
	Service func(vm int) cluster.Service
	// Configuration is the cluster's, but for a count of its changes.
	Configuration func() string
	// Fail switches a node off for the rest of the test; nil where that takes another test.
	Fail func(node string)
	// Ready waits until the guest of a VM, which runs on a node now, does what it is asked after
	// that verb; nil where guests always do.
	Ready func(verb cluster.Verb, vm int, node string)
}

func (s *Subject) do(t *testing.T, verb cluster.Verb, vm int, node, to string) {
	t.Helper()
	require.NoError(t, s.try(t, verb, vm, node, to), "%s of VM %d on %s", verb, vm, node)
}

func (s *Subject) try(t *testing.T, verb cluster.Verb, vm int, node, to string) error {
	t.Helper()
	service := s.Service(vm)
	o := cluster.Order{Verb: verb, Service: service, Node: node, To: to}
	if verb == cluster.VerbSave || verb == cluster.VerbRestore {
		o.File = service.Definition + ".checkpoint"
	}
	return s.On(node).Do(t.Context(), o)
}

// runs asks the cluster and the hypervisor of each node.
func (s *Subject) runs(t *testing.T, vm int, where string) {
	t.Helper()
	for _, node := range s.Nodes {
		state, err := s.On(node).Stack.Observe(t.Context(), s.Service(vm))
		require.NoError(t, err)
		assert.Equal(t, node == where, state.Domain.Alive(), "VM %d on %s", vm, node)
		if where == "" {
			assert.Empty(t, state.Service.Running)
		} else {
			assert.Equal(t, []string{where}, state.Service.Running)
		}
	}
}

// ready is Ready of a VM that runs.
func (s *Subject) ready(verb cluster.Verb, vm int, where string) {
	if s.Ready != nil && where != "" {
		s.Ready(verb, vm, where)
	}
}

// Conformance is what every stack of a cluster does: the same life of a VM, and nothing
// left of it in the end.
func Conformance(t *testing.T, s *Subject) {
	a, b := s.Nodes[0], s.Nodes[1]
	before := s.Configuration()
	steps := []struct {
		name  string
		verb  cluster.Verb
		on    string
		to    string
		where string
	}{
		{"deploy", cluster.VerbStart, a, "", a}, {"deploy again", cluster.VerbStart, a, "", a},
		{"migrate", cluster.VerbMigrate, a, b, b}, {"migrate again", cluster.VerbMigrate, a, b, b}, {"migrate back", cluster.VerbMigrate, b, a, a},
		{"reboot", cluster.VerbReboot, a, "", a}, {"reset", cluster.VerbReset, a, "", a},
		{"save", cluster.VerbSave, a, "", ""}, {"restore on the other node", cluster.VerbRestore, b, "", b},
		{"shutdown", cluster.VerbShutdown, b, "", ""}, {"shutdown again", cluster.VerbShutdown, b, "", ""},
		{"deploy on the other node", cluster.VerbStart, b, "", b}, {"cancel from elsewhere", cluster.VerbCancel, a, "", ""}, {"cancel again", cluster.VerbCancel, a, "", ""},
	}
	for _, step := range steps {
		s.do(t, step.verb, 42, step.on, step.to)
		s.runs(t, 42, step.where)
		s.ready(step.verb, 42, step.where)
	}
	assert.Equal(t, before, s.Configuration(), "nothing is left")
	for _, verb := range []cluster.Verb{cluster.VerbReboot, cluster.VerbReset, cluster.VerbSave} {
		require.ErrorIs(t, s.try(t, verb, 42, a, ""), cluster.ErrRefused, "%s of a VM that is off", verb)
	}
	require.ErrorIs(t, s.try(t, cluster.VerbMigrate, 42, a, "nowhere"), cluster.ErrRefused)
	if s.Fail == nil {
		return
	}
	s.Fail(b)
	s.Nodes = []string{a}
	s.do(t, cluster.VerbStart, 43, a, "")
	s.runs(t, 43, a)
	s.do(t, cluster.VerbCancel, 43, a, "")
	s.runs(t, 43, "")
	assert.Equal(t, before, s.Configuration(), "a node that is down stops neither")
}

// Crowd deploys VMs and cancels as many others at once, from two nodes: each verb succeeds,
// and no change of the configuration is lost.
func Crowd(t *testing.T, s *Subject, each int) {
	before := s.Configuration()
	all := func(verb func(i int) cluster.Verb, count int) {
		var wait sync.WaitGroup
		errs := make([]error, count)
		for i := range count {
			wait.Add(1)
			go func() {
				defer wait.Done()
				if errs[i] = s.try(t, verb(i), i, s.Nodes[i%2], ""); errs[i] != nil {
					errs[i] = fmt.Errorf("VM %d: %w", i, errs[i])
				}
			}()
		}
		wait.Wait()
		for _, err := range errs {
			assert.NoError(t, err)
		}
	}
	all(func(int) cluster.Verb { return cluster.VerbStart }, each)
	all(func(i int) cluster.Verb {
		if i < each {
			return cluster.VerbCancel
		}
		return cluster.VerbStart
	}, 2*each)
	for vm := range 2 * each {
		where := s.Nodes[vm%2]
		if vm < each {
			where = ""
		}
		s.runs(t, vm, where)
	}
	all(func(int) cluster.Verb { return cluster.VerbCancel }, 2*each)
	assert.Equal(t, before, s.Configuration(), "nothing is left")
}
