package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// SSHConfig is the file that makes "ssh -F FILE node1" reach the nodes, as root unless
// another user is asked for; oneadmin is the only other. The first connection to a node
// stays for those that follow, until nobody used it for a minute.
func (c *Cluster) SSHConfig() string { return filepath.Join(c.Directory, "ssh_config") }

func (c *Cluster) writeSSHConfig(ctx context.Context) error {
	hostKey, err := c.image.HostKey()
	if err != nil {
		return err
	}
	known := filepath.Join(c.Directory, "known_hosts")
	config := ""
	var names []string
	for _, n := range c.Nodes {
		port, err := n.spec.SSHPort(ctx)
		if err != nil {
			return err
		}
		names = append(names, n.Name)
		config += fmt.Sprintf("Host %s\n  HostName 127.0.0.1\n  HostKeyAlias %s\n  Port %d\n", n.Name, n.Name, port)
	}
	config += fmt.Sprintf("Host *\n  User root\n  IdentityFile %q\n  IdentitiesOnly yes\n  IdentityAgent none\n  UserKnownHostsFile %q\n"+
		"  StrictHostKeyChecking yes\n  BatchMode yes\n  LogLevel ERROR\n  ConnectTimeout 20\n"+
		"  ControlMaster auto\n  ControlPath %q\n  ControlPersist 60\n",
		c.image.Key(), known, filepath.Join(c.Directory, "%r@%n.ssh"))
	if err := os.WriteFile(known, []byte(strings.Join(names, ",")+" "+hostKey), 0o600); err != nil {
		return err
	}
	return os.WriteFile(c.SSHConfig(), []byte(config), 0o600)
}
