package testbed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"one-clvm/test/build"
	"one-clvm/test/fakeoned"
)

// Group is the volume group that a machine has.
const Group = "vg-one"

// Nodes are the hosts of a machine, as oned calls them. Both are the machine itself, over
// ssh.
var Nodes = []string{"node1", "node2"}

// Options for a machine.
type Options struct {
	// Program is the binary to install; "" is the one that Build names.
	Program string
	Build   Build // "" is Plain; Main must have been asked for it
	// VMM installs vmm-rhcs, with failpoints, and a libvirt that only notes what runs.
	VMM bool
	// GroupSize is the size of the volume group in LVM's syntax; "" is 1T, "-" makes no
	// volume group.
	GroupSize string
	// Agent holds more settings of agent.conf, or others than the machine's own.
	Agent map[string]string
	// Cxmrc holds more settings of cxmrc, or others than the machine's own.
	Cxmrc map[string]string
	// Sudo are more programs that oneadmin may run as root, to compare with other ways.
	Sudo []string
	// AgentEnv is what the agent finds in its environment, past sudo.
	AgentEnv map[string]string
}

// Machine is a front-end, its nodes and its oned.
type Machine struct {
	Oned *fakeoned.Server

	options Options
	sshd    *Process
}

// The machine's files.
const (
	agentConf        = "/etc/one-clvm/agent.conf"
	cxmrc            = Home + "/remotes/etc/tm/clvm/cxmrc"
	remotes          = Home + "/remotes/tm/clvm"
	datastoreRemotes = Home + "/remotes/datastore/clvm"
	vmmRemotes       = Home + "/remotes/vmm/rhcs"
	oneAuth          = Home + "/.one/one_auth"
	datastores       = Home + "/datastores"
)

// Start makes the machine: an installation as the manual describes it, a volume group, an
// sshd and a stand-in for oned that knows the two datastores and the hosts. One machine at
// a time; works inside only.
func Start(ctx context.Context, options Options) (*Machine, error) {
	if !Inside() {
		return nil, errors.New("testbed: not inside: call Main first")
	}
	m := &Machine{options: options}
	steps := []struct {
		name string
		do   func(context.Context) error
	}{
		{"accounts", func(context.Context) error { return addAccounts() }},
		{"programs", func(context.Context) error { return m.install() }},
		{"sudo", m.installSudoers},
		{"VMM driver", func(context.Context) error { return m.installVMM() }},
		{"configuration", func(context.Context) error { return m.configure() }},
		{"oned", func(context.Context) error { return m.startOned() }},
		{"sshd", m.startSSH},
		{"volume group", m.createGroup},
	}
	for _, step := range steps {
		if err := step.do(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("testbed: %s: %w", step.name, err), m.Stop())
		}
	}
	return m, nil
}

// Stop ends sshd and oned. The files stay until the namespaces go.
func (m *Machine) Stop() error {
	var errs []error
	if m.sshd != nil {
		errs = append(errs, m.sshd.Signal(os.Kill))
		m.sshd.Wait()
	}
	if m.Oned != nil {
		errs = append(errs, m.Oned.Close())
	}
	return errors.Join(errs...)
}

func (m *Machine) install() error {
	program := m.options.Program
	if program == "" {
		program = cmp.Or(m.options.Build, Plain).Path()
	}
	if err := os.MkdirAll(filepath.Dir(installed), 0o755); err != nil {
		return err
	}
	if err := copyFile(program, installed, 0o755); err != nil {
		return err
	}
	root, err := build.Repository()
	if err != nil {
		return err
	}
	for from, to := range map[string]string{"remotes/tm/clvm": remotes, "remotes/datastore/clvm": datastoreRemotes} {
		if err := installScripts(filepath.Join(root, from), to); err != nil {
			return err
		}
	}
	return nil
}

// installVMM installs the VMM driver where Options ask for it.
func (m *Machine) installVMM() error {
	if !m.options.VMM {
		return nil
	}
	root, err := build.Repository()
	if err != nil {
		return err
	}
	return errors.Join(
		copyFile(VMMFailpoints.Path(), InstalledVMM, 0o755),
		copyFile(Virsh.Path(), "/usr/local/sbin/virsh", 0o755),
		copyFile(filepath.Join(root, "sudoers.d/one-clvm-vmm"), "/etc/sudoers.d/one-clvm-vmm", 0o440),
		installScripts(filepath.Join(root, "remotes/vmm/rhcs"), vmmRemotes),
	)
}

