package hook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
	"one-clvm/internal/run"
)

// site is a cluster of n1, n2 and n3, as its manager and its hypervisors have it.
type site struct {
	survey  cluster.Survey
	down    error
	active  map[string]string // domains by node
	silent  string            // the node whose hypervisor gives no answer
	surveys int
	asked   []string
}

func newSite() *site {
	return &site{active: map[string]string{}, survey: cluster.Survey{
		Self: "n1", Quorate: true, Nodes: []cluster.Node{{Name: "n1", Online: true}, {Name: "n2", Online: true}, {Name: "n3", Unclean: true}},
		VMs: []cluster.Surveyed{{Name: "web", Definition: "/ds/0/42/cluster.xml", Condition: cluster.Condition{Defined: true}}},
	}}
}

func (s *site) Survey(context.Context) (cluster.Survey, error) {
	s.surveys++
	return s.survey, s.down
}

func (s *site) nodes() *Nodes {
	return &Nodes{Manager: s, Now: func() time.Time { return noon }, Active: func(_ context.Context, node string) ([]string, error) {
		s.asked = append(s.asked, node)
		if node == "" {
			node = s.survey.Self
		}
		if node == s.silent {
			return nil, errors.New("no answer")
		}
		return strings.Fields(s.active[node]), nil
	}}
}

func TestWhere(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(s *site, v *cluster.Condition)
		on      string
		moving  bool
		doubt   string
	}{
		"runs":            {prepare: func(s *site, v *cluster.Condition) { v.Running, s.active["n2"] = []string{"n2"}, "x web" }, on: "n2"},
		"runs here":       {prepare: func(s *site, v *cluster.Condition) { v.Running, s.active["n1"] = []string{"n1"}, "web" }, on: "n1"},
		"stopped":         {prepare: func(_ *site, v *cluster.Condition) { v.Stopped = true }},
		"migrating":       {prepare: func(_ *site, v *cluster.Condition) { v.Running, v.Pending = []string{"n1", "n2"}, "migrating" }, moving: true},
		"node has failed": {prepare: func(_ *site, v *cluster.Condition) { v.Running = []string{"n3"} }, moving: true},
		"no quorum": {prepare: func(s *site, v *cluster.Condition) {
			v.Running, s.active["n2"], s.survey.Quorate = []string{"n2"}, "web", false
		}, doubt: "no quorum"},
		"on two":           {prepare: func(_ *site, v *cluster.Condition) { v.Running = []string{"n1", "n2"} }, doubt: "n1 and n2"},
		"not managed":      {prepare: func(_ *site, v *cluster.Condition) { v.Running, v.Frozen = []string{"n1"}, true }, doubt: "not managed"},
		"died just now":    {prepare: func(_ *site, v *cluster.Condition) { v.Running = []string{"n2"} }, doubt: "whose libvirt has no domain web"},
		"libvirt is down":  {prepare: func(s *site, v *cluster.Condition) { v.Running, s.silent = []string{"n2"}, "n2" }, doubt: "may run on n2"},
		"one libvirt down": {prepare: func(s *site, _ *cluster.Condition) { s.silent = "n2" }, doubt: "may run on n2"},
		"outside of the cluster": {prepare: func(s *site, _ *cluster.Condition) {
			s.active["n2"] = "web"
		}, doubt: "runs on n2, and the cluster did not start it"},
		"two copies outside": {prepare: func(s *site, _ *cluster.Condition) {
			s.active["n1"], s.active["n2"] = "web", "web"
		}, doubt: "n1 and n2"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite()
			c.prepare(s, &s.survey.VMs[0].Condition)
			truth, err := s.nodes().Where(t.Context(), 42)
			require.NoError(t, err)
			assert.Equal(t, []any{42, c.on, c.moving}, []any{truth.VM, truth.On, truth.Moving})
			assert.Contains(t, truth.Doubt, c.doubt)
			assert.Equal(t, c.doubt == "", truth.Doubt == "", truth.Doubt)
			assert.Equal(t, map[string]Fate{"n1": Alive, "n2": Alive, "n3": Lost}, truth.Nodes)
			assert.Equal(t, noon, truth.Seen)
		})
	}
}

