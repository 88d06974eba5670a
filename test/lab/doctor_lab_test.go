//go:build lab

package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"one-clvm/agent/facts"
	"one-clvm/doctor"
	"one-clvm/internal/run"
	"one-clvm/lab/cluster"
	"one-clvm/lab/profile"
	sudoers "one-clvm/sudoers.d"
	"one-clvm/test/fakeoned"
	"one-clvm/udev"
)

const (
	foreignVM = 77
	hookID    = 7
	hostHook  = `<HOOK><ID>7</ID><NAME>ft</NAME><TYPE>state</TYPE><TEMPLATE><ARGUMENTS><![CDATA[$TEMPLATE -m -p 5]]></ARGUMENTS><COMMAND><![CDATA[ft/host_error.rb]]></COMMAND><RESOURCE>HOST</RESOURCE><STATE>ERROR</STATE></TEMPLATE></HOOK>`
	onedConf  = `<OPENNEBULA_CONFIGURATION><TM_MAD><ARGUMENTS><![CDATA[-t 15 -d %s]]></ARGUMENTS></TM_MAD><DS_MAD_CONF><NAME>clvm</NAME></DS_MAD_CONF><TM_MAD_CONF><NAME>clvm</NAME><SHARED>YES</SHARED><LN_TARGET>SYSTEM</LN_TARGET><CLONE_TARGET>SYSTEM</CLONE_TARGET><DRIVER>raw</DRIVER></TM_MAD_CONF><VM_MAD><NAME>rhcs</NAME></VM_MAD><INHERIT_DATASTORE_ATTR>DISK_TYPE</INHERIT_DATASTORE_ATTR><INHERIT_DATASTORE_ATTR>ALLOW_ORPHANS</INHERIT_DATASTORE_ATTR><INHERIT_DATASTORE_ATTR>PERSISTENT_SNAPSHOTS</INHERIT_DATASTORE_ATTR></OPENNEBULA_CONFIGURATION>`
)

// clinic is a cluster with one running VM, in which nothing is wrong.
type clinic struct{ *site }

func startClinic(t *testing.T) clinic {
	c := clinic{start(t, profile.Cluster, nil)}
	c.set("STATE_DIR", filepath.Join(c.directory, "state"))
	for _, n := range c.Nodes {
		c.prepare(n)
	}
	c.oned.Put(fakeoned.Configuration, 0, fmt.Sprintf(onedConf, "shared,clvm"))
	c.disk(c.Nodes[0], vmID)
	for _, id := range []int{vmID, foreignVM} {
		c.oned.Put(fakeoned.VMs, id, fakeoned.VM{ID: id, Name: "vm", Host: c.Nodes[0].Name, LCMState: 3}.Document())
	}
	return c
}

// prepare completes a node as the manual describes it.
func (c clinic) prepare(n *cluster.Node) {
	put := func(path, text string) {
		require.NoError(c, n.Put(c.Context(), path, strings.NewReader(text), 0o644, 0))
	}
	put("/etc/udev/rules.d/"+udev.RulesFile, udev.Rules)
	require.NoError(c, n.Put(c.Context(), facts.SudoersVMM, strings.NewReader(sudoers.VMMRule), 0o440, 0))
	c.Output(c.T, n, "udevadm", "control", "--reload")
	// The front-end is this machine, which the lab's nodes cannot reach: node1 stands in.
	put("/etc/ssh/ssh_config.d/frontend.conf", "Host frontend\n  HostName 10.77.0.1\n  HostKeyAlias node1\n")
}

// disk makes a VM's disk, active on the node, with its home.
func (c clinic) disk(n *cluster.Node, vm int) {
	c.Output(c.T, n, "lvcreate", "-y", "-Wn", "-Zn", "-aey", "--addtag", "one", "--addtag", fmt.Sprintf("vm=%d", vm), "--addtag", "disk=0",
		"--addtag", fmt.Sprintf("ds=%d", fakeoned.SystemDS), "-L", "40m", "-n", volume(vm, 0), cluster.Group)
	dir := filepath.Clean(home(vm))
	c.Output(c.T, n, "mkdir", "-p", dir)
	c.Output(c.T, n, "ln", "-sfn", "/dev/"+cluster.Group+"/"+volume(vm, 0), dir+"/disk.0")
	c.Output(c.T, n, "chown", "-hR", "oneadmin:oneadmin", dir)
}

