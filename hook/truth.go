// Package hook tells OpenNebula what a cluster did to its VMs by itself: moved, restarted or
// stopped them. Whatever the cluster calls (hook/entrance) only appends to a spool. A
// delivery asks the cluster where the VM really is, and reports that to a front-end, where
// oned's record is brought to the truth: a decision that is a function of the record and the
// truth, and calls of oned's API. Telling moves no VM.
package hook

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"one-clvm/hook/entrance"
	"one-clvm/internal/lazyregexp"
	"one-clvm/opennebula"
)

// Fate is what a cluster knows of a node. The zero value is not to know.
type Fate string

// The fates.
const (
	Alive  Fate = "alive"
	Fenced Fate = "fenced" // proved to be off
	Lost   Fate = "lost"   // gone, and not proved to be off
)

// Truth is where a VM really is, as the cluster and its hypervisors say.
type Truth struct {
	VM     int             `json:"vm"`
	On     string          `json:"on"`              // the node that runs it; "": none does
	Moving bool            `json:"moving"`          // the cluster is about to change that
	Doubt  string          `json:"doubt,omitempty"` // why all this is not certain; "": it is
	Nodes  map[string]Fate `json:"nodes"`
	Seen   time.Time       `json:"seen"`
}

// Sentinels of a Cluster. Test with errors.Is.
var (
	// ErrForeign: a service or domain that is no VM of OpenNebula.
	ErrForeign = errors.New("not a VM of OpenNebula")
	// ErrNoCluster: there is nobody to ask where VMs are.
	ErrNoCluster = errors.New("no cluster can be asked where its VMs are")
)

// Cluster is asked for the truth.
type Cluster interface {
	// Identify finds which VM a service or domain is, by the metadata that the drivers gave
	// it, never by its name. ErrForeign.
	Identify(ctx context.Context, name string) (vm int, err error)
	// Where says where a VM is now. An error, or Truth.Doubt, where that is not certain.
	Where(ctx context.Context, vm int) (Truth, error)
}

// TakenOffline is the truth with a person's word: a node that does not live, and that oned has
// OFFLINE (onehost offline), is off as if it had been fenced. Of some clusters no tool tells that
// a node was fenced.
func (t Truth) TakenOffline(hosts []opennebula.Host) Truth {
	nodes := map[string]Fate{}
	maps.Copy(nodes, t.Nodes)
	for _, h := range hosts {
		if h.State == opennebula.HostOffline && nodes[h.Name] != Alive {
			nodes[h.Name] = Fenced
		}
	}
	t.Nodes = nodes
	return t
}

// A report is a truth in one line, the only thing that the key of a node can say:
//
//	report/1 vm=42 on=node2 seen=1763728000123456789 alive=node1,node2 fenced=node3 lost=
//
// Words are parted by one blank and stand in this order; on, alive, fenced and lost may be
// empty; seen is in nanoseconds since 1970.
const (
	reportWord = "report/1"
	maxReport  = 4096 // bytes
	maxNodes   = 64
	maxNode    = 253 // bytes of a name
)

// ErrReport says that a line is no report.
var ErrReport = errors.New("not a report")

var reportLine = lazyregexp.New(`^report/1 vm=([0-9]{1,10}) on=([A-Za-z0-9._-]*) seen=([0-9]{1,19})` +
	` alive=([A-Za-z0-9._,-]*) fenced=([A-Za-z0-9._,-]*) lost=([A-Za-z0-9._,-]*)$`)

// Line is the truth as a report.
func (t Truth) Line() (string, error) {
	line := fmt.Sprintf("%s vm=%d on=%s seen=%d alive=%s fenced=%s lost=%s", reportWord, t.VM, t.On, t.Seen.UnixNano(),
		t.nodes(Alive), t.nodes(Fenced), t.nodes(Lost))
	_, err := ParseReport(line)
	return line, err
}

func (t Truth) nodes(fate Fate) string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(t.Nodes)) {
		if t.Nodes[name] == fate {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// ParseReport reads a report: exactly what Line writes, or ErrReport.
func ParseReport(line string) (Truth, error) {
	if len(line) > maxReport {
		return Truth{}, fmt.Errorf("%w: %d bytes", ErrReport, len(line))
	}
	m := reportLine.FindStringSubmatch(line)
	if m == nil {
		return Truth{}, fmt.Errorf("%w: %s", ErrReport, entrance.Quote(line))
	}
	vm, err := entrance.ParseVM(m[1])
	if err != nil {
		return Truth{}, fmt.Errorf("%w: %w", ErrReport, err)
	}
	seen, err := strconv.ParseInt(m[3], 10, 64)
	if err != nil || strconv.FormatInt(seen, 10) != m[3] {
		return Truth{}, fmt.Errorf("%w: seen=%s", ErrReport, m[3])
	}
	if len(m[2]) > maxNode {
		return Truth{}, fmt.Errorf("%w: on=%s", ErrReport, entrance.Quote(m[2]))
	}
	t := Truth{VM: vm, On: m[2], Seen: time.Unix(0, seen), Nodes: map[string]Fate{}}
	for i, fate := range []Fate{Alive, Fenced, Lost} {
		if err := t.addNodes(m[4+i], fate); err != nil {
			return Truth{}, err
		}
	}
	return t, t.onLiving()
}

// onLiving: a VM runs on nodes that live.
func (t Truth) onLiving() error {
	if t.On != "" && t.Nodes[t.On] != Alive {
		return fmt.Errorf("%w: VM %d cannot run on %s, which is not alive", ErrReport, t.VM, entrance.Quote(t.On))
	}
	return nil
}

func (t Truth) addNodes(list string, fate Fate) error {
	if list == "" {
		return nil
	}
	for _, name := range strings.Split(list, ",") {
		if _, twice := t.Nodes[name]; twice || opennebula.CheckHost(name) != nil {
			return fmt.Errorf("%w: node %s", ErrReport, entrance.Quote(name))
		}
		if t.Nodes[name] = fate; len(t.Nodes) > maxNodes {
			return fmt.Errorf("%w: more than %d nodes", ErrReport, maxNodes)
		}
	}
	return nil
}
