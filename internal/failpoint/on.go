//go:build failpoint

// Package failpoint names the instants after which a crash must leave nothing that
// matters. In a build with the tag failpoint, the process kills itself at the one
// that the environment names; in every other build a Hit costs nothing.
package failpoint

import (
	"os"
	"syscall"
)

// Hit kills the process, as kill -9 would, if ONE_CLVM_FAILPOINT is this name.
func Hit(name string) {
	if os.Getenv("ONE_CLVM_FAILPOINT") == name {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // cannot fail: it is ourselves
		select {}
	}
}
