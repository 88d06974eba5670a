//go:build lab

package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"one-clvm/internal/run"
	"one-clvm/lab/cluster"
	"one-clvm/lab/labtest"
)

// bed is a front-end without the suite: the nodes' Debian in memory, on this machine, with mounts and
// a host name of its own. It has this machine's loopback, on which the nodes' sshd are. All of
// it ends with its keeper, and that with the test, whatever ends that.
type bed struct {
	keeper *exec.Cmd
	root   string
}

// makeBed mounts, says so, and keeps the namespaces until its standard input ends.
const makeBed = `set -e
mount -t tmpfs -o mode=755 tmpfs "$1"
cd "$1"
mkdir lower upper work root
mount -o loop,ro "$2" lower
mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay root
for below in dev proc sys; do mount --rbind "/$below" "root/$below"; done
mount -t tmpfs -o mode=755 tmpfs root/run
mkdir -p root/run/sshd root/run/lock
hostname "$3"
echo ready
exec cat
`

// newBed makes one of the system that the nodes boot from.
func newBed(t *testing.T, rootFS, name string) *bed {
	t.Helper()
	directory := t.TempDir()
	b := &bed{root: filepath.Join(directory, "root"), keeper: exec.Command("sh", "-c", makeBed, "bed", directory, rootFS, name)}
	b.keeper.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS | unix.CLONE_NEWUTS}
	b.keeper.Stderr = os.Stderr
	stdin, err := b.keeper.StdinPipe()
	require.NoError(t, err)
	stdout, err := b.keeper.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, b.keeper.Start(), "a front-end needs root: it makes namespaces and mounts")
	t.Cleanup(func() {
		require.NoError(t, stdin.Close())
		require.NoError(t, b.keeper.Wait())
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", line)
	return b
}

// argv is how a program is started in the bed.
func (b *bed) argv(argv ...string) []string {
	pid := strconv.Itoa(b.keeper.Process.Pid)
	return append([]string{"nsenter", "--target", pid, "--mount", "--uts", "--", "chroot", b.root}, argv...)
}

// Run implements run.Runner: root of the bed runs a program.
func (b *bed) Run(ctx context.Context, c run.Cmd) (run.Result, error) {
	argv := b.argv(append([]string{c.Path}, c.Args...)...)
	c.Path, c.Args = argv[0], argv[1:]
	return run.Exec{}.Run(ctx, c)
}

// put writes a file that belongs to a user of the bed.
func (b *bed) put(t *testing.T, path, text, owner string, mode os.FileMode) {
	t.Helper()
	file := filepath.Join(t.TempDir(), filepath.Base(path))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	b.install(t, file, path, owner, mode)
}

// install copies a file of this machine.
func (b *bed) install(t *testing.T, from, to, owner string, mode os.FileMode) {
	t.Helper()
	content, err := os.Open(from)
	require.NoError(t, err)
	defer content.Close() // only read
	_, err = b.Run(t.Context(), run.Cmd{Path: "install", Args: []string{"-D", "-o", owner, "-g", owner, "-m", fmt.Sprintf("%04o", mode), "/dev/stdin", to}, Stdin: content})
	require.NoError(t, err)
}

// hosts is the block of the lab's ssh_config that says where the nodes are.
var hosts = regexp.MustCompile(`(?m)^Host node.*\n(?:  .*\n)+`)

// knowEachOther is what OpenNebula's installation asks for: root and oneadmin of the bed and of
// the nodes reach each other by ssh. A tunnel leads from the nodes to the bed's sshd.
func (b *bed) knowEachOther(t *testing.T, c labtest.Cluster, name string) {
	t.Helper()
	of := func(path string) string { return c.Output(t, c.Nodes[0], "cat", path) }
	hostKey, err := c.Image().HostKey()
	require.NoError(t, err)
	config, err := os.ReadFile(c.SSHConfig())
	require.NoError(t, err)
	known := fmt.Sprintf("%s,node1,node2 %s", name, hostKey)
	b.put(t, "/etc/ssh/ssh_config.d/lab.conf", string(joined(hosts.FindAll(config, -1)))+"Host *\n  BatchMode yes\n  ControlMaster auto\n  ControlPath /tmp/%i.%r@%n\n  ControlPersist 60\n", "root", 0o644)
	b.put(t, "/etc/ssh/ssh_known_hosts", known, "root", 0o644)
	b.put(t, "/etc/ssh/sshd_config", of("/etc/ssh/sshd_config"), "root", 0o644)
	b.put(t, "/etc/ssh/ssh_host_ed25519_key", of("/etc/ssh/ssh_host_ed25519_key"), "root", 0o600)
	b.put(t, "/etc/hosts", "127.0.0.1 localhost "+name+"\n", "root", 0o644)
	for owner, home := range map[string]string{"root": "/root", "oneadmin": oneadminHome} {
		for _, file := range []string{"authorized_keys", "id_ed25519"} {
			b.put(t, home+"/.ssh/"+file, of("/root/.ssh/"+file), owner, 0o600)
		}
	}
	_, err = b.Run(t.Context(), run.Cmd{Path: "chown", Args: []string{"-R", "oneadmin:oneadmin", oneadminHome}})
	require.NoError(t, err)
	port := b.listen(t)
	for _, n := range c.Nodes {
		c.Output(t, n, "sh", "-c", "cat > /etc/ssh/ssh_known_hosts <<'END'\n"+known+"END\n"+
			"mkdir -p /etc/ssh/ssh_config.d && printf 'Host "+name+"\\n  HostName 127.0.0.1\\n  Port 2222\\n  HostKeyAlias "+name+"\\n' > /etc/ssh/ssh_config.d/frontend.conf")
		tunnel(t, c, n, "127.0.0.1:2222:127.0.0.1:"+strconv.Itoa(port))
	}
}

func joined(parts [][]byte) (all []byte) {
	for _, part := range parts {
		all = append(all, part...)
	}
	return all
}

// listen is the bed's sshd: one process a connection, on a port that is free.
func (b *bed) listen(t *testing.T) int {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, listener.Close()) })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return // closed
			}
			go b.serve(connection)
		}
	}()
	address, err := netip.ParseAddrPort(listener.Addr().String())
	require.NoError(t, err)
	return int(address.Port())
}

// serve hands a connection to an sshd; what becomes of it the other end sees.
func (b *bed) serve(connection net.Conn) {
	tcp, ok := connection.(*net.TCPConn)
	if !ok {
		return
	}
	file, err := tcp.File()
	if err = errors.Join(err, connection.Close()); err != nil {
		return
	}
	defer file.Close() // the process had its own
	argv := b.argv("/usr/sbin/sshd", "-i", "-E", "/var/log/sshd.log")
	sshd := exec.Command(argv[0], argv[1:]...)
	sshd.Stdin, sshd.Stdout = file, file
	_ = sshd.Run() // it logs by itself
}

// tunnel lets a node reach an address of this machine.
func tunnel(t *testing.T, c labtest.Cluster, n *cluster.Node, forward string) {
	t.Helper()
	ctx, end := context.WithCancel(context.Background())
	ssh := exec.CommandContext(ctx, "ssh", "-F", c.SSHConfig(), "-o", "ControlPath=none", "-o", "ExitOnForwardFailure=yes", "-N", "-R", forward, n.Name) //nolint:gosec // the lab's own
	require.NoError(t, ssh.Start())
	t.Cleanup(func() {
		end()
		_ = ssh.Wait() // killed, or the node was
	})
}
