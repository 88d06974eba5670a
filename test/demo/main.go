// Demo takes a real Debian through the life of a VM's disk: an image in a datastore
// becomes an 8 GiB disk, is verified, saved as a new image and deleted, by the very
// commands that oned's one_tm runs, as an unprivileged oneadmin, over a real sshd and
// the sudoers file that the project ships. It prints what each step moved and how long
// it took, next to a full copy of the disk measured in the same run.
//
// It needs root and leaves nothing behind but the cached root file system in .cache.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"one-clvm/test/build"
	"one-clvm/test/debian"
	"one-clvm/test/testbed"
)

// archiveVariable carries the path of the root file system's tar into the namespaces.
const archiveVariable = "ONE_CLVM_DEMO_ARCHIVE"

func main() {
	if testbed.Outside() {
		if err := prepare(); err != nil {
			fmt.Fprintln(os.Stderr, "demo:", err)
			os.Exit(1)
		}
	}
	testbed.Main(inside)
}

// prepare does what needs the network.
func prepare() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	root, err := build.Repository()
	if err != nil {
		return err
	}
	archive, err := debian.Archive(ctx, filepath.Join(root, ".cache"), debian.Small)
	if err != nil {
		return err
	}
	return os.Setenv(archiveVariable, archive)
}

func inside() int {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "demo: FAILED:", err)
		return 1
	}
	fmt.Println("demo: OK")
	return 0
}
