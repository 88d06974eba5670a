// one-migrate-hook-commands is all of one-migrate-hook but its entrances, which a cluster may
// call a thousand times at once: one-migrate-hook is those alone, and starts this program for
// anything else.
package main

import (
	"os"

	"one-clvm/internal/command"
)

func main() {
	os.Exit(program().Run(os.Args[1:], command.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