// tried has the front-end know of a drill that was passed.
func (c clinic) tried() {
	c.Helper()
	trial := doctor.Trial{Drill: "network", Node: c.Nodes[1].Name, At: time.Now()}
	require.NoError(c, trial.Remember(c.settings["STATE_DIR"]))
}

// examine runs the doctor; what is not ok is returned.
func (c clinic) examine() []doctor.Finding {
	c.Helper()
	var stdout, stderr bytes.Buffer
	r, _ := run.Exec{}.Run(c.Context(), run.Cmd{Path: c.program, Args: []string{"doctor", "--json"}, Env: c.environment(), Stdout: &stdout, Stderr: &stderr})
	var found []doctor.Finding
	require.NoError(c, json.Unmarshal(stdout.Bytes(), &found), "%s", stderr.String())
	bad := slices.DeleteFunc(found, func(f doctor.Finding) bool { return f.Severity == doctor.OK })
	require.Equal(c, len(bad) > 0, r.Status == 1, "status %d and %+v", r.Status, bad)
	return bad
}

// apply types a fix where it says.
func (c clinic) apply(f doctor.Fix) {
	c.Helper()
	for _, n := range c.Nodes {
		if n.Name == f.On {
			c.Output(c.T, n, "sh", "-c", f.Command)
			return
		}
	}
	require.Empty(c, f.On)
	if id, ok := strings.CutPrefix(f.Command, "onehook delete "); ok {
		require.Equal(c, fmt.Sprint(hookID), id)
		c.oned.Remove(fakeoned.Hooks, hookID)
		return
	}
	command := strings.Replace(f.Command, "ssh root@", "ssh -F "+c.SSHConfig()+" root@", 1)
	_, err := run.Exec{}.Run(c.Context(), run.Cmd{Path: "sh", Args: []string{"-c", command}})
	require.NoError(c, err)
}

// ailment is one thing that is wrong.
type ailment struct {
	name   string
	inject func(c clinic, one, two *cluster.Node)
	check  string
	node   string
	text   string
}

// systemHome is where the nodes have the homes of VMs, homeDisk what is mounted there.
var systemHome = filepath.Join(filepath.Dir(cluster.Home), fmt.Sprint(fakeoned.SystemDS))

const homeDisk = "/dev/sdb"