func installScripts(from, to string) error {
	scripts, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, s := range scripts {
		if err := copyFile(filepath.Join(from, s.Name()), filepath.Join(to, s.Name()), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// configure writes both ends' configuration and the directories of the datastores.
func (m *Machine) configure() error {
	if err := m.Configure(m.options.Agent, m.options.Cxmrc); err != nil {
		return err
	}
	for _, id := range []int{fakeoned.ImageDS, fakeoned.SystemDS} {
		if err := os.MkdirAll(DatastorePath(id), 0o755); err != nil {
			return err
		}
	}
	return giveToOneadmin(Home)
}

// Configure writes agent.conf (root's) and cxmrc (oneadmin's) with these settings over
// the machine's own.
func (m *Machine) Configure(agent, driver map[string]string) error {
	base := map[string]string{"ALLOWED_VGS": Group, "HOME_BASE": datastores, "FILE_VG_DIR": GroupsDirectory()}
	if err := writeSettings(agentConf, base, agent); err != nil {
		return err
	}
	if err := writeSettings(cxmrc, map[string]string{"VG_NAME": Group}, driver); err != nil {
		return err
	}
	return giveToOneadmin(cxmrc)
}

func writeSettings(path string, base, more map[string]string) error {
	settings := maps.Clone(base)
	maps.Copy(settings, more)
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&text, "%s=%q\n", name, settings[name])
	}
	return writeFile(path, text.String(), 0o644)
}

func (m *Machine) startOned() (err error) {
	m.Oned, err = fakeoned.Listen("127.0.0.1:2633")
	if err != nil {
		return err
	}
	m.Oned.Put(fakeoned.Datastores, fakeoned.ImageDS, fakeoned.ImageDatastore(nil))
	m.Oned.Put(fakeoned.Datastores, fakeoned.SystemDS, fakeoned.SystemDatastore(map[string]string{"VG_NAME": Group}))
	for i, name := range Nodes {
		m.Oned.Put(fakeoned.Hosts, i, fakeoned.Host(i, name, 2))
	}
	if err := writeFile(oneAuth, fakeoned.Session+"\n", 0o600); err != nil {
		return err
	}
	return giveToOneadmin(filepath.Dir(oneAuth))
}

func (m *Machine) createGroup(ctx context.Context) error {
	size := cmp.Or(m.options.GroupSize, "1T")
	if err := os.MkdirAll(GroupsDirectory(), 0o755); err != nil {
		return err
	}
	// The usual place leads there, too.
	usual := state + "/vg"
	if err := errors.Join(os.RemoveAll(usual), os.Symlink(GroupsDirectory(), usual)); err != nil || size == "-" {
		return err
	}
	return m.mustRun(ctx, installed, "vg", "create", Group, "--size", size)
}

// mustRun runs a program as root; anything but exit status 0 is an error.
func (m *Machine) mustRun(ctx context.Context, argv ...string) error {
	result, err := m.Run(ctx, Command{Argv: argv, Root: true})
	if err == nil && result.Status != 0 {
		err = fmt.Errorf("%s: exit status %d: %s", strings.Join(argv, " "), result.Status, strings.TrimSpace(result.Stderr))
	}
	return err
}

// GroupsDirectory is where the machine's volume groups are. Its name is not that of another
// machine's: the loop devices of all are seen by all, and known by the paths under them.
func GroupsDirectory() string {
	return filepath.Join(state, filepath.Base(os.Getenv(directoryVariable)), "vg")
}

// DatastorePath is the directory of a datastore.
func DatastorePath(id int) string { return fmt.Sprintf("%s/%d", datastores, id) }

// Verb is the path of a TM verb's script, as oned would run it.
func Verb(name string) string { return filepath.Join(remotes, name) }

// DatastoreVerb is the path of a datastore verb's script.
func DatastoreVerb(name string) string { return filepath.Join(datastoreRemotes, name) }

// VMMVerb is the path of a VMM verb's script, as it is on a node.
func VMMVerb(name string) string { return filepath.Join(vmmRemotes, name) }

// InstalledVMM is where Options.VMM puts the VMM driver.
const InstalledVMM = "/usr/libexec/one-clvm/vmm-rhcs"

// writeFile writes a file and the directories above it.
func writeFile(path, text string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

func copyFile(from, to string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close() // only read
	// A new file: the old one may be running.
	if err := os.Remove(to); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(mode), out.Close())
}
