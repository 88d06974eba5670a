// Command lab runs a throw-away cluster of emulated machines that share a SAN.
package main

import (
	"os"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }
