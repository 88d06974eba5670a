package hook

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"one-clvm/cluster"
	"one-clvm/hook/entrance"
	"one-clvm/opennebula"
)

// Nodes is the Cluster that a node asks: its own cluster manager, and the hypervisors of all
// nodes that live. What the two say has to agree.
type Nodes struct {
	Manager cluster.Surveyor
	// Silent: the manager calls nobody when it starts, moves or stops a VM.
	Silent bool
	// Active are the domains that hold disks on a node, "" for this one.
	Active func(ctx context.Context, node string) ([]string, error)
	Now    func() time.Time
	// Whose says whose VM a service is; nil: that stands in its definition's path.
	Whose func(cluster.Surveyed) (int, error)

	names map[string]int // VMs by service: that does not change
}

// Identify implements Cluster.
func (n *Nodes) Identify(ctx context.Context, name string) (int, error) {
	if vm, known := n.names[name]; known {
		return vm, nil
	}
	if _, err := n.survey(ctx); err != nil {
		return opennebula.None, err
	}
	if vm, known := n.names[name]; known {
		return vm, nil
	}
	return opennebula.None, fmt.Errorf("service %s: %w", name, ErrForeign)
}

func (n *Nodes) survey(ctx context.Context) (cluster.Survey, error) {
	s, err := n.Manager.Survey(ctx)
	if err != nil {
		return s, fmt.Errorf("%w: %w", ErrNoCluster, err)
	}
	whose := n.Whose
	if whose == nil {
		whose = func(v cluster.Surveyed) (int, error) { return vmOfDefinition(v.Definition) }
	}
	n.names = map[string]int{}
	for _, v := range s.VMs {
		if vm, err := whose(v); err == nil {
			n.names[v.Name] = vm
		}
	}
	return s, nil
}

// vmOfDefinition: DATASTORES/DATASTORE/VM/FILE.
func vmOfDefinition(file string) (int, error) {
	if !path.IsAbs(file) || path.Clean(file) != file {
		return opennebula.None, fmt.Errorf("%w: definition %s", entrance.ErrEvent, entrance.Quote(file))
	}
	return entrance.ParseVM(path.Base(path.Dir(file)))
}

// Where implements Cluster.
func (n *Nodes) Where(ctx context.Context, vm int) (Truth, error) {
	look := n.look(ctx)
	s, err := n.survey(ctx)
	if err != nil {
		return Truth{}, err
	}
	look.survey = s
	for _, v := range s.VMs {
		if id, ours := n.names[v.Name]; ours && id == vm {
			return look.truth(vm, v), nil
		}
	}
	// The cluster does not have it: a domain of it would be one that the drivers started.
	return look.truth(vm, cluster.Surveyed{Name: opennebula.ServiceName(vm)}), nil
}

// Whereabouts is what a node says for its whole cluster.
type Whereabouts struct {
	Nodes  []string `json:"nodes"` // of the cluster
	Truths []Truth  `json:"truths"`
}

// All says where all VMs of the cluster are. A node without quorum does not speak for it:
// those that have it may be asked.
func (n *Nodes) All(ctx context.Context) (Whereabouts, error) {
	look := n.look(ctx)
	s, err := n.survey(ctx)
	if err != nil {
		return Whereabouts{}, err
	}
	if !s.Quorate {
		return Whereabouts{}, fmt.Errorf("%w: no quorum on %s", ErrNoCluster, s.Self)
	}
	look.survey = s
	var all Whereabouts
	for _, node := range s.Nodes {
		all.Nodes = append(all.Nodes, node.Name)
	}
	for _, v := range s.VMs {
		if vm, ours := n.names[v.Name]; ours {
			all.Truths = append(all.Truths, look.truth(vm, v))
		}
	}
	return all, nil
}

// look is one look at the cluster, and at each hypervisor at most once.
type look struct {
	survey cluster.Survey
	ask    func(node string) ([]string, error)
	active map[string][]string
	silent map[string]error // hypervisors that gave no answer
	seen   time.Time
}

// hypervisorLimit bounds a question to one hypervisor.
const hypervisorLimit = 20 * time.Second

func (n *Nodes) look(ctx context.Context) *look {
	return &look{
		active: map[string][]string{}, silent: map[string]error{}, seen: n.Now(),
		ask: func(node string) ([]string, error) {
			ctx, cancel := context.WithTimeout(ctx, hypervisorLimit)
			defer cancel()
			return n.Active(ctx, node)
		},
	}
}

// truth compares what the cluster says of a VM with what hypervisors say.
func (l *look) truth(vm int, v cluster.Surveyed) Truth {
	t := Truth{VM: vm, Nodes: l.fates(), Seen: l.seen}
	c := v.Condition
	switch {
	case !l.survey.Quorate:
		t.Doubt = fmt.Sprintf("the cluster has no quorum on %s: other nodes may run it", l.survey.Self)
	case c.Frozen:
		t.Doubt = "the cluster leaves it alone for now (it is not managed)"
	case c.Pending != "":
		t.Moving = true
	case len(c.Running) > 1:
		t.Doubt = "the cluster has it on " + strings.Join(c.Running, " and ")
	case len(c.Running) == 1 && t.Nodes[c.Running[0]] != Alive:
		t.Moving = true // it is started elsewhere once that node is proved to be off
	default:
		l.compare(&t, v)
	}
	return t
}

func (l *look) fates() map[string]Fate {
	fates := map[string]Fate{}
	for _, n := range l.survey.Nodes {
		switch {
		case n.Online && !n.Unclean:
			fates[n.Name] = Alive
		case n.Fenced:
			fates[n.Name] = Fenced
		default:
			fates[n.Name] = Lost
		}
	}
	return fates
}

// compare asks the hypervisors: that of the VM's node, or all where the cluster has it on
// none.
func (l *look) compare(t *Truth, v cluster.Surveyed) {
	candidates := v.Condition.Running
	if len(candidates) == 0 {
		for _, n := range l.survey.Nodes {
			if t.Nodes[n.Name] == Alive {
				candidates = append(candidates, n.Name)
			}
		}
	}
	var on []string
	for _, node := range candidates {
		has, err := l.has(node, v.Name)
		if err != nil {
			t.Doubt = fmt.Sprintf("it may run on %s: %v", node, err)
			return
		}
		if has {
			on = append(on, node)
		}
	}
	switch running := v.Condition.Running; {
	case slices.Equal(on, running) && len(on) == 1:
		t.On = on[0]
	case !slices.Equal(on, running) && len(on) == 0:
		t.Doubt = fmt.Sprintf("the cluster has it on %s, whose libvirt has no domain %s", running[0], v.Name)
	case len(on) > 0:
		t.Doubt = fmt.Sprintf("domain %s runs on %s, and the cluster did not start it there: look with virsh list", v.Name, strings.Join(on, " and "))
	}
}

func (l *look) has(node, domain string) (bool, error) {
	if _, asked := l.active[node]; !asked {
		address := node
		if node == l.survey.Self {
			address = ""
		}
		l.active[node], l.silent[node] = l.ask(address)
	}
	return slices.Contains(l.active[node], domain), l.silent[node]
}
