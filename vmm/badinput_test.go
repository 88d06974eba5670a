package vmm

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
	"one-clvm/cluster/pacemaker"
	"one-clvm/internal/run"
)

// scenario is what a cluster says in one of the scenarios, from the first look on.
func (n *node) scenario(t *testing.T, name string) {
	t.Helper()
	text, err := os.ReadFile("../cluster/testdata/scenarios/pacemaker/" + name + "/1.xml")
	require.NoError(t, err)
	n.report = string(text)
}

// tool is one of Pacemaker's.
func (n *node) tool(c run.Cmd) (run.Result, error) {
	if n.report == "down" {
		return run.Result{Status: 102}, &run.Error{Argv: []string{c.Path}, Status: 102, Stderr: "Connection to cluster failed", Err: errors.New("exit status 102")}
	}
	switch c.Path {
	case "crm_mon":
		return run.Result{Stdout: []byte(n.report)}, nil
	case "cibadmin":
		if c.Args[0] == "-Q" {
			return run.Result{Stdout: []byte("<resources/>")}, nil
		}
		if c.Stdin != nil {
			text, err := io.ReadAll(c.Stdin)
			if err != nil {
				return run.Result{}, err
			}
			n.configured = append(n.configured, string(text))
		}
	case "crm_node":
		return run.Result{Stdout: []byte("node1\n")}, nil
	}
	return run.Result{}, n.note(c.Path + " " + strings.Join(c.Args, " "))
}

// clustered is an agent on a node of a cluster with Pacemaker.
func (n *node) clustered() *Agent {
	a := n.agent()
	a.Stack = func(document func() (string, error)) (cluster.Stack, error) {
		return &pacemaker.Stack{Runner: n, Virsh: a.virsh(), Document: document}, nil
	}
	return a
}

