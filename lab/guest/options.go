package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"one-clvm/lab/profile"
)

// options come on the kernel's command line: lab.node=1 lab.profile=cluster.
type options struct {
	node    int
	profile profile.Profile
}

// name of the node.
func (o options) name() string { return fmt.Sprintf("node%d", o.node) }

func readOptions() (options, error) {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return options{}, err
	}
	var o options
	for _, word := range strings.Fields(string(line)) {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "lab.node":
			o.node, err = strconv.Atoi(value)
		case "lab.profile":
			o.profile, err = profile.Named(value)
		}
		if err != nil {
			return options{}, fmt.Errorf("kernel command line: %w", err)
		}
	}
	if o.node < 1 || o.node > o.profile.Nodes {
		return options{}, fmt.Errorf("kernel command line: no node %d in profile %q", o.node, o.profile.Name)
	}
	return o, nil
}
