package virsh

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"one-clvm/cluster"
	"one-clvm/internal/run"
)

// Survey is all domains of this node, by name, with one call. libvirt before 1.2.8 has no
// domstats: of its domains only the states are known, with a second call.
func (v *Client) Survey(ctx context.Context, uri string) (map[string]cluster.Sighting, error) {
	s := cluster.Service{Hypervisor: uri}
	res, err := v.Runner.Run(ctx, run.Cmd{Path: "virsh", Args: v.args(s, "domstats", "--state", "--cpu-total", "--balloon", "--interface", "--block"), Reads: true})
	var failed *run.Error
	if errors.As(err, &failed) && strings.Contains(failed.Stderr, "unknown command") {
		if res, err = v.Runner.Run(ctx, run.Cmd{Path: "virsh", Args: v.args(s, "list", "--all"), Reads: true}); err == nil {
			return parseList(strings.NewReader(string(res.Stdout)))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", cluster.ErrHypervisor, err)
	}
	return parseStats(strings.NewReader(string(res.Stdout)))
}

// parseStats reads the answer of domstats: a line Domain: 'NAME', then KEY=VALUE for each
// figure.
func parseStats(r io.Reader) (map[string]cluster.Sighting, error) {
	out := map[string]cluster.Sighting{}
	var name string
	var figures *cluster.Figures
	var state, reason int64
	end := func() {
		if name != "" {
			out[name] = cluster.Sighting{State: numbered(state, reason), Figures: figures}
		}
	}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if next, found := strings.CutPrefix(line, "Domain: '"); found {
			end()
			name, figures, state, reason = strings.TrimSuffix(next, "'"), &cluster.Figures{}, 0, 0
			continue
		}
		key, text, found := strings.Cut(line, "=")
		value, err := strconv.ParseInt(text, 10, 64)
		if !found || err != nil || figures == nil {
			continue // names of devices, paths, and figures to come
		}
		switch key {
		case "state.state":
			state = value
		case "state.reason":
			reason = value
		default:
			count(figures, key, value)
		}
	}
	end()
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("answer of domstats: %w", err)
	}
	return out, nil
}

func count(f *cluster.Figures, key string, value int64) {
	switch key {
	case "cpu.time":
		f.CPUNanoseconds = value
		return
	case "balloon.rss":
		f.MemoryKiB = value
		return
	case "balloon.current":
		if f.MemoryKiB == 0 {
			f.MemoryKiB = value
		}
		return
	}
	kind, rest, _ := strings.Cut(key, ".")
	_, figure, _ := strings.Cut(rest, ".")
	for _, c := range []struct {
		key string
		sum *int64
	}{
		{"net rx.bytes", &f.NetRX}, {"net tx.bytes", &f.NetTX},
		{"block rd.bytes", &f.ReadBytes}, {"block wr.bytes", &f.WriteBytes},
		{"block rd.reqs", &f.ReadOps}, {"block wr.reqs", &f.WriteOps},
	} {
		if c.key == kind+" "+figure {
			*c.sum += value
		}
	}
}

// numbered is a state by the numbers of virDomainState, and of virDomainPausedReason. A
// domain that libvirt itself has paused for a moment runs.
func numbered(state, reason int64) cluster.Domain {
	switch state {
	case 0, 1, 2: // no state, running, blocked
		return cluster.Active
	case 3:
		switch reason {
		case 2, 3, 4, 7, 8, 9, 11, 12: // migration, save, dump, from a snapshot, shutting down, snapshot, starting up, post-copy
			return cluster.Active
		case 0, 5, 6, 10, 13, 14: // unknown, I/O error, watchdog, crashed, post-copy failed, API error
			return cluster.Crashed
		}
		return cluster.Paused // by a user
	case 4:
		return cluster.Dying
	case 5:
		return cluster.Absent
	case 6:
		return cluster.Crashed
	case 7:
		return cluster.Asleep
	}
	return cluster.Unknown
}

// parseList reads the table of list --all: two lines, then ID, NAME, STATE.
func parseList(r io.Reader) (map[string]cluster.Sighting, error) {
	out := map[string]cluster.Sighting{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 3 || words[0] == "Id" {
			continue
		}
		out[words[1]] = cluster.Sighting{State: parseState(strings.Join(words[2:], " "))}
	}
	return out, lines.Err()
}
