package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"one-clvm/internal/run"
	"one-clvm/lab/profile"
)

// startTimeout is how long the services may take, all together, until the node is given
// up. An emulated machine on a busy host is slow.
const startTimeout = 10 * time.Minute

// startServices starts what the profile needs and returns when all of it works on this
// node, and with the others.
func startServices(ctx context.Context, o options) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return startSSH(ctx) })
	group.Go(func() error {
		if err := startDevices(ctx, o.profile); err != nil {
			return err
		}
		switch o.profile.LockManager {
		case profile.LockDLM:
			if err := startDLM(ctx, o.profile); err != nil {
				return err
			}
		case profile.LockSanlock:
			return startSanlock(ctx)
		}
		if !o.profile.Pacemaker {
			return nil
		}
		if err := startPacemaker(ctx, o.profile); err != nil {
			return err
		}
		// Last: what it does at its start would keep the only processor from the others.
		return startLibvirt(ctx)
	})
	return group.Wait()
}

func startSSH(ctx context.Context) error {
	return call(ctx, "/usr/sbin/sshd", "-E", "/var/log/sshd.log")
}

func startDevices(ctx context.Context, p profile.Profile) error {
	if err := call(ctx, "/lib/systemd/systemd-udevd", "--daemon"); err != nil {
		return err
	}
	modules := []string{"dm-mod"}
	switch p.LockManager {
	case profile.LockDLM:
		modules = append(modules, "dlm", "gfs2")
	case profile.LockSanlock:
		modules = append(modules, "softdog")
	}
	if err := call(ctx, "modprobe", append([]string{"-a"}, modules...)...); err != nil {
		return err
	}
	if err := call(ctx, "udevadm", "trigger", "--action=add", "--subsystem-match=block", "--subsystem-match=misc"); err != nil {
		return err
	}
	return call(ctx, "udevadm", "settle")
}

// startDLM starts corosync, waits for all members, and only then dlm_controld: one that
// finds a member missing at its start fences it.
func startDLM(ctx context.Context, p profile.Profile) error {
	if err := (mount{"configfs", "/sys/kernel/config", "configfs", ""}).do(); err != nil {
		return err
	}
	if err := call(ctx, "corosync"); err != nil {
		return err
	}
	if err := until(ctx, "all members of the cluster are there", func() bool {
		out, err := output(ctx, "corosync-quorumtool", "-l")
		return err == nil && strings.Count(out, "node") >= p.Nodes
	}); err != nil {
		return err
	}
	if err := until(ctx, "udev made /dev/misc/dlm_plock", func() bool {
		_, err := os.Stat("/dev/misc/dlm_plock")
		return err == nil
	}); err != nil {
		return err
	}
	if err := call(ctx, "dlm_controld"); err != nil {
		return err
	}
	if err := until(ctx, "dlm_controld knows all members", func() bool {
		out, err := output(ctx, "dlm_tool", "status")
		return err == nil && strings.Count(out, " M add") >= p.Nodes
	}); err != nil {
		return err
	}
	return call(ctx, "lvmlockd", "-g", profile.LockDLM)
}

// startSanlock starts the daemons of leases on disk: the watchdog's, sanlock, lvmlockd.
func startSanlock(ctx context.Context) error {
	for _, argv := range [][]string{{"wdmd"}, {"sanlock", "daemon"}} {
		if err := call(ctx, argv[0], argv[1:]...); err != nil {
			return err
		}
	}
	if err := until(ctx, "sanlock answers", func() bool {
		_, err := output(ctx, "sanlock", "client", "status")
		return err == nil
	}); err != nil {
		return err
	}
	return call(ctx, "lvmlockd", "-g", profile.LockSanlock)
}

// call runs a program that does its work, or goes into the background, and ends.
func call(ctx context.Context, program string, args ...string) error {
	_, err := output(ctx, program, args...)
	return err
}

// output of a program. A file takes it: a daemon in the background would keep a pipe
// open for ever.
func output(ctx context.Context, program string, args ...string) (string, error) {
	file, err := os.CreateTemp("/run/lab", "output")
	if err != nil {
		return "", err
	}
	defer file.Close()           // only read again
	defer os.Remove(file.Name()) // in memory
	_, err = run.Exec{}.Run(ctx, run.Cmd{Path: program, Args: args, Stdout: file, Stderr: file})
	text, readErr := os.ReadFile(file.Name())
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, strings.Join(strings.Fields(string(text)), " "))
	}
	return string(text), readErr
}

// until asks again and again; processes are dear here, so not too often.
func until(ctx context.Context, what string, done func() bool) error {
	for !done() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, errors.Join(ctx.Err(), context.Cause(ctx)))
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}