func TestFates(t *testing.T) {
	s := newSite()
	s.survey.Nodes = append(s.survey.Nodes, cluster.Node{Name: "n4", Fenced: true}, cluster.Node{Name: "n5"}, cluster.Node{Name: "n6", Online: true, Unclean: true})
	truth, err := s.nodes().Where(t.Context(), 42)
	require.NoError(t, err)
	assert.Equal(t, map[string]Fate{"n1": Alive, "n2": Alive, "n3": Lost, "n4": Fenced, "n5": Lost, "n6": Lost}, truth.Nodes)
}

// A name proves nothing: the definition that the drivers wrote does.
func TestIdentify(t *testing.T) {
	s := newSite()
	s.survey.VMs = append(s.survey.VMs, cluster.Surveyed{Name: "one-7", Definition: "/ds/0/../8/cluster.xml"}, cluster.Surveyed{Name: "one-9", Definition: "/etc/passwd"})
	nodes := s.nodes()
	for range 3 {
		vm, err := nodes.Identify(t.Context(), "web")
		require.NoError(t, err)
		assert.Equal(t, 42, vm)
	}
	assert.Equal(t, 1, s.surveys, "what a service is does not change")
	for _, name := range []string{"one-42", "one-7", "one-9"} {
		_, err := nodes.Identify(t.Context(), name)
		require.ErrorIs(t, err, ErrForeign, name)
	}
	s.down = cluster.ErrDown
	_, err := nodes.Identify(t.Context(), "other")
	require.ErrorIs(t, err, ErrNoCluster)
	_, err = nodes.Where(t.Context(), 42)
	require.ErrorIs(t, err, cluster.ErrDown)
}

// VM 0 is not the one whose number is not known.
func TestWhereOfVM0(t *testing.T) {
	s := newSite()
	s.survey.VMs = []cluster.Surveyed{{Name: "one-7", Definition: "/images/deployment.0", Condition: cluster.Condition{Running: []string{"n2"}}}}
	s.active["n2"] = "one-7"
	truth, err := s.nodes().Where(t.Context(), 0)
	require.NoError(t, err)
	assert.Empty(t, truth.On+truth.Doubt)
}

// A node that was cut off does not speak for the others.
func TestAllWithoutQuorum(t *testing.T) {
	s := newSite()
	s.survey.Quorate = false
	_, err := s.nodes().All(t.Context())
	require.ErrorIs(t, err, ErrNoCluster)
}

// A VM that was removed from the cluster, and one that still runs though.
func TestNotInTheCluster(t *testing.T) {
	s := newSite()
	truth, err := s.nodes().Where(t.Context(), 7)
	require.NoError(t, err)
	assert.Empty(t, truth.On+truth.Doubt)
	s.active["n2"] = "one-7"
	truth, err = s.nodes().Where(t.Context(), 7)
	require.NoError(t, err)
	assert.Contains(t, truth.Doubt, "n2")
}

// all is what a node of that cluster answers.
func (s *site) all(t *testing.T) string {
	t.Helper()
	all, err := s.nodes().All(t.Context())
	require.NoError(t, err)
	text, err := json.Marshal(all)
	require.NoError(t, err)
	return string(text)
}

func TestAllAsksEachHypervisorOnce(t *testing.T) {
	s := newSite()
	for vm := range 20 {
		s.survey.VMs = append(s.survey.VMs, cluster.Surveyed{Name: fmt.Sprint("s", vm), Definition: fmt.Sprintf("/ds/0/%d/cluster.xml", vm), Condition: cluster.Condition{Running: []string{"n2"}}})
		s.active["n2"] += fmt.Sprint(" s", vm)
	}
	var all Whereabouts
	require.NoError(t, json.Unmarshal([]byte(s.all(t)), &all))
	assert.Len(t, all.Truths, 21)
	assert.Equal(t, "n2", all.Truths[20].On)
	assert.Equal(t, []string{"n1", "n2", "n3"}, all.Nodes)
	assert.ElementsMatch(t, []string{"", "n2"}, s.asked)
}

