package main

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"one-clvm/doctor"
	"one-clvm/internal/command"
)

// drillPause is the time between two looks at what came of a fault.
const drillPause = 2 * time.Second

func listDrills(io command.Stdio) error {
	table := tabwriter.NewWriter(io.Out, 0, 8, 2, ' ', 0)
	for _, d := range doctor.Drills() {
		fmt.Fprintf(table, "%s\t%s\n", d.Name, d.About)
	}
	return table.Flush()
}

// runDrill says what to do, and looks what comes of it until all is as it must be, or the
// time is over. It makes no fault by itself.
func runDrill(ctx context.Context, name string, s doctor.Subject, wait time.Duration, io command.Stdio) error {
	all := doctor.Drills()
	i := slices.IndexFunc(all, func(d doctor.Drill) bool { return d.Name == name })
	if i < 0 {
		return fmt.Errorf("%w: no drill %q; tm-clvm doctor drill lists them", command.ErrUsage, name)
	}
	d := all[i]
	before, err := look(ctx, nil, io)
	if err != nil {
		return fmt.Errorf("%w: %w", command.ErrCouldNotLook, err)
	}
	if err := d.Ready(s, before); err != nil {
		return err
	}
	fmt.Fprintf(io.Out, "%s\n\n  %s\n\nPress Enter when it is done. ", d.About, d.Do(s))
	if _, err := bufio.NewReader(io.In).ReadString('\n'); err != nil {
		return fmt.Errorf("nobody pressed Enter: %w", err)
	}
	fmt.Fprintln(io.Out)
	started := time.Now()
	for {
		after, err := look(ctx, namesOf(before), io)
		if err != nil {
			return fmt.Errorf("%w: %w", command.ErrCouldNotLook, err)
		}
		found := d.Judge(s, before, after)
		if len(found) == 0 {
			trial := doctor.Trial{Drill: name, Node: s.Node, At: time.Now().UTC().Truncate(time.Second)}
			if err := trial.Remember(before.FrontEnd.Config.String("STATE_DIR")); err != nil {
				return err
			}
			_, err := fmt.Fprintf(io.Out, "ok    drill %s: as it must be, after %s\n\n  %s\n", name, time.Since(started).Round(time.Second), d.Undo(s))
			return err
		}
		if time.Since(started) >= wait {
			if err := printDiagnosis(found, io); err != nil {
				return err
			}
			return fmt.Errorf("%w after %s; %s", command.ErrFindings, wait, d.Undo(s))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(drillPause):
		}
	}
}

func namesOf(v *doctor.View) []string {
	var names []string
	for _, n := range v.Nodes {
		names = append(names, n.Name)
	}
	return names
}
