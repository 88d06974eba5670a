package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/spf13/pflag"

	"one-clvm/audit"
	"one-clvm/cxmrc"
	"one-clvm/internal/command"
	"one-clvm/internal/run"
	"one-clvm/internal/terminal"
	"one-clvm/lvm"
	"one-clvm/opennebula"
)

// row is a volume in the table.
type row struct {
	lvm.Volume
	State   string
	Holders []string // nodes where it is active
}

// volumesFlags are the words of the person.
type volumesFlags struct {
	group, state, tag, sort, prometheus string
	vm                                  int
	cluster, reverse, asJSON            bool
}

// sortings are how rows can be sorted.
var sortings = map[string]func(a, b row) int{
	"name":    func(a, b row) int { return cmp.Compare(a.Name, b.Name) },
	"size":    func(a, b row) int { return cmp.Compare(a.Size, b.Size) },
	"vm":      func(a, b row) int { return cmp.Compare(number(a, lvm.TagVM), number(b, lvm.TagVM)) },
	"state":   func(a, b row) int { return cmp.Compare(a.State, b.State) },
	"created": func(a, b row) int { return a.Created.Compare(b.Created) },
	"holder":  func(a, b row) int { return slices.Compare(a.Holders, b.Holders) },
}

func setupVolumes(flags *pflag.FlagSet) command.Action {
	var f volumesFlags
	flags.StringVar(&f.group, "vg", "", "only volume group `VG`")
	flags.BoolVar(&f.cluster, "cluster", false, "as all nodes see them, over ssh; else as this node does")
	flags.IntVar(&f.vm, "vm", opennebula.None, "only those of VM `ID`")
	flags.Lookup("vm").DefValue = "0" // nothing to show in the help
	flags.StringVar(&f.state, "state", "", "only those in state `off|exclusive|shared|parked|building|migrating|snapshot|quarantine|wipe-failed|lost|foreign|other`")
	flags.StringVar(&f.tag, "tag", "", "only those with tag `TAG`")
	flags.StringVar(&f.sort, "sort", "name", "sorted by `name|size|vm|state|created|holder`")
	flags.BoolVar(&f.reverse, "reverse", false, "the other way round")
	flags.BoolVar(&f.asJSON, "json", false, "exact numbers for programs")
	flags.StringVar(&f.prometheus, "prometheus", "", "instead, replace `FILE` by metrics for node_exporter's textfile collector")
	return func(ctx context.Context, _ []string, io command.Stdio) error { return f.list(ctx, io) }
}

func (f *volumesFlags) list(ctx context.Context, io command.Stdio) error {
	if sortings[f.sort] == nil {
		return fmt.Errorf("%w: --sort %s is none of name, size, vm, state, created, holder", command.ErrUsage, f.sort)
	}
	collect := f.ofNode
	if f.cluster {
		collect = f.ofCluster
	}
	groups, rows, err := collect(ctx, io)
	if err != nil {
		return fmt.Errorf("%w: %w", command.ErrCouldNotLook, err)
	}
	rows = slices.DeleteFunc(rows, func(r row) bool { return !f.wanted(r) })
	slices.SortStableFunc(rows, sortings[f.sort])
	if f.reverse {
		slices.Reverse(rows)
	}
	switch {
	case f.prometheus != "":
		return writeMetrics(f.prometheus, groups, rows)
	case f.asJSON:
		err = json.NewEncoder(io.Out).Encode(rows)
	default:
		err = printVolumes(rows, io)
	}
	if n := findings(rows); err == nil && n > 0 {
		return fmt.Errorf("%w: %d volumes are foreign or lost, or could not be wiped; tm-clvm audit says what to do", command.ErrFindings, n)
	}
	return err
}

// findings is how many of the volumes need a person.
func findings(rows []row) int {
	n := 0
	for _, r := range rows {
		if stateColours[r.State] == terminal.Bad {
			n++
		}
	}
	return n
}

func (f *volumesFlags) wanted(r row) bool {
	return (f.vm == opennebula.None || number(r, lvm.TagVM) == f.vm) && (f.state == "" || r.State == f.state) && (f.tag == "" || r.Tags.Has(f.tag))
}

// ofNode are the volumes of this node's groups.
func (f *volumesFlags) ofNode(ctx context.Context, _ command.Stdio) (groups []lvm.GroupInfo, rows []row, err error) {
	cfg, err := cxmrc.LoadAgent(cxmrc.AgentPath)
	if err != nil {
		return nil, nil, err
	}
	names := cfg.List("ALLOWED_VGS")
	if f.group != "" {
		names = []string{f.group}
	}
	rows = []row{}
	for _, name := range names {
		g, err := openGroup(cfg, name)
		if err != nil {
			return nil, nil, err
		}
		info, volumes, err := g.Report(ctx)
		if err != nil {
			return nil, nil, err
		}
		groups = append(groups, info)
		for _, v := range volumes {
			r := row{Volume: v, State: stateOf(v, cfg.String("LV_PREFIX")), Holders: []string{}}
			if v.Mode != lvm.Off {
				r.Holders = append(r.Holders, "here")
			}
			rows = append(rows, r)
		}
	}
	return groups, rows, nil
}

