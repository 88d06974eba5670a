// one-migrate-hook tells OpenNebula what the cluster did to its VMs by itself.
package main

import (
	"os"

	"one-clvm/internal/command"
)

func main() {
	os.Exit(oneMigrateHook(os.Args[1:], command.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
