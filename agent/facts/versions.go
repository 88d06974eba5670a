package facts

import (
	"context"
	"fmt"

	"one-clvm/internal/lazyregexp"
	"one-clvm/internal/run"
)

// versioned are programs whose versions are told, beside LVM's: how each says its own
// without asking a daemon.
var versioned = map[string]string{"corosync": "-v", "virsh": "--version", "qemu-img": "--version"}

var versionPattern = lazyregexp.New(`[0-9]+(\.[0-9]+)+`)

func (w *collecting) versions(ctx context.Context) error {
	told := map[string]string{}
	for program, option := range versioned {
		if !w.Installed(program) {
			continue
		}
		result, err := w.Runner.Run(ctx, run.Cmd{Path: program, Args: []string{option}})
		if err != nil {
			return fmt.Errorf("version: %w", err)
		}
		if m := versionPattern.FindStringSubmatch(string(result.Stdout)); m != nil {
			told[program] = m[0]
		}
	}
	w.set(func(f *Facts) { f.Versions = told })
	return nil
}
