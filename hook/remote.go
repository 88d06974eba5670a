package hook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"one-clvm/hook/entrance"
	"one-clvm/internal/run"
	"one-clvm/opennebula"
)

// Remote asks nodes from a front-end, over ssh and one rule of sudo: each starts
// `one-migrate-hook where`, which answers with a document of truths.
type Remote struct {
	Runner run.Runner
	Nodes  []string // one answer speaks for all nodes of its cluster
}

// whereCommand is a constant: nothing that comes from outside is in what the remote shell
// reads.
const whereCommand = "sudo -n /usr/libexec/one-clvm/one-migrate-hook where"

// whereLimit bounds one node's answer: its cluster and all hypervisors are asked. What the
// others have said must not be older than MaxAge when a sick one is given up.
const whereLimit = MaxAge / 2

// maxTruths bounds an answer, bytes: 20,000 VMs in a cluster of a few nodes.
const maxTruths = 16 << 20

// Heard is what the nodes have said.
type Heard struct {
	Truths []Truth
	// Spoken are the nodes of all clusters that have answered: a VM of theirs that is in no
	// truth is in no cluster.
	Spoken map[string]bool
}

// All asks all nodes at once, so that one that hangs makes the others' answers no older than it
// must; of each cluster the first answer counts, in the order of Nodes. With an error, what was
// heard is of the other clusters.
func (r *Remote) All(ctx context.Context) (Heard, error) {
	spoken := map[string]bool{}
	all := Heard{Spoken: spoken}
	if len(r.Nodes) == 0 {
		return all, fmt.Errorf("%w: set NODES in hook.conf to nodes of the cluster", ErrNoCluster)
	}
	answers, silent := make([]Whereabouts, len(r.Nodes)), make([]error, len(r.Nodes))
	var asking sync.WaitGroup
	for i, node := range r.Nodes {
		asking.Add(1)
		go func() {
			defer asking.Done()
			answers[i], silent[i] = r.ask(ctx, node)
		}()
	}
	asking.Wait()
	for i, node := range r.Nodes {
		if silent[i] != nil || spoken[node] {
			continue
		}
		for _, name := range answers[i].Nodes {
			spoken[name] = true
		}
		all.Truths = append(all.Truths, answers[i].Truths...)
	}
	var errs []error
	for i, node := range r.Nodes {
		if silent[i] != nil && !spoken[node] {
			errs = append(errs, fmt.Errorf("node %s: %w", node, silent[i]))
		}
	}
	return all, errors.Join(errs...)
}

func (r *Remote) ask(ctx context.Context, node string) (Whereabouts, error) {
	ctx, cancel := context.WithTimeout(ctx, whereLimit)
	defer cancel()
	res, err := r.Runner.Run(ctx, run.Cmd{Path: "ssh", Args: []string{
		"-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3", "--", node, whereCommand,
	}})
	if err != nil {
		return Whereabouts{}, fmt.Errorf("%w; check that sudoers.d/one-clvm-hook is installed there", err)
	}
	return parseWhereabouts(res.Stdout)
}

// parseWhereabouts reads what a node says. It has to be whole, and to be what a report could
// say as well.
func parseWhereabouts(data []byte) (Whereabouts, error) {
	if len(data) > maxTruths {
		return Whereabouts{}, fmt.Errorf("%w: %d bytes", ErrReport, len(data))
	}
	var w Whereabouts
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&w); err != nil {
		return Whereabouts{}, fmt.Errorf("%w: %w", ErrReport, err)
	}
	if len(w.Nodes) == 0 || len(w.Nodes) > maxNodes {
		return Whereabouts{}, fmt.Errorf("%w: a cluster of %d nodes", ErrReport, len(w.Nodes))
	}
	for _, name := range w.Nodes {
		if opennebula.CheckHost(name) != nil {
			return Whereabouts{}, fmt.Errorf("%w: node %s", ErrReport, entrance.Quote(name))
		}
	}
	for i, t := range w.Truths {
		if t.VM < 0 || t.VM > entrance.MaxVM {
			return Whereabouts{}, fmt.Errorf("%w: VM %d", ErrReport, t.VM)
		}
		if _, err := t.Line(); err != nil {
			return Whereabouts{}, err
		}
		w.Truths[i].Doubt = opennebula.Sanitize(t.Doubt)
	}
	return w, nil
}
