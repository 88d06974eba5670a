// tm-clvm is OpenNebula's transfer manager and datastore driver for clustered LVM, the
// agent on the nodes, and the administrator's tool for both.
package main

import (
	"os"
)

func main() {
	os.Exit(tmclvm(os.Args[1:], stdio{os.Stdin, os.Stdout, os.Stderr}))
}