// nodesBySSH answers for nodes; one that is not there refuses.
type nodesBySSH struct {
	answers map[string]string
	all     *sync.WaitGroup // nobody answers before all are asked
	mutex   sync.Mutex
	asked   []string
}

func (n *nodesBySSH) Run(_ context.Context, c run.Cmd) (run.Result, error) {
	node := c.Args[len(c.Args)-2]
	n.mutex.Lock()
	n.asked = append(n.asked, node)
	n.mutex.Unlock()
	if n.all != nil {
		n.all.Done()
		n.all.Wait()
	}
	if n.answers[node] == "" {
		return run.Result{}, errors.New("connection refused")
	}
	return run.Result{Stdout: []byte(n.answers[node])}, nil
}

func TestRemote(t *testing.T) {
	s := newSite()
	s.survey.VMs[0].Condition.Running, s.active["n2"] = []string{"n2"}, "web"
	ssh := &nodesBySSH{answers: map[string]string{"n2": s.all(t)}}
	remote := &Remote{Runner: ssh, Nodes: []string{"n1", "n2", "n3"}}
	heard, err := remote.All(t.Context())
	require.NoError(t, err, "n2 has spoken for n1")
	require.Len(t, heard.Truths, 1)
	assert.Equal(t, "n2", heard.Truths[0].On)
	assert.Equal(t, map[string]bool{"n1": true, "n2": true, "n3": true}, heard.Spoken)
	assert.ElementsMatch(t, remote.Nodes, ssh.asked)
	for range 2 { // n3 says the same
		ssh.all, ssh.answers["n3"] = &sync.WaitGroup{}, ssh.answers["n2"]
		ssh.all.Add(len(remote.Nodes))
		heard, err = remote.All(t.Context())
		require.NoError(t, err)
		assert.Len(t, heard.Truths, 1, "one answer speaks for a cluster")
	}
	ssh.all = nil

	remote.Nodes = append(remote.Nodes, "other")
	heard, err = remote.All(t.Context())
	require.ErrorContains(t, err, "node other: connection refused")
	assert.NotContains(t, err.Error(), "node n1")
	assert.False(t, heard.Spoken["other"])
	assert.Len(t, heard.Truths, 1, "the other cluster's VMs are seen to")

	_, err = (&Remote{}).All(t.Context())
	require.ErrorIs(t, err, ErrNoCluster)
}

func TestWhereaboutsAreChecked(t *testing.T) {
	good := newSite().all(t)
	_, err := parseWhereabouts([]byte(good))
	require.NoError(t, err)
	for name, text := range map[string]string{
		"nothing": "", "cut off": good[:len(good)-9], "of nothing": `{"nodes":[],"truths":[]}`, "no node": strings.ReplaceAll(good, `"n1"`, `"-n1"`),
		"no VM": strings.Replace(good, `"vm":42`, `"vm":-1`, 1), "on a dead one": strings.Replace(good, `"on":""`, `"on":"n3"`, 1),
		"on an unknown one": strings.Replace(good, `"on":""`, `"on":"n9"`, 1), "more": strings.Replace(good, `"vm":`, `"x":1,"vm":`, 1),
		"too long": strings.Repeat(" ", maxTruths) + good,
	} {
		_, err := parseWhereabouts([]byte(text))
		require.ErrorIs(t, err, ErrReport, name)
	}
}

func FuzzWhereabouts(f *testing.F) {
	f.Add([]byte(`{"nodes":["n1"],"truths":[{"vm":42,"on":"n1","moving":false,"nodes":{"n1":"alive"},"seen":"2026-11-21T12:00:00Z"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		w, err := parseWhereabouts(data)
		for _, truth := range w.Truths {
			_, lineErr := truth.Line()
			if err == nil && lineErr != nil {
				t.Fatal(lineErr)
			}
		}
	})
}
