package testbed

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// oneadmin's numbers are those of OpenNebula's packages.
const oneadminID = 9869

// addAccounts makes the user and group oneadmin, in place of the machine's own if it has
// them. The password field is a star, not an exclamation mark: no password, but not
// locked, which sshd would refuse.
func addAccounts() error {
	for file, line := range map[string]string{
		"/etc/passwd": fmt.Sprintf("oneadmin:x:%d:%d::%s:/bin/sh", oneadminID, oneadminID, Home),
		"/etc/group":  fmt.Sprintf("oneadmin:x:%d:", oneadminID),
		"/etc/shadow": "oneadmin:*:19000:0:99999:7:::",
	} {
		if err := replaceLine(file, "oneadmin:", line); err != nil {
			return err
		}
	}
	// There is no network: asking a name server would only take time.
	if err := replaceLine("/etc/nsswitch.conf", "hosts:", "hosts: files"); err != nil {
		return err
	}
	names := "127.0.0.1 localhost\n127.0.0.1 " + hostname + "\n"
	for i, node := range Nodes {
		names += nodeAddress(i) + " " + node + "\n"
	}
	return writeFile("/etc/hosts", names, 0o644)
}

// nodeAddress is the loopback address of a node's sshd.
func nodeAddress(i int) string { return fmt.Sprintf("127.0.1.%d", i+1) }

// replaceLine puts the line in place of those with the prefix.
func replaceLine(path, prefix, line string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var kept []string
	for _, old := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n") {
		if !strings.HasPrefix(old, prefix) {
			kept = append(kept, old)
		}
	}
	return os.WriteFile(path, []byte(strings.Join(append(kept, line), "\n")+"\n"), 0o644) // the mode of an existing file stays
}

// giveToOneadmin makes a file, or all below a directory, oneadmin's.
func giveToOneadmin(path string) error {
	return filepath.WalkDir(path, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(name, oneadminID, oneadminID)
	})
}