func ailments() []ailment {
	return []ailment{
		{"stale activation", func(c clinic, _, two *cluster.Node) { c.disk(two, foreignVM) }, "active", "node2", "VM 77 is on node1"},
		{"dead lock space", func(c clinic, _, two *cluster.Node) { c.Output(c.T, two, "vgchange", "--lockstop", cluster.Group) },
			"lock manager", "node2", "not started"},
		{"a guest's physical volume", func(c clinic, one, _ *cluster.Node) {
			c.Output(c.T, one, "sed", "-i", "s/^devices {/devices {\\n\\tscan_lvs = 1/", "/etc/lvm/lvm.conf")
			c.Output(c.T, one, "pvcreate", "-y", "/dev/"+cluster.Group+"/"+volume(vmID, 0))
		}, "guests", "node1", "which a guest made"},
		{"link to a foreign volume", func(c clinic, one, _ *cluster.Node) {
			c.Output(c.T, one, "ln", "-sfn", "/dev/"+cluster.Group+"/"+volume(vmID, 0), filepath.Clean(home(foreignVM))+"/disk.0")
		}, "links", "node1", "disk 0 of VM 42"},
		{"host hook", func(c clinic, _, _ *cluster.Node) { c.oned.Put(fakeoned.Hooks, hookID, hostHook) }, "host hook", "", "host_error.rb"},
		{"wider sudo rule", func(c clinic, _, two *cluster.Node) {
			require.NoError(c, two.Put(c.Context(), facts.SudoersFile, strings.NewReader(sudoers.Rule+"oneadmin ALL=(ALL) NOPASSWD: ALL\n"), 0o440, 0))
		}, "sudo", "node2", "not as it was shipped"},
		{"no sudo rule", func(c clinic, _, two *cluster.Node) { c.Output(c.T, two, "rm", facts.SudoersFile) }, "ssh", "node2", "by sudo"},
		{"clock", func(c clinic, _, two *cluster.Node) {
			c.Output(c.T, two, "date", "-s", fmt.Sprintf("@%d", time.Now().Add(-time.Hour).Unix()))
		}, "clock", "node2", "behind"},
		{"no udev rule", func(c clinic, one, _ *cluster.Node) { c.Output(c.T, one, "rm", facts.UdevFile) }, "udev", "node1", "missing"},
		{"home not mounted", func(c clinic, _, two *cluster.Node) { c.Output(c.T, two, "umount", systemHome) }, "home", "node2", "not mounted"},
		{"a local directory in the home's place", func(c clinic, _, two *cluster.Node) {
			c.Output(c.T, two, "mount", "-t", "tmpfs", "none", systemHome)
		}, "home", "node2", "not mounted"},
		{"frozen", func(c clinic, one, _ *cluster.Node) { c.Output(c.T, one, "fsfreeze", "-f", systemHome) }, "GFS2", "node1", "frozen"},
		{"agent.conf is not root's alone", func(c clinic, _, two *cluster.Node) { c.Output(c.T, two, "chmod", "666", facts.AgentFile) },
			"ssh", "node2", "cannot be trusted"},
		{"group not allowed", func(c clinic, _, two *cluster.Node) {
			c.Output(c.T, two, "sed", "-i", `s/^ALLOWED_VGS=.*/ALLOWED_VGS="vg-two"/`, facts.AgentFile)
		}, "agent.conf", "node2", "vg-one is not in ALLOWED_VGS"},
		{"device is root's", func(c clinic, one, _ *cluster.Node) {
			c.Output(c.T, one, "chown", "root:root", "/dev/"+cluster.Group+"/"+volume(vmID, 0))
		}, "device owner", "node1", "root:root"},
		{"disk offline", func(c clinic, _, two *cluster.Node) {
			c.Output(c.T, two, "sh", "-c", "echo offline > /sys/block/sda/device/state")
		}, "disks", "node2", "sda is offline"},
	}
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	c := startClinic(t)
	c.tried()
	require.Empty(t, c.examine(), "nothing is wrong")
	one, two := c.Nodes[0], c.Nodes[1]
	for _, a := range ailments() {
		started := time.Now()
		a.inject(c, one, two)
		f := c.find(a.check, a.node, a.text)
		require.NotNil(t, f.Fix, a.name)
		c.apply(*f.Fix)
		require.Empty(t, c.examine(), "%s: after %s", a.name, f.Fix)
		t.Logf("%s: found and mended in %s: %s", a.name, time.Since(started).Round(time.Second), f.Fix)
	}
	c.fillMetadata(one)
}

// fillMetadata: the further disk of the SAN that the fix asks for is the home's, which goes.
func (c clinic) fillMetadata(n *cluster.Node) {
	c.Helper()
	tags := ""
	for i := range 495 {
		tags += fmt.Sprintf("--addtag=t%d-%s\n", i, strings.Repeat("a", 1000))
	}
	_, err := n.Run(c.Context(), run.Cmd{Path: "xargs", Args: []string{"vgchange", cluster.Group}, Stdin: strings.NewReader(tags)})
	require.NoError(c, err)
	f := c.find("metadata", "", "96 % full")
	require.Equal(c, doctor.Fail, f.Severity)
	for _, n := range c.Nodes {
		// What was mended before has mounted over what was there.
		c.Output(c.T, n, "sh", "-c", fmt.Sprintf("while mountpoint -q %s; do umount %[1]s || exit; done; umount %s", systemHome, cluster.Home))
	}
	c.Output(c.T, n, "wipefs", "-qa", homeDisk)
	c.apply(doctor.Fix{On: f.Fix.On, Command: strings.ReplaceAll(f.Fix.Command, "NEW-DISK", homeDisk)})
	for _, left := range c.examine() {
		require.Contains(c, []string{"home", "GFS2", "links"}, left.Check, left.Text)
	}
}

// find looks for one finding.
func (c clinic) find(check, node, text string) doctor.Finding {
	c.Helper()
	found := c.examine()
	i := slices.IndexFunc(found, func(f doctor.Finding) bool {
		return f.Check == check && f.Node == node && strings.Contains(f.Text, text)
	})
	require.GreaterOrEqual(c, i, 0, "%s on %s: %s in %+v", check, node, text, found)
	return found[i]
}
