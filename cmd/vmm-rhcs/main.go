// vmm-rhcs is OpenNebula's VMM driver for VMs that a cluster keeps running: what its scripts
// do on a node, the privileged end behind one sudo rule, and Pacemaker's resource agent.
package main

import (
	"os"
)

func main() {
	argv := os.Args[1:]
	if isLibvirtHook(os.Args[0]) {
		argv = os.Args // the program itself is linked there, not its script
	}
	os.Exit(vmmrhcs(argv, stdio{os.Stdin, os.Stdout, os.Stderr}))
}
