package tarmode

import (
	"fmt"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// handle is an open directory with several users; the last one to leave closes it.
type handle struct {
	fd    int
	users atomic.Int32
}

// newHandle takes over the descriptor; its maker is the first user.
func newHandle(fd int) *handle {
	h := &handle{fd: fd}
	h.users.Store(1)
	return h
}

func (h *handle) hold() *handle {
	h.users.Add(1)
	return h
}

func (h *handle) release() {
	if h.users.Add(-1) == 0 {
		unix.Close(h.fd) // opened for reading only: nothing can be lost
	}
}

// linkPath names an entry of an open directory for the calls on extended attributes
// that know no descriptors: those of symbolic links and device nodes. The last
// component is not followed by the calls whose name starts with L.
func linkPath(dir int, name string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir, name)
}

// splitPath cuts a clean path into its directory ("": the root) and its last component.
func splitPath(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}
