package vmm

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
)

// bad is one thing that is wrong, with a request or around it.
type bad struct {
	verb   cluster.Verb
	around func(*bench)
	change func(*Request)
	want   string
}

// badOnXen is wrong with a file for Xen, whatever the stack.
func badOnXen() map[string]bad {
	replace := func(old, with string) func(*Request) {
		return func(q *Request) { q.Domain = strings.Replace(q.Domain, old, with, 1) }
	}
	add := func(line string) func(*Request) { return func(q *Request) { q.Domain += line + "\n" } }
	disk := "42/disk.1"
	return map[string]bad{
		"code in the file":         {cluster.VerbStart, nil, add("import os"), "is no assignment"},
		"a call in the file":       {cluster.VerbStart, nil, add("extra = os.system('id')"), "neither a number nor a quoted text"},
		"another VM's volume":      {cluster.VerbStart, nil, func(q *Request) { q.Domain = "disk = ['phy:/dev/vg-one/lv-one-4-2,xvda,w']" }, "is no disk of the VM"},
		"a file of the node":       {cluster.VerbStart, nil, func(q *Request) { q.Domain = "disk = ['file:/etc/shadow,xvda,w']" }, "is no disk of the VM"},
		"another VM's home":        {cluster.VerbStart, nil, replace(disk, "4/disk.1"), "is no disk of the VM"},
		"a disk that is not there": {cluster.VerbStart, nil, replace("disk.1", "disk.7"), "neither a volume of the VM nor a file in its home"},
		"a program of the node":    {cluster.VerbStart, nil, add("bootloader = '/bin/sh'"), "a program that root would run"},
		"a device of the node":     {cluster.VerbStart, nil, add("pci = ['01:00.0']"), "pci is a list, or should be one"},
		"a name that is a path":    {cluster.VerbStart, nil, func(q *Request) { q.Name = "../../etc/cron.d/x" }, "name \"../../etc/cron.d/x\" of a VM"},
		"a name that is an option": {cluster.VerbStart, nil, func(q *Request) { q.Name = "-h" }, "name \"-h\" of a VM"},
		"the name of the node":     {cluster.VerbStart, nil, func(q *Request) { q.Name = "Domain-0" }, "no name of a domain"},
		"a document for libvirt":   {cluster.VerbStart, nil, func(q *Request) { q.Domain, q.Name = "<domain/>", "" }, `TYPE = "xen" in VM_MAD`},
		"Xen down at deploy":       {cluster.VerbStart, func(b *bench) { b.xen.Node("node1").NoXen = true }, nil, "see why xl list, or xm list, fails"},
		"Xen down at cancel":       {cluster.VerbCancel, func(b *bench) { b.xen.Node("node1").NoXen = true }, nil, "see why xl list, or xm list, fails"},
		"Xen down at poll":         {VerbPoll, func(b *bench) { b.xen.Node("node1").NoXen = true }, nil, "the client of Xen does not answer"},
		"files that others write":  {cluster.VerbStart, func(b *bench) { require.NoError(b, os.Chmod(b.files, 0o777)) }, nil, "chmod go-w"},
		"no files":                 {cluster.VerbCancel, func(b *bench) { require.NoError(b, os.Rename(b.files, b.files+".moved")) }, nil, "is it there, and mounted on this node"},
		"a file that is nobody's":  {cluster.VerbCancel, func(b *bench) { require.NoError(b, os.WriteFile(b.files+"/one-42", nil, 0o600)) }, nil, "nothing was changed: rename it"},
		"another's domain":         {cluster.VerbStart, func(b *bench) { b.xen.Node("node1").Domains[web] = "r-----" }, nil, "put %I into VM_FQDN_TEMPLATE"},
		"nothing to migrate":       {cluster.VerbMigrate, nil, nil, "does not run on node1"},
		"nothing to save":          {cluster.VerbSave, nil, nil, "does not run on node1"},
	}
}

