// tm-clvm is OpenNebula's transfer manager and datastore driver for clustered LVM, the
// agent on the nodes, and the administrator's tool for both.
package main

import (
	"os"

	"one-clvm/internal/command"
)

func main() {
	os.Exit(tmclvm(os.Args[1:], command.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
