package rhcs

import (
	"maps"
	"os"
	"slices"
	"strings"
)

func failure(text string) Reply { return Reply{Stderr: "error: " + text + "\n", Status: 1} }

// virsh is the client of the libvirt of this node, or of the one that -c names.
func (c *Cluster) virsh(n *Node, args []string, stdin string) Reply {
	if len(args) < 3 || args[0] != "-c" {
		return failure("usage")
	}
	if host := hostOf(args[1]); host != "" {
		if n = c.Node(host); n == nil || !n.Up {
			return failure("failed to connect to the hypervisor\nerror: Cannot recv data: ssh: connect to host " + host + " port 22: No route to host")
		}
	}
	if n.NoLibvirt {
		return failure("failed to connect to the hypervisor\nerror: Failed to connect socket: Connection refused")
	}
	if args[2] == "domstats" {
		return n.domstats()
	}
	if strings.Join(args[2:], " ") == "list --name" {
		return Reply{Stdout: strings.Join(slices.Sorted(maps.Keys(n.Domains)), "\n") + "\n\n"}
	}
	verb, name := args[2], args[3]
	if verb == "restore" {
		return c.restore(n, name, slices.Contains(args, "--paused"))
	}
	if n.Domains[name] == "" {
		return failure("failed to get domain '" + name + "'")
	}
	switch verb {
	case "domstate":
		return Reply{Stdout: n.Domains[name] + "\n\n"}
	case "destroy":
		c.libvirtEnds(n, name)
	case "shutdown":
		if !n.Deaf {
			c.libvirtEnds(n, name)
		}
	case "save":
		c.libvirtEnds(n, name)
		c.Saved[args[4]] = name
	case "resume":
		if n.Domains[name] != "paused" {
			return failure("Failed to resume domain '" + name + "'\nerror: Requested operation is not valid: domain is already running")
		}
		n.Domains[name] = "running"
	case "domjobabort":
		return failure("Requested operation is not valid: no job is active on the domain")
	case "reboot", "reset":
	case "dumpxml", "attach-device", "detach-disk", "detach-interface":
		return c.devices(verb, name, args[4:], stdin)
	default:
		c.violation("virsh %s on a VM of the cluster", verb)
		return failure("unknown command")
	}
	return Reply{}
}

// restore has a domain as it was saved.
func (c *Cluster) restore(n *Node, file string, paused bool) Reply {
	domain := c.Saved[file]
	if domain == "" {
		return failure("Failed to restore domain from " + file + "\nerror: Failed to open file '" + file + "': No such file or directory")
	}
	if !c.libvirtStarts(n, domain) {
		return failure("Hook script execution failed")
	}
	if paused {
		n.Domains[domain] = "paused"
	}
	delete(c.Running, domain)
	return Reply{}
}

// libvirtStarts a domain, unless its hook refuses: then what was prepared is released.
func (c *Cluster) libvirtStarts(n *Node, name string) bool {
	if c.libvirtHook(n, name, "prepare", "begin") != nil || c.libvirtHook(n, name, "started", "begin") != nil {
		_ = c.libvirtHook(n, name, "release", "end")
		return false
	}
	n.Domains[name] = "running"
	return true
}

func (c *Cluster) libvirtEnds(n *Node, name string) {
	if n.Domains[name] == "" {
		return
	}
	delete(n.Domains, name)
	_ = c.libvirtHook(n, name, "release", "end") // it is only logged
}

// libvirtHook calls it with the file that rgmanager starts the domain from.
func (c *Cluster) libvirtHook(n *Node, name, operation, part string) error {
	if c.Hook == nil {
		return nil
	}
	document := ""
	if config, err := parse(c.Loaded); err == nil {
		if vm := named(config, "rm/vm", name); vm != nil {
			text, err := os.ReadFile(vm.SelectAttrValue("xmlfile", ""))
			if err != nil {
				return err
			}
			document = string(text)
		}
	}
	return c.Hook(n.Name, name, operation, part, document)
}

// hostOf is the host of a URI like qemu+ssh://node2/system.
func hostOf(uri string) string {
	_, rest, _ := strings.Cut(uri, "://")
	host, _, _ := strings.Cut(rest, "/")
	return host
}
