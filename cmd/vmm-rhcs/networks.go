package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"one-clvm/cluster"
	"one-clvm/cxmrc"
	"one-clvm/internal/run"
	"one-clvm/opennebula"
	"one-clvm/vmm"
)

// libvirtHook is what this node's configuration makes of libvirt's hook.
func libvirtHook(config string, io stdio) (*vmm.LibvirtHook, error) {
	cfg, err := cxmrc.LoadAgent(config)
	if err != nil {
		return nil, err
	}
	runner := programs()
	_, err = os.Stat("/run/systemd/system")
	return &vmm.LibvirtHook{
		Config: settings(cfg), Groups: cfg.List("ALLOWED_VGS"), Agents: volumeAgents(io), Runner: runner, Clock: cluster.RealClock{},
		Stderr: io.err, Later: later(runner, err == nil),
	}, nil
}

// later starts the command networks of this program, which outlives its caller: as a unit where
// systemd runs, whose journal has what it says; else in a session of its own.
func later(runner run.Runner, systemd bool) func(ctx context.Context, phase, name string) error {
	return func(ctx context.Context, phase, name string) error {
		words := []string{installed, "networks", phase, name}
		command := run.Cmd{Path: "setsid", Args: append([]string{"--fork"}, words...), Writer: true} // nobody waits for what it prints
		if systemd {
			command.Path, command.Args = "systemd-run", append([]string{"--quiet", "--"}, words...)
		}
		ctx, cancel := context.WithTimeout(ctx, starting)
		defer cancel()
		_, err := runner.Run(ctx, command)
		return err
	}
}

// starting is how long it may take to start a program that is not waited for.
const starting = 15 * time.Second

// runNetworks is what libvirt's hook leaves behind.
func runNetworks(ctx context.Context, argv []string, io stdio) int {
	if len(argv) != 2 {
		fmt.Fprintln(io.err, "usage: vmm-rhcs networks post|clean DOMAIN; libvirt's hook calls it")
		return 2
	}
	h, err := libvirtHook(cxmrc.AgentPath, io)
	if err == nil {
		err = h.Networks(ctx, argv[0], argv[1])
	}
	if err != nil {
		fmt.Fprintln(io.err, opennebula.Sanitize(err.Error()))
		return 1
	}
	return 0
}
