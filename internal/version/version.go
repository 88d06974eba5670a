// Package version says which build of the suite this is. The two ends of a connection
// compare it, and --version prints it.
package version

import "fmt"

// Set by the Makefile through the linker. The date is that of the commit, not of the
// build: the same commit makes the same bytes.
var (
	Version = "devel"   // of the last release tag, as git describe tells it
	Commit  = "unknown" // abbreviated hash; "-dirty" appended where the tree had changes
	Date    = "unknown" // of the commit, RFC 3339, UTC
)

// String is what --version prints after the program's name.
func String() string {
	return fmt.Sprintf("%s (commit %s, %s)", Version, Commit, Date)
}