// badClusters are wrong with a cluster, or with a request to a node of one.
var badClusters = map[string]map[string]bad{
	"cxm": {
		"unknown node":              {cluster.VerbMigrate, runsOn("node1"), func(q *Request) { q.To = "node9" }, "node9 is no live node of the cluster"},
		"another name of this node": {cluster.VerbStart, nil, func(q *Request) { q.Node = "host1" }, "give both the same name"},
		"cluster down":              {cluster.VerbStart, func(b *bench) { b.xen.Node("node1").NoCxmd = true }, nil, "start cxmd on this node"},
		"cluster down at cancel":    {cluster.VerbCancel, func(b *bench) { b.xen.Node("node1").NoCxmd = true }, nil, "start cxmd on this node"},
		"cluster down at poll":      {VerbPoll, func(b *bench) { b.xen.Node("node1").NoCxmd = true }, nil, "start cxmd on this node"},
		"panic":                     {cluster.VerbStart, func(b *bench) { b.xen.State = "panic" }, nil, "end that first"},
		"no fencing":                {cluster.VerbStart, func(b *bench) { b.config += "DISABLE_FENCING = True\n" }, nil, "configure fencing"},
		"files elsewhere":           {cluster.VerbStart, func(b *bench) { b.config = "VMCONF_DIR = '/etc/xen'\n" }, nil, "make them the same"},
		"a target that is down":     {cluster.VerbMigrate, func(b *bench) { runsOn("node1")(b); b.xen.Node("node2").Up = false }, nil, "node2 is no live node"},
		"it runs elsewhere":         {cluster.VerbReboot, runsOn("node2"), nil, "correct the host in OpenNebula"},
		"it runs twice": {cluster.VerbCancel, func(b *bench) {
			runsOn("node1")(b)
			b.xen.Node("node2").Domains[web] = "r-----"
		}, nil, "destroy it on all but one of them"},
	},
	"rgmanager": {
		"hostile name":              {cluster.VerbStart, nil, func(q *Request) { q.Domain = strings.Replace(q.Domain, "one-42", "one-42;reboot", 1) }, "its name is not one-42"},
		"another VM's volume":       {cluster.VerbStart, nil, func(q *Request) { q.Domain = strings.Replace(q.Domain, "42/disk.1", "4/disk.1", 1) }, "neither a volume of VM 42 nor a disk in"},
		"a file for Xen":            {cluster.VerbStart, nil, func(q *Request) { q.Domain = "name = 'one-42'" }, "has to run VMs by xl or xm"},
		"unknown node":              {cluster.VerbMigrate, runsOn("node1"), func(q *Request) { q.To = "node9" }, "node9 is no node of the cluster"},
		"another name of this node": {cluster.VerbStart, nil, func(q *Request) { q.Node = "host1" }, "give both the same name"},
		"lost quorum":               {cluster.VerbStart, func(b *bench) { b.rhcs.Quorum = false }, nil, "bring back enough of its nodes"},
		"lost quorum at cancel":     {cluster.VerbCancel, func(b *bench) { b.rhcs.Quorum = false }, nil, "bring back enough of its nodes"},
		"cluster down":              {cluster.VerbStart, func(b *bench) { b.rhcs.Node("node1").Up = false }, nil, "the cluster manager does not answer"},
		"rgmanager down":            {cluster.VerbCancel, func(b *bench) { b.rhcs.Node("node1").Manager = false }, nil, "is rgmanager running on this node"},
		"rgmanager down at poll":    {VerbPoll, func(b *bench) { b.rhcs.Node("node1").Manager = false }, nil, "is rgmanager running on this node"},
		"libvirt down at deploy":    {cluster.VerbStart, func(b *bench) { b.rhcs.Node("node1").NoLibvirt = true }, nil, "start libvirtd"},
		"libvirt down at cancel":    {cluster.VerbCancel, func(b *bench) { runsOn("node1")(b); b.rhcs.Node("node1").NoLibvirt = true }, nil, "start libvirtd"},
		"libvirt down at poll":      {VerbPoll, func(b *bench) { b.rhcs.Node("node1").NoLibvirt = true }, nil, "libvirt does not answer"},
		"ricci password wanted":     {cluster.VerbStart, func(b *bench) { b.rhcs.Node("node2").Unauthorised = true }, nil, "password of the user ricci"},
		"two configurations": {cluster.VerbStart, func(b *bench) {
			n := b.rhcs.Node("node2")
			n.Config = strings.Replace(n.Config, "<resources/>", `<resources><ip address="192.0.2.9"/></resources>`, 1)
		}, nil, "compare them, then ccs -h NODE --sync --activate from the right one"},
	},
}

// runsOn deploys the VM on a node.
func runsOn(node string) func(*bench) {
	return func(b *bench) {
		b.Helper()
		require.NoError(b, b.do(cluster.VerbStart, node, nil))
	}
}

// TestBadInputOfEveryStack: one clear sentence each, and nothing was changed.
func TestBadInputOfEveryStack(t *testing.T) {
	tables := map[string][]map[string]bad{
		"standalone-xl": {badOnXen()}, "cxm": {badOnXen(), badClusters["cxm"]}, "rgmanager": {badClusters["rgmanager"]},
	}
	for stack, all := range tables {
		for _, table := range all {
			for name, c := range table {
				t.Run(stack+"/"+name, func(t *testing.T) {
					b := stacks[stack](t)
					if c.around != nil {
						c.around(b)
					}
					before, calls := b.left(), len(*b.calls)
					err := b.do(c.verb, "node1", func(q *Request) {
						if q.Verb == cluster.VerbMigrate {
							q.To = "node2"
						}
						if c.change != nil {
							c.change(q)
						}
					})
					require.ErrorContains(t, err, c.want)
					assert.Greater(t, len(strings.Fields(err.Error())), 3, "a sentence: %s", err)
					assert.NotContains(t, err.Error(), "\n", "one")
					assert.Equal(t, before, b.left())
					assert.Empty(t, (*b.calls)[calls:], "nothing was called that changes anything")
					if c.verb == cluster.VerbStart && !strings.Contains(c.want, "ricci") && !strings.Contains(c.want, "ccs ") { // found once the definition is in the home, which goes with the VM
						assert.NoFileExists(t, b.home+"/domain.cfg")
						assert.NoFileExists(t, b.home+"/domain.xml")
					}
				})
			}
		}
	}
}
