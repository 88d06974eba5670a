package xen

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"one-clvm/cluster"
	"one-clvm/internal/run"
)

// Survey is all domains of this node, by name: their states and what they have used of
// processors and memory with one call, what of networks and disks with another. The second
// may fail: a node need not have xentop.
func (c *Client) Survey(ctx context.Context) (map[string]cluster.Sighting, error) {
	all, err := c.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", cluster.ErrXen, err)
	}
	res, err := c.Runner.Run(ctx, run.Cmd{Path: "xentop", Args: []string{"-b", "-f", "-i", "1"}, Reads: true})
	if err == nil {
		addTraffic(all, string(res.Stdout))
	}
	return all, nil
}

// List is the same without what xentop knows.
func (c *Client) List(ctx context.Context) (map[string]cluster.Sighting, error) {
	res, err := c.Runner.Run(ctx, run.Cmd{Path: c.Program, Args: []string{"list"}, Reads: true})
	if err != nil {
		return nil, err
	}
	return parseList(string(res.Stdout))
}

// dom0 is the node itself.
const dom0 = "Domain-0"

// parseList reads the table of all domains: name, id, MiB, processors, state, seconds. A
// name has no blanks. xm also lists domains that it only knows, without an id.
func parseList(text string) (map[string]cluster.Sighting, error) {
	rows := strings.Split(text, "\n")
	header := slices.IndexFunc(rows, func(row string) bool { return strings.HasPrefix(strings.Join(strings.Fields(row), " "), "Name ID Mem") })
	if header < 0 {
		return nil, errors.New("the list of domains has no header")
	}
	all := map[string]cluster.Sighting{}
	for _, row := range rows[header+1:] {
		switch fields := strings.Fields(row); {
		case len(fields) == 0 || fields[0] == dom0:
		case len(fields) == 5:
			all[fields[0]] = cluster.Sighting{State: cluster.Absent}
		case len(fields) == 6:
			all[fields[0]] = cluster.Sighting{State: parseState(fields[4]), Figures: listed(fields[2], fields[5])}
		default:
			return nil, fmt.Errorf("list of domains: %q has %d columns", row, len(fields))
		}
	}
	return all, nil
}

// listed are the figures of a list; nil where they are none.
func listed(mebibytes, seconds string) *cluster.Figures {
	memory, err := strconv.ParseInt(mebibytes, 10, 64)
	used, timeErr := strconv.ParseFloat(seconds, 64)
	if errors.Join(err, timeErr) != nil || memory < 0 || used < 0 || used > 1e9 {
		return nil
	}
	return &cluster.Figures{MemoryKiB: memory << 10, CPUNanoseconds: int64(used * float64(time.Second))}
}

// sector is the unit of xentop's figures of disks, bytes.
const sector = 512

// addTraffic adds the figures of networks and disks of xentop's table. Its columns differ
// between versions, so its header says which is which.
func addTraffic(all map[string]cluster.Sighting, text string) {
	var columns []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(strings.ReplaceAll(line, "no limit", "-"))
		switch {
		case slices.Contains(fields, "NAME") && slices.Contains(fields, "NETTX(k)"):
			columns = fields
			continue
		case len(columns) == 0 || len(fields) != len(columns):
			continue
		}
		seen, found := all[fields[slices.Index(columns, "NAME")]]
		if !found || seen.Figures == nil {
			continue
		}
		number := func(name string) int64 {
			i := slices.Index(columns, name)
			if i < 0 {
				return 0
			}
			n, _ := strconv.ParseInt(fields[i], 10, 64) // 0: xentop has no such figure
			return max(n, 0)
		}
		f := seen.Figures
		f.NetTX, f.NetRX = number("NETTX(k)")<<10, number("NETRX(k)")<<10
		f.ReadOps, f.WriteOps = number("VBD_RD"), number("VBD_WR")
		f.ReadBytes, f.WriteBytes = number("VBD_RSECT")*sector, number("VBD_WSECT")*sector
	}
}

// parseState reads the letters of a state: running, blocked, paused, shutdown, crashed, dying.
// None of them is a domain that just now does not run on a processor.
func parseState(letters string) cluster.Domain {
	if len(letters) != 6 || strings.Trim(letters, "rbpscd-") != "" {
		return cluster.Unknown
	}
	switch {
	case strings.Contains(letters, "c"):
		return cluster.Crashed
	case strings.ContainsAny(letters, "sd"):
		return cluster.Dying
	case strings.Contains(letters, "p"):
		return cluster.Paused
	}
	return cluster.Active
}
