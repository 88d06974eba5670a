package vmm

import (
	"fmt"
)

// ChooseStack is the stack of a node: the configured one, or, with auto, the one that the
// node is set up for. It does not matter whether that runs: a node of a cluster that is
// down must not start VMs by itself.
func ChooseStack(configured string, exists func(path string) bool, installed func(program string) bool) (string, error) {
	if configured != "auto" {
		return configured, nil
	}
	for _, s := range []struct{ name, file, program string }{
		{"pacemaker", "/etc/corosync/corosync.conf", "crm_mon"},
		{"rgmanager", "/etc/cluster/cluster.conf", "clustat"},
		{"cxm", "/etc/xen/cxm.conf", "cxm"},
	} {
		if !exists(s.file) || !installed(s.program) {
			continue
		}
		if s.name == "cxm" {
			return "", fmt.Errorf("this node is one of a cluster with %s (%s): %w", s.name, s.file, ErrNotYet)
		}
		return s.name, nil
	}
	return "standalone", nil
}
