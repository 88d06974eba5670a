// one-migrate-hook tells OpenNebula what the cluster did to its VMs by itself. This program
// is what a cluster calls, a thousand times at once if it comes to that: it has the entrances
// and nothing else in it, and becomes one-migrate-hook-commands for all other words.
package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"one-clvm/cxmrc"
	"one-clvm/hook/entrance"
)

func main() {
	kind, words, ok := entranceOf(os.Args, os.Getenv)
	if !ok {
		err := becomeCommands(os.Args[1:])
		fmt.Fprintf(os.Stderr, "one-migrate-hook: %v\n", err)
		os.Exit(1)
	}
	err := entrance.Take(kind, words, entrance.Process{Stdin: os.Stdin, Stderr: os.Stderr, Config: cxmrc.HookPath})
	if err != nil {
		os.Exit(1) // it has been told
	}
}

// entranceOf is who calls. Pacemaker and cxm can be given the program itself: the former
// gives no arguments and CRM_alert_*, the latter three words of which the first is a VM's
// name; libvirt's hook may be a link to it. The words of a caller are none of ours: a domain may
// be called --help. The first of argv is the program.
func entranceOf(argv []string, env func(string) string) (entrance.Kind, []string, bool) {
	program, argv := argv[0], argv[1:]
	if strings.Contains(program, "/libvirt/hooks/") {
		return entrance.Libvirt, argv, true
	}
	if len(argv) == 0 {
		return entrance.Pacemaker, nil, env("CRM_alert_kind") != ""
	}
	switch kind := entrance.Kind(argv[0]); kind {
	case entrance.CXM, entrance.Pacemaker, entrance.Rgmanager, entrance.Libvirt, entrance.Hand:
		asksForHelp := len(argv) == 2 && slices.Contains([]string{"--help", "-h", "help"}, argv[1])
		return kind, argv[1:], !asksForHelp
	}
	isFlag := func(word string) bool { return strings.HasPrefix(word, "-") }
	return entrance.CXM, argv, len(argv) == 3 && !slices.ContainsFunc(argv, isFlag)
}

// becomeCommands does not return unless that program cannot be started. It lies beside this
// one.
func becomeCommands(argv []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	program := self + "-commands"
	err = unix.Exec(program, append([]string{program}, argv...), os.Environ())
	return fmt.Errorf("%s: %w; install it beside %s", program, err, self)
}
