package vmm

import "fmt"

// ChooseStack is the stack of a node: the configured one, or, with auto, the one that the
// node is set up for. It does not matter whether that runs: a node of a cluster that is
// down must not start VMs by itself.
func ChooseStack(configured string, exists func(path string) bool, installed func(program string) bool) string {
	if configured != auto {
		return configured
	}
	for _, s := range []struct{ name, file, program string }{
		{"pacemaker", "/etc/corosync/corosync.conf", "crm_mon"},
		{"rgmanager", "/etc/cluster/cluster.conf", "clustat"},
		{"cxm", "/etc/xen/cxm.conf", "cxm"},
	} {
		if exists(s.file) && installed(s.program) {
			return s.name
		}
	}
	return "standalone"
}

const auto = "auto"

// ChooseHypervisor is the program by which a node runs VMs under Xen, "" where libvirt runs
// them. With auto cxm has xm, since it needs xend itself; a node without a cluster that is
// Xen's first domain has xl, or xm while xend is there.
func ChooseHypervisor(configured, stack string, exists func(path string) bool) (string, error) {
	own := stack == "cxm" || stack == "standalone" // the other managers start VMs by libvirt
	switch {
	case (configured == "xl" || configured == "xm") && !own, configured == "libvirt" && stack == "cxm":
		return "", fmt.Errorf("HYPERVISOR=%s does not go with the stack %s: correct agent.conf on this node", configured, stack)
	case configured == "libvirt" || !own:
		return "", nil
	case configured != auto:
		return configured, nil
	case stack == "cxm" || exists(firstDomain) && exists(xendSocket):
		return "xm", nil
	case exists(firstDomain):
		return "xl", nil
	}
	return "", nil
}

const (
	firstDomain = "/proc/xen/xsd_port" // only the first domain has it
	xendSocket  = "/var/lib/xend/xend-socket"
)
