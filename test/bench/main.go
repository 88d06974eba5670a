// Bench measures the suite against what one would do without it, side by side in one run
// on the same data and the same device: plain ssh pipes, and full copies of disks as
// OpenNebula's fs_lvm_ssh makes them. The data is a Debian of some 750 MB. It needs root,
// about 45 GiB on the disk of TMPDIR (else /var/tmp), and leaves nothing behind.
//
// Each result is a line "ratio NAME VALUE", larger is better, with its bound where it
// has one. The last line has all of a whole run; `bench page LOG DIRECTORY` writes
// benchmarks.md and benchmarks.svg of it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/pflag"

	"one-clvm/test/build"
	"one-clvm/test/debian"
	"one-clvm/test/testbed"
)

// archiveVariable carries the path of the root file system's tar into the namespaces.
const archiveVariable = "ONE_CLVM_BENCH_ARCHIVE"

type options struct {
	strict   bool
	runs     int
	fullRuns int
	only     []string
}

func parseOptions(arguments []string) (options, error) {
	var o options
	flags := pflag.NewFlagSet("bench", pflag.ContinueOnError)
	flags.BoolVar(&o.strict, "strict", false, "end with status 1 if a bound is missed")
	flags.IntVar(&o.runs, "runs", 3, "runs of each side, alternating; the median counts")
	flags.IntVar(&o.fullRuns, "full-runs", 1, "runs of the full copies of 40 GiB")
	flags.StringSliceVar(&o.only, "only", nil, "measure only these: deploy, full, size, save, overhead, san, poll")
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	if o.runs < 1 || o.fullRuns < 1 {
		return o, fmt.Errorf("--runs and --full-runs must be 1 or more")
	}
	return o, nil
}

func main() {
	if asTool(os.Args) {
		return
	}
	if len(os.Args) == 4 && os.Args[1] == "page" {
		os.Exit(page(os.Args[2], os.Args[3]))
	}
	o, err := parseOptions(os.Args[1:])
	if err == nil && testbed.Outside() {
		err = prepare()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	testbed.Main(func() int { return inside(o) })
}

// prepare does what needs the network.
func prepare() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	root, err := build.Repository()
	if err != nil {
		return err
	}
	archive, err := debian.Archive(ctx, filepath.Join(root, ".cache"), debian.Large)
	if err != nil {
		return err
	}
	return os.Setenv(archiveVariable, archive)
}

func inside(o options) int {
	missed, err := run(context.Background(), o)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench: FAILED:", err)
		return 1
	case missed > 0:
		fmt.Printf("bench: %d bounds missed\n", missed)
		if o.strict {
			return 1
		}
	default:
		fmt.Println("bench: all bounds met")
	}
	return 0
}
