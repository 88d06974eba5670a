package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"one-clvm/lab/cluster"
	"one-clvm/lab/image"
	"one-clvm/lab/profile"
)

// keeperVariable is set in the process that keeps a lab up, in the background.
const keeperVariable = "ONE_CLVM_LAB_KEEPER"

func usage() string {
	text := `usage: go run ./lab COMMAND

  up [PROFILE]         start a lab, in the background (profile cluster)
  down                 end it; nothing is left
  status               what runs
  ssh NODE [COMMAND]   log in as root, or run a command
  console NODE         what the node wrote to its console
  logs FOLDER          gather the nodes' logs and the state of LVM and its locks
  kill NODE            cut its power
  pause NODE           freeze it
  resume NODE          end the freeze
  cut NODE [LINK]      unplug its network: private (default) or management
  heal NODE            plug its network in, mend its disks
  break NODE           let its path to the SAN fail
  slow NODE N          let its disks do N requests a second; 0: no limit
  fencing on|off       let the fence device work, or refuse

Profiles:
`
	for _, p := range profile.All() {
		text += fmt.Sprintf("  %-10s %s\n", p.Name, p.About)
	}
	return text
}

func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if len(args) == 0 || args[0] == "help" || args[0] == "--help" {
		fmt.Fprint(stdout, usage())
		return 0
	}
	if err := command(ctx, args[0], args[1:], stdout); err != nil {
		fmt.Fprintln(stderr, "lab:", err)
		return 1
	}
	return 0
}

var errUsage = errors.New("wrong arguments; see: go run ./lab help")

func command(ctx context.Context, name string, args []string, stdout io.Writer) error {
	if name == "up" {
		p := profile.Cluster.Name
		if len(args) > 0 && args[0] == "--profile" {
			args = args[1:]
		}
		if len(args) > 0 {
			p = args[0]
		}
		if os.Getenv(keeperVariable) != "" {
			return keep(ctx, p, stdout)
		}
		return up(ctx, p, stdout)
	}
	directory, err := current()
	if err != nil {
		return err
	}
	c, err := cluster.Open(directory)
	if err != nil {
		return err
	}
	defer c.HangUp()
	if do, known := clusterCommands[name]; known {
		return do(ctx, c, args, stdout)
	}
	do, known := nodeCommands[name]
	if !known || len(args) == 0 {
		return errUsage
	}
	node, err := c.Node(args[0])
	if err != nil {
		return err
	}
	return do(ctx, c, node, args[1:], stdout)
}

// currentLink is the link in the cache that leads to the directory of the lab that "up"
// started.
func currentLink() (string, error) {
	cache, err := image.CacheDir()
	return filepath.Join(cache, "current"), err
}

func current() (string, error) {
	link, err := currentLink()
	if err != nil {
		return "", err
	}
	directory, err := os.Readlink(link)
	if err != nil {
		return "", fmt.Errorf("%w; start one: go run ./lab up", cluster.ErrNotUp)
	}
	return directory, nil
}
