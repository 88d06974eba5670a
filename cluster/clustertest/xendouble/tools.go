package xendouble

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"one-clvm/cluster/clustertest/double"
)

func failure(status int, format string, args ...any) double.Reply {
	return double.Reply{Stderr: fmt.Sprintf(format, args...) + "\n", Status: status}
}

func said(status int, format string, args ...any) double.Reply {
	return double.Reply{Stdout: fmt.Sprintf(format, args...) + "\n", Status: status}
}

func (c *Cluster) members() []*Node {
	return slices.DeleteFunc(slices.Clone(c.Nodes), func(n *Node) bool { return !n.Up || n.NoCxmd })
}

func (c *Cluster) cxmdCtl(n *Node, args []string) double.Reply {
	if n.NoCxmd || !n.Up {
		return said(1, "Can't contact cxmd. Is daemon running ?")
	}
	switch strings.Join(args, " ") {
	case "--ping", "-p":
		return said(0, "OK")
	case "-l":
		var names []string
		for _, m := range c.members() {
			names = append(names, m.Name)
		}
		return said(0, "%s", strings.Join(names, "\n"))
	case "-s":
		return said(0, "Role: active\nMaster: %s\nSince: Mon, 11 Feb 2013 10:00:00\nState: %s", n.Name, c.State)
	}
	return failure(3, "Syntax error: Too many arguments.")
}

// holders are the nodes on which cxm finds a VM.
func (c *Cluster) holders(name string) (running, links []string) {
	for _, n := range c.members() {
		if n.Domains[name] != "" {
			running = append(running, n.Name)
		}
		if slices.Contains(c.links(n.Name), name) {
			links = append(links, n.Name)
		}
	}
	return running, links
}

func (c *Cluster) cxm(n *Node, args []string) double.Reply {
	if n.NoCxmd || !n.Up {
		return said(1, "Can't contact cxmd. Is daemon running ?")
	}
	quiet, force := false, ""
	var words []string
	for i := 0; i < len(args); i++ {
		switch args[i] {
		case "-q", "--quiet":
			quiet = true
		case "-f", "--force-node":
			force, i = args[i+1], i+1
		default:
			words = append(words, args[i])
		}
	}
	name := words[1]
	running, links := c.holders(name)
	switch words[0] {
	case "search":
		return search(running, links)
	case "create":
		return c.create(n, name, force, running, links)
	}
	if len(running) == 0 {
		return said(2, "VM %s not found.", name)
	}
	if len(running) > 1 {
		return said(2, "** ERROR : Multiples instances found on :\n**  ->  %s", strings.Join(running, ", "))
	}
	holder := c.Node(running[0])
	switch words[0] {
	case "destroy":
		if !quiet {
			c.violation("cxm destroy asks on standard input unless it is told to be quiet")
		}
		delete(holder.Domains, name)
		return double.Reply{}
	case "migrate":
		return c.migrate(holder, name, words[2])
	}
	return failure(3, "Syntax error: Unknown subcommand %s", words[0])
}

func search(running, links []string) double.Reply {
	var out strings.Builder
	switch {
	case len(running) == 0:
		out.WriteString(" -> VM is not started.\n")
	case len(running) > 1:
		out.WriteString("** WARNING : MULTIPLES INSTANCES FOUND !!!\n")
	}
	if len(running) > 0 {
		fmt.Fprintf(&out, " -> Instance found on: %s\n", strings.Join(running, ", "))
	}
	if len(links) == 0 {
		out.WriteString(" -> Autostart link not found.")
	} else {
		fmt.Fprintf(&out, " -> Autostart link found on: %s", strings.Join(links, ", "))
	}
	return said(0, "%s", out.String())
}

func (c *Cluster) create(n *Node, name, force string, running, links []string) double.Reply {
	switch {
	case len(running) > 0:
		return said(2, "** Nothing to do :\n** %s is running on %s", name, strings.Join(running, ", "))
	case force != "":
		n = c.Node(force)
	case len(links) > 1:
		return said(2, "** Warning: duplicates autostart links found on :\n**  ->  %s", strings.Join(links, ", "))
	case len(links) == 1:
		n = c.Node(links[0])
	}
	if n == nil || !n.Up {
		return failure(1, "Error: Node %s is not in cluster.", force)
	}
	if n.RefusesCreate {
		return failure(1, "Error: Can't start %s on %s: Not enough ram", name, n.Name)
	}
	n.Domains[name] = "r-----"
	n.plug(name, c.definition(n, name))
	return double.Reply{}
}