// TestBadInput: whatever is wrong with a request or around it, there is a sentence for a
// person, and nothing was changed.
func TestBadInput(t *testing.T) {
	none := func(*testing.T, *node) {}
	in := func(name string) func(*testing.T, *node) {
		return func(t *testing.T, n *node) { n.scenario(t, name) }
	}
	domain := func(old, instead string) func(*Request) {
		return func(q *Request) { q.Domain = strings.Replace(q.Domain, old, instead, 1) }
	}
	same := func(*Request) {}
	libvirtDown := func(t *testing.T, n *node) { n.scenario(t, "reset"); n.down = true }
	for name, c := range map[string]struct {
		verb   cluster.Verb
		around func(*testing.T, *node)
		change func(*Request)
		want   string
	}{
		"hostile VM name":            {cluster.VerbStart, none, domain("one-42", "one-42;reboot"), "its name is not one-42"},
		"another VM's name":          {cluster.VerbStart, none, domain("one-42", "one-4"), "its name is not one-42"},
		"two names":                  {cluster.VerbStart, none, domain("<devices>", "<name>one-4</name><devices>"), "its name is not one-42"},
		"another VM's volume":        {cluster.VerbStart, none, domain("HOME/disk.1", "/dev/vg-one/lv-one-4-2"), "neither a volume of VM 42 nor a disk in"},
		"a file of the node":         {cluster.VerbStart, none, domain("HOME/disk.1", "/etc/shadow"), "neither a volume of VM 42 nor a disk in"},
		"a way out of the home":      {cluster.VerbStart, none, domain("HOME/disk.1", "HOME/../4/disk.1"), "neither a volume of VM 42 nor a disk in"},
		"a disk that is not there":   {cluster.VerbStart, none, domain("disk.1", "disk.7"), "deploy it again"},
		"options of the emulator":    {cluster.VerbStart, none, domain("</devices>", "</devices><qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'/>"), "remove RAW/DATA"},
		"a device of the node":       {cluster.VerbStart, none, domain("<devices>", "<devices><hostdev/>"), "does not move with the VM"},
		"a program of the node":      {cluster.VerbStart, none, domain("<devices>", "<devices><emulator>/bin/sh</emulator>"), "leads to the node"},
		"a document type":            {cluster.VerbStart, none, domain("<domain", "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><domain"), "domain refused"},
		"not XML":                    {cluster.VerbStart, none, func(q *Request) { q.Domain = "<domain" }, "domain refused"},
		"another VM's home":          {cluster.VerbStart, none, func(q *Request) { q.Home = filepath.Dir(q.Home) + "/4" }, "is not HOME_BASE/101/42"},
		"a home elsewhere":           {cluster.VerbStart, none, func(q *Request) { q.Home = "/etc" }, "is not HOME_BASE/101/42"},
		"a VM that is none":          {cluster.VerbCancel, none, func(q *Request) { q.VM = -1 }, "VM id -1"},
		"a verb that is none":        {"undefine", none, same, `verb "undefine" is not known`},
		"a host that is an option":   {cluster.VerbMigrate, none, func(q *Request) { q.To = "-oProxyCommand=x" }, `host name "-oProxyCommand=x"`},
		"a host with a path":         {cluster.VerbCancel, none, func(q *Request) { q.Node = "../node1" }, `host name "../node1"`},
		"a target that is a path":    {cluster.VerbDetachDisk, none, func(q *Request) { q.Target = "../sda" }, `target of a disk "../sda"`},
		"an address that is none":    {cluster.VerbDetachNIC, none, func(q *Request) { q.MAC = "--all" }, `MAC address "--all"`},
		"a size below nothing":       {cluster.VerbResizeDisk, none, func(q *Request) { q.SizeMiB = -1 }, "size of a disk -1 MiB"},
		"a resize of nothing":        {cluster.VerbResize, none, same, "needs one of them"},
		"no patience":                {cluster.VerbCancel, none, func(q *Request) { q.Settle = 0 }, "patience of 0 seconds"},
		"two volumes for one disk":   {cluster.VerbStart, func(_ *testing.T, n *node) { n.volumes = append(n.volumes, n.volumes[1]) }, same, "run tm-clvm audit"},
		"no list of volumes":         {cluster.VerbStart, func(_ *testing.T, n *node) { n.fail["volumes"] = errors.New("lvmlockd is down") }, same, "lvmlockd is down"},
		"no home":                    {cluster.VerbSave, func(t *testing.T, n *node) { require.NoError(t, os.RemoveAll(filepath.Dir(n.home()))) }, same, "does not run"},
		"unknown node":               {cluster.VerbStart, in("deploy-unknown-node"), same, "node"},
		"lost quorum":                {cluster.VerbStart, in("deploy-no-quorum"), same, "bring back enough of its nodes"},
		"lost quorum, cancel":        {cluster.VerbCancel, in("deploy-no-quorum"), same, "bring back enough of its nodes"},
		"no fencing":                 {cluster.VerbStart, in("deploy-no-fencing"), same, "configure fencing"},
		"maintenance":                {cluster.VerbStart, in("deploy-maintenance"), same, "end that first"},
		"standby":                    {cluster.VerbStart, in("deploy-standby"), same, "standby"},
		"a node being fenced":        {cluster.VerbCancel, in("cancel-node-being-fenced"), same, "run the verb again once it is fenced"},
		"it runs elsewhere":          {cluster.VerbStart, in("deploy-runs-elsewhere"), same, "correct the host in OpenNebula"},
		"to a node that is none":     {cluster.VerbMigrate, in("migrate-target-unknown"), func(q *Request) { q.To = "node9" }, "node9 is no node of the cluster"},
		"another name for this node": {cluster.VerbStart, in("reset"), func(q *Request) { q.Node = "host1" }, "give both the same name"},
		"cluster down":               {cluster.VerbStart, func(_ *testing.T, n *node) { n.report = "down" }, same, "start pacemaker"},
		"half a report":              {cluster.VerbCancel, func(_ *testing.T, n *node) { n.report = "<crm_mon>" }, same, "the cluster manager does not answer"},
		"libvirt down, deploy":       {cluster.VerbStart, func(t *testing.T, n *node) { n.scenario(t, "deploy"); n.down = true }, same, "start libvirtd"},
		"libvirt down, cancel":       {cluster.VerbCancel, libvirtDown, same, "start libvirtd"},
		"libvirt down, save":         {cluster.VerbSave, libvirtDown, same, "start libvirtd"},
		"libvirt down, migrate":      {cluster.VerbMigrate, libvirtDown, same, "start libvirtd"},
		"libvirt down, poll":         {VerbPoll, libvirtDown, same, "libvirt does not answer"},
		"cluster down, poll":         {VerbPoll, func(_ *testing.T, n *node) { n.report = "down" }, same, "the cluster manager does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			c.around(t, n)
			q := n.request(c.verb)
			if c.verb == cluster.VerbMigrate {
				q.To = "node2"
			}
			q.Domain = strings.ReplaceAll(q.Domain, n.home(), "HOME")
			c.change(&q)
			q.Domain = strings.ReplaceAll(q.Domain, "HOME", n.home())
			agent := n.agent()
			if n.report != "" {
				agent = n.clustered()
			}
			got := serve(t, agent, q)
			assert.Contains(t, got, c.want)
			assert.Greater(t, len(strings.Fields(got)), 3, "a sentence: %s", got)
			assert.Empty(t, n.calls)
			assert.NoFileExists(t, filepath.Join(n.home(), "domain.xml"))
		})
	}
}
