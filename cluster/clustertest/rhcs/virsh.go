package rhcs

import "strings"

// virsh is the client of the libvirt of this node, or of the one that -c names.
func (c *Cluster) virsh(n *Node, args []string, stdin string) Reply {
	failure := func(text string) Reply { return Reply{Stderr: "error: " + text + "\n", Status: 1} }
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
	verb, name := args[2], args[3]
	if verb == "restore" {
		domain := c.Saved[name]
		if domain == "" {
			return failure("Failed to restore domain from " + name + "\nerror: Failed to open file '" + name + "': No such file or directory")
		}
		n.Domains[domain] = "running"
		delete(c.Saved, name)
		delete(c.Running, domain)
		return Reply{}
	}
	if n.Domains[name] == "" {
		return failure("failed to get domain '" + name + "'")
	}
	switch verb {
	case "domstate":
		return Reply{Stdout: n.Domains[name] + "\n\n"}
	case "destroy":
		delete(n.Domains, name)
	case "shutdown":
		if !n.Deaf {
			delete(n.Domains, name)
		}
	case "save":
		delete(n.Domains, name)
		c.Saved[args[4]] = name
	case "reboot", "reset":
	case "dumpxml", "attach-device", "detach-disk", "detach-interface":
		return c.devices(verb, name, args[4:], stdin)
	default:
		c.violation("virsh %s on a VM of the cluster", verb)
		return failure("unknown command")
	}
	return Reply{}
}

// hostOf is the host of a URI like qemu+ssh://node2/system.
func hostOf(uri string) string {
	_, rest, _ := strings.Cut(uri, "://")
	host, _, _ := strings.Cut(rest, "/")
	return host
}