func (c *Cluster) migrate(from *Node, name, target string) double.Reply {
	to := c.Node(target)
	switch {
	case to == from:
		return said(0, "%s is already on %s", name, target)
	case to == nil || !to.Up || to.NoCxmd:
		return failure(1, "Error: Node %s is not in cluster.", target)
	case from.RefusesMoving:
		return failure(1, "Error: Cannot migrate %s to %s: Not enough ram", name, target)
	}
	from.give(name, to)
	old := filepath.Join(c.Auto(from.Name), name)
	if definition, err := os.Readlink(old); err == nil {
		if err := os.Symlink(definition, filepath.Join(c.Auto(target), name)); err == nil {
			_ = os.Remove(old)
		}
	}
	return double.Reply{}
}

// client is xl or xm.
func (c *Cluster) client(n *Node, program string, args []string) double.Reply {
	if n.NoXen || !n.Up {
		if program == "xm" {
			return failure(1, "Error: Unable to connect to xend: No such file or directory. Is xend running?")
		}
		return failure(1, "xencall: error: Could not obtain handle on privileged command interface: No such file or directory")
	}
	words := slices.DeleteFunc(slices.Clone(args[1:]), func(word string) bool { return strings.HasPrefix(word, "-") })
	switch args[0] {
	case "list":
		out := "Name                                        ID   Mem VCPUs\tState\tTime(s)\nDomain-0                                     0  1024     2     r-----     512.3\n"
		for i, name := range slices.Sorted(maps.Keys(n.Domains)) {
			out += fmt.Sprintf("%-40s %5d %5d %5d     %6s %8.1f\n", name, i+1, 512, 1, n.Domains[name], 12.5)
		}
		return double.Reply{Stdout: out}
	case "create":
		reply := c.start(n, filepath.Base(words[0]))
		n.plug(filepath.Base(words[0]), words[0])
		return reply
	case "restore":
		return c.restore(n, program, slices.Contains(args, "-p"), words)
	}
	name := words[0]
	if n.Domains[name] == "" {
		return failure(1, "%s is an invalid domain identifier", name)
	}
	switch args[0] {
	case "shutdown":
		if !n.Deaf {
			delete(n.Domains, name)
		}
	case "destroy":
		delete(n.Domains, name)
	case "reboot":
	case "unpause":
		n.Domains[name] = "-b----"
	case "save":
		delete(n.Domains, name)
		c.Saved[words[1]] = name
	case "migrate":
		to := c.Node(words[1])
		if to == nil || !to.Up || n.RefusesMoving {
			return failure(1, "migration target: Failed to connect to %s", words[1])
		}
		n.give(name, to)
	case "block-list", "network-list":
		return n.list(args[0], name)
	case "block-attach", "block-detach", "network-attach", "network-detach", "cd-eject", "cd-insert", "mem-set", "vcpu-set":
		return n.change(program, args[0], name, words[1:])
	default:
		c.violation("%s is no word that a driver may say to xl or xm", args[0])
		return failure(1, "command not implemented") // xl's own text for a word that it does not know
	}
	return double.Reply{}
}

// restore has a checkpoint, and with xl a definition before it.
func (c *Cluster) restore(n *Node, program string, paused bool, words []string) double.Reply {
	if program == "xm" && paused {
		c.violation("xm of Xen 3 takes no -p")
	}
	file := words[len(words)-1]
	name := c.Saved[file]
	if name == "" {
		return failure(1, "Can't open save file %s", file)
	}
	if len(words) > 1 {
		n.plug(name, words[0])
	}
	reply := c.start(n, name)
	if paused && reply.Status == 0 {
		n.Domains[name] = "--p---"
	}
	return reply
}

func (c *Cluster) start(n *Node, name string) double.Reply {
	if n.RefusesCreate {
		return failure(1, "failed to free memory for the domain")
	}
	for _, m := range c.Nodes {
		if m.Domains[name] != "" {
			c.violation("%s was started on %s while it is on %s", name, n.Name, m.Name)
		}
	}
	n.Domains[name] = "-b----"
	return double.Reply{}
}
