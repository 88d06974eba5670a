package testbed

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"one-clvm/test/build"
)

// stockSudoers is what Debian 12 ships.
const stockSudoers = `Defaults env_reset
Defaults mail_badpass
Defaults secure_path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
Defaults use_pty
root ALL=(ALL:ALL) ALL
%sudo ALL=(ALL:ALL) ALL
@includedir /etc/sudoers.d
`

// installSudoers installs the file that the project ships, after visudo has agreed.
func (m *Machine) installSudoers(ctx context.Context) error {
	root, err := build.Repository()
	if err != nil {
		return err
	}
	shipped := filepath.Join(root, "sudoers.d/one-clvm")
	if err := m.mustRun(ctx, "/usr/sbin/visudo", "-cf", shipped); err != nil {
		return err
	}
	if err := os.RemoveAll("/etc/sudoers.d"); err != nil {
		return err
	}
	if err := writeFile("/etc/sudoers", stockSudoers, 0o440); err != nil {
		return err
	}
	if err := os.Mkdir("/etc/sudoers.d", 0o755); err != nil {
		return err
	}
	if err := copyFile(shipped, "/etc/sudoers.d/one-clvm", 0o440); err != nil {
		return err
	}
	return m.extendSudoers()
}

// extendSudoers lets the variables of AgentEnv, which sshd sets, through sudo, and
// allows the programs of Sudo.
func (m *Machine) extendSudoers() error {
	rules := ""
	if names := slices.Sorted(maps.Keys(m.agentEnv())); len(names) > 0 {
		rules += fmt.Sprintf("Defaults env_keep += %q\n", strings.Join(names, " "))
	}
	if len(m.options.Sudo) > 0 {
		rules += "oneadmin ALL = (root:root) NOPASSWD: " + strings.Join(m.options.Sudo, ", ") + "\n"
	}
	if rules == "" {
		return nil
	}
	return writeFile("/etc/sudoers.d/testbed", rules, 0o440)
}

func (m *Machine) agentEnv() map[string]string {
	env := map[string]string{}
	if os.Getenv(coverVariable) != "" {
		env["GOCOVERDIR"] = coverage
	}
	maps.Copy(env, m.options.AgentEnv)
	return env
}

const sshDir = "/etc/ssh/testbed"

// startSSH makes keys for the host and for oneadmin, each known to the other, and starts
// sshd on the nodes' addresses.
func (m *Machine) startSSH(ctx context.Context) error {
	if err := os.MkdirAll(coverage, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(coverage, 0o777); err != nil {
		return err
	}
	userDir := Home + "/.ssh"
	for _, dir := range []string{sshDir, userDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	for _, key := range []string{sshDir + "/host_key", userDir + "/id_ed25519"} {
		if err := os.RemoveAll(key); err != nil {
			return err
		}
		if err := m.mustRun(ctx, "/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key); err != nil {
			return err
		}
	}
	if err := exchangeKeys(userDir); err != nil {
		return err
	}
	if err := writeFile(sshDir+"/sshd_config", m.sshdConfig(), 0o600); err != nil {
		return err
	}
	var err error
	m.sshd, err = m.Start(Command{Argv: []string{"/usr/sbin/sshd", "-D", "-e", "-f", sshDir + "/sshd_config"}, Root: true})
	if err != nil {
		return err
	}
	return m.waitForSSH(ctx)
}

func exchangeKeys(userDir string) error {
	hostKey, err := os.ReadFile(sshDir + "/host_key.pub")
	if err != nil {
		return err
	}
	userKey, err := os.ReadFile(userDir + "/id_ed25519.pub")
	if err != nil {
		return err
	}
	for name, text := range map[string]string{
		"authorized_keys": string(userKey),
		"known_hosts":     strings.Join(Nodes, ",") + " " + string(hostKey),
		"config":          "Host *\n  BatchMode yes\n  StrictHostKeyChecking yes\n  ConnectTimeout 10\n",
	} {
		if err := writeFile(filepath.Join(userDir, name), text, 0o600); err != nil {
			return err
		}
	}
	return giveToOneadmin(userDir)
}

func (m *Machine) sshdConfig() string {
	config := "HostKey " + sshDir + "/host_key\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n" +
		"PermitRootLogin no\nUseDNS no\nPidFile none\nLogLevel ERROR\nMaxStartups 200\n"
	for i := range Nodes {
		config += "ListenAddress " + nodeAddress(i) + "\n"
	}
	var set []string
	for name, value := range m.agentEnv() {
		set = append(set, fmt.Sprintf("%q", name+"="+value))
	}
	if len(set) > 0 {
		slices.Sort(set)
		config += "SetEnv " + strings.Join(set, " ") + "\n"
	}
	return config
}

// waitForSSH returns when the last of the nodes' addresses accepts connections.
func (m *Machine) waitForSSH(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		connection, err := new(net.Dialer).DialContext(ctx, "tcp", nodeAddress(len(Nodes)-1)+":22")
		if err == nil {
			return connection.Close()
		}
		select {
		case <-m.sshd.Ended():
			return fmt.Errorf("sshd did not start: %s", m.sshd.Wait().Stderr)
		case <-ctx.Done():
			return fmt.Errorf("sshd did not answer: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
