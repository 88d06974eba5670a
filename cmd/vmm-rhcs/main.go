// vmm-rhcs is OpenNebula's VMM driver for VMs that a cluster keeps running: what its scripts
// do on a node, the privileged end behind one sudo rule, and Pacemaker's resource agent.
package main

import (
	"os"
)

func main() {
	os.Exit(vmmrhcs(os.Args[1:], stdio{os.Stdin, os.Stdout, os.Stderr}))
}
