package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"

	"one-clvm/lab/cluster"
)

// clusterCommands are about the whole lab.
var clusterCommands = map[string]func(ctx context.Context, c *cluster.Cluster, args []string, stdout io.Writer) error{
	"down": func(ctx context.Context, c *cluster.Cluster, _ []string, _ io.Writer) error { return down(ctx, c) },
	"status": func(_ context.Context, c *cluster.Cluster, _ []string, stdout io.Writer) error {
		return status(c, stdout)
	},
	"logs": func(ctx context.Context, c *cluster.Cluster, args []string, _ io.Writer) error {
		if len(args) != 1 {
			return errUsage
		}
		return c.Collect(ctx, args[0])
	},
	"fencing": func(_ context.Context, c *cluster.Cluster, args []string, _ io.Writer) error {
		if len(args) != 1 || args[0] != "on" && args[0] != "off" {
			return errUsage
		}
		return c.RefuseFencing(args[0] == "off")
	},
}

// nodeCommand is about one node.
type nodeCommand func(ctx context.Context, c *cluster.Cluster, n *cluster.Node, args []string, stdout io.Writer) error

var nodeCommands = map[string]nodeCommand{
	"ssh": func(_ context.Context, c *cluster.Cluster, n *cluster.Node, args []string, _ io.Writer) error {
		// In place of this program, so that the terminal is ssh's own.
		return syscall.Exec("/usr/bin/ssh", append([]string{"ssh", "-F", c.SSHConfig(), n.Name}, args...), os.Environ())
	},
	"console": func(_ context.Context, _ *cluster.Cluster, n *cluster.Node, _ []string, stdout io.Writer) error {
		text, err := os.ReadFile(n.Console())
		if err == nil {
			_, err = stdout.Write(text)
		}
		return err
	},
	"kill":   simple(func(_ context.Context, n *cluster.Node) error { return n.Kill() }),
	"pause":  simple(func(_ context.Context, n *cluster.Node) error { return n.Pause() }),
	"resume": simple(func(_ context.Context, n *cluster.Node) error { return n.Resume() }),
	"break":  simple(func(ctx context.Context, n *cluster.Node) error { return n.BreakDisks(ctx) }),
	"heal": simple(func(ctx context.Context, n *cluster.Node) error {
		return errors.Join(n.Heal(ctx, cluster.Private), n.Heal(ctx, cluster.Management), n.SlowDisks(ctx, 0), n.MendDisks(ctx))
	}),
	"cut": func(ctx context.Context, _ *cluster.Cluster, n *cluster.Node, args []string, _ io.Writer) error {
		link := cluster.Private
		if len(args) > 0 {
			link = cluster.Link(args[0])
		}
		if link != cluster.Private && link != cluster.Management {
			return errUsage
		}
		return n.Cut(ctx, link)
	},
	"slow": func(ctx context.Context, _ *cluster.Cluster, n *cluster.Node, args []string, _ io.Writer) error {
		if len(args) != 1 {
			return errUsage
		}
		perSecond, err := strconv.Atoi(args[0])
		if err != nil || perSecond < 0 {
			return errUsage
		}
		return n.SlowDisks(ctx, perSecond)
	},
}

func simple(do func(context.Context, *cluster.Node) error) nodeCommand {
	return func(ctx context.Context, _ *cluster.Cluster, n *cluster.Node, _ []string, _ io.Writer) error {
		return do(ctx, n)
	}
}

func status(c *cluster.Cluster, stdout io.Writer) error {
	fmt.Fprintf(stdout, "profile %s: %s\ndirectory %s\n", c.Profile.Name, c.Profile.About, c.Directory)
	for _, n := range c.Nodes {
		running, err := n.Running()
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%s %s\n", n.Name, map[bool]string{true: "runs", false: "is off"}[running])
	}
	return nil
}
