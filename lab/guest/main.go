// Command guest is what a node of the lab runs instead of an init system: it boots the
// node, starts the services of its profile, serves the lab on a virtio serial port and
// is the fence agent. One static program for all of it: starting processes is what
// costs most on an emulated machine.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Where the program is: in the initramfs, and on the node.
const (
	initName  = "/init"
	installed = "/usr/sbin/lab-guest"
	fenceName = "fence_lab"
)

func main() { os.Exit(start(os.Args)) }

// start does what the name of the program says, as the kernel or dlm_controld called it.
func start(args []string) int {
	var err error
	switch {
	case filepath.Base(args[0]) == fenceName:
		err = fence(os.Stdin, args[1:])
	case args[0] == initName:
		err = boot()
	case len(args) == 2 && args[1] == "init":
		err = initialize()
	case len(args) == 2 && args[1] == "serve":
		err = serve()
	default:
		err = fmt.Errorf("%v: not a role of this program", args)
	}
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "lab:", err)
	if os.Getpid() == 1 {
		// The kernel would bury the message under its own. QEMU ends instead of restarting.
		err = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
		fmt.Fprintln(os.Stderr, "lab:", err)
	}
	return 1
}