// ofCluster are the volumes of one group, with the nodes that have them.
func (f *volumesFlags) ofCluster(ctx context.Context, io command.Stdio) ([]lvm.GroupInfo, []row, error) {
	report := opennebula.NewReporter(io.Err, opennebula.Version{})
	defer report.Close()
	driver, client, err := newDriver(report, io)
	if err != nil {
		return nil, nil, err
	}
	client.OnLog = nil
	records, err := opennebula.NewClient(opennebula.Config{Runner: run.Exec{}})
	if err != nil {
		return nil, nil, err
	}
	auditor := &audit.Auditor{Driver: &driver.Driver, Records: records}
	state, err := auditor.Collect(ctx, audit.Target{Datastore: opennebula.None, Group: f.group})
	if err != nil {
		return nil, nil, err
	}
	if why := state.WhyUnasked(); why != "" {
		report.Warn("not everything is seen: %s", why)
	}
	return []lvm.GroupInfo{*state.Nodes[0].Report.Info}, merge(state), nil
}

// merge puts the nodes' views of each volume into one row.
func merge(s *audit.State) []row {
	rows := []row{}
	at := map[string]int{}
	for _, node := range s.Nodes {
		for _, v := range node.Report.Volumes {
			i, known := at[v.Name]
			if !known {
				i = len(rows)
				at[v.Name] = i
				rows = append(rows, row{Volume: v, Holders: []string{}})
			}
			r := &rows[i]
			if v.Mode != lvm.Off {
				r.Holders = append(r.Holders, node.Names[0])
			}
			r.Mode, r.Open, r.Invalid = max(r.Mode, v.Mode), r.Open || v.Open, r.Invalid || v.Invalid
		}
	}
	for i := range rows {
		rows[i].State = stateOf(rows[i].Volume, s.Prefix)
	}
	return rows
}

// stateOf says in a word what a volume is about: what is not as usual comes first.
func stateOf(v lvm.Volume, prefix string) string {
	name, err := lvm.ParseName(prefix, v.Name)
	switch {
	case !v.Tags.Has(lvm.TagOurs) && err == nil && !name.IsOld() && v.Origin == "":
		return "foreign"
	case !v.Tags.Has(lvm.TagOurs):
		return "other"
	case v.Invalid:
		return "lost"
	case v.Tags.Has(lvm.TagQuarantine, lvm.TagWipeFailed):
		return lvm.TagWipeFailed
	case v.Tags.Has(lvm.TagQuarantine):
		return lvm.TagQuarantine
	case v.Tags.Has(lvm.TagBuilding):
		return lvm.TagBuilding
	case v.IsSnapshot():
		return "snapshot"
	case v.Tags.Get(lvm.TagMigrating) != "":
		return "migrating"
	case v.Tags.Has(lvm.TagParked):
		return lvm.TagParked
	}
	return v.Mode.String()
}

// number is what a tag says; opennebula.None without it.
func number(r row, key string) int {
	n, err := strconv.Atoi(r.Tags.Get(key))
	if err != nil {
		return opennebula.None
	}
	return n
}

// stateColours are those of states that want a look.
var stateColours = map[string]terminal.Colour{
	"foreign": terminal.Bad, "lost": terminal.Bad, lvm.TagWipeFailed: terminal.Bad,
	lvm.TagQuarantine: terminal.Warn, lvm.TagBuilding: terminal.Warn, "migrating": terminal.Warn, "shared": terminal.Warn,
	"exclusive": terminal.Good,
}

func printVolumes(rows []row, io command.Stdio) error {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "VG\tVOLUME\tVM\tDISK\tSIZE\tSTATE\tUSED\tHOLDER\tTAGS")
	for _, r := range rows {
		used := "no"
		if r.Open {
			used = "yes"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Group, r.Name, dash(r.Tags.Get(lvm.TagVM)), dash(r.Tags.Get(lvm.TagDisk)),
			humanize.IBytes(uint64(r.Size)), r.State, used, dash(strings.Join(r.Holders, ",")), dash(strings.Join(r.Tags, ",")))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	paint := terminal.For(io.Out)
	for i, line := range strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n") {
		colour, coloured := terminal.Head, i == 0
		if i > 0 {
			colour, coloured = stateColours[rows[i-1].State]
		}
		if coloured { // whole lines, so that columns stay where they are
			line = paint.Paint(colour, line)
		}
		if _, err := fmt.Fprintln(io.Out, line); err != nil {
			return err
		}
	}
	return nil
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
