//go:build lab

package lab

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/audit"
	"one-clvm/cluster/clustertest"
	"one-clvm/internal/run"
	"one-clvm/lab/cluster"
	"one-clvm/lab/profile"
	"one-clvm/lvm"
	"one-clvm/test/fakeoned"
)

// audit runs the command on the front-end.
func (s *site) audit(argv ...string) (status int, stdout, stderr string) {
	s.Helper()
	r, _ := run.Exec{}.Run(s.Context(), run.Cmd{ // a status other than 0 is looked at
		Path: s.program, Args: append([]string{"audit", "--datastore", strconv.Itoa(fakeoned.SystemDS)}, argv...),
		Env: s.environment(),
	})
	return r.Status, string(r.Stdout), string(r.Stderr)
}

// found is what an audit finds, by kind and object.
func (s *site) found() map[string]audit.Finding {
	s.Helper()
	status, stdout, stderr := s.audit("--json")
	require.Contains(s, []int{0, 1}, status, stderr)
	var list []audit.Finding
	require.NoError(s, json.Unmarshal([]byte(stdout), &list))
	all := map[string]audit.Finding{}
	for _, f := range list {
		all[string(f.Kind)+" "+f.Object] = f
	}
	return all
}

// disk makes a VM's disk by hand: active on a node, or nowhere, and linked where the VM is.
func (s *site) disk(vm, number int, on *cluster.Node, more ...string) {
	s.Helper()
	g := s.group(s.Nodes[0])
	v, err := g.Create(s.Context(), lvm.CreateRequest{Name: volume(vm, number), Size: 4 << 20, Tags: lvm.DiskTags(vm, number, fakeoned.SystemDS).With(more...)})
	require.NoError(s, err)
	if on != s.Nodes[0] {
		_, err = g.Activate(s.Context(), v.Name, lvm.Off)
		require.NoError(s, err)
	}
	if on != nil && on != s.Nodes[0] {
		_, err = s.group(on).Activate(s.Context(), v.Name, lvm.Exclusive)
		require.NoError(s, err)
	}
	s.Output(s.T, s.Nodes[0], "mkdir", "-p", home(vm))
	s.Output(s.T, s.Nodes[0], "ln", "-sfn", v.Path, fmt.Sprintf("%s/disk.%d", home(vm), number))
}

func (s *site) inState(id, state, lcm int, disks ...int) {
	vm := fakeoned.VM{ID: id, Name: fmt.Sprintf("vm-%d", id), Host: s.Nodes[0].Name, State: state, LCMState: lcm}
	for _, n := range disks {
		vm.Disks = append(vm.Disks, fakeoned.VolatileDisk(n, "", 4))
	}
	s.oned.Put(fakeoned.VMs, id, vm.Document())
}

// damage is done by hand; the result is what is to be found, and whether --repair heals it.
func (s *site) damage() map[string]bool {
	s.Helper()
	one, two := s.Nodes[0], s.Nodes[1]
	g := s.group(one)
	for n, tags := range map[int][]string{0: nil, 1: nil, 2: nil, 3: {"parked"}, 4: {"migrating=node1:node2:1234567890"}, 6: {"reverting=3"}, 7: nil} {
		s.disk(vmID, n, one, tags...)
	}
	s.disk(vmID, 5, nil)
	s.inState(vmID, 3, 3, 0, 1, 2, 3, 4, 5, 6, 7, 8)
	link := func(n int) string { return fmt.Sprintf("%s/disk.%d", home(vmID), n) }
	s.Output(s.T, one, "rm", link(1))
	s.Output(s.T, one, "ln", "-sfn", "/dev/vg-one/lv-one-43-0", link(2))
	_, err := g.Activate(s.Context(), volume(vmID, 7), lvm.Shared)
	require.NoError(s, err)

	s.disk(43, 0, two)
	s.inState(43, 8, 0, 0) // POWEROFF on node1
	s.disk(44, 0, two)
	s.inState(44, 4, 0, 0) // STOPPED
	s.disk(45, 0, two)
	s.inState(45, 3, 3, 0) // RUNNING on node1, and in use on node2
	s.Output(s.T, two, "dmsetup", "create", "user", "--table", "0 8192 linear /dev/vg-one/lv-one-45-0 0")
	for name, tags := range map[string]lvm.Tags{
		"lv-one-99-0": lvm.DiskTags(99, 0, fakeoned.SystemDS), "lv-one-42-70": nil, "lv-one-42-71": lvm.DiskTags(vmID, 71, fakeoned.SystemDS).With(lvm.TagBuilding, lvm.TagOp+"=1a2b3c"),
		"lv-one-42-72": lvm.DiskTags(77, 0, fakeoned.SystemDS), "lv-onedel-00112233aabb": lvm.NewTags("one", "quarantine"),
		"lv-oneimg-8": lvm.DiskTags(97, 0, fakeoned.SystemDS).With("image=8"), "lv-oneimg-9": lvm.NewTags("one", "image=9"),
	} {
		_, err := g.Create(s.Context(), lvm.CreateRequest{Name: name, Size: 4 << 20, Tags: tags})
		require.NoError(s, err)
	}
	for id, name := range map[int]string{8: "lent", 9: "active"} {
		image := fakeoned.Image{ID: id, Name: name, Source: lvm.ImageName(lvm.DefaultPrefix, id).String()}
		s.oned.Put(fakeoned.Images, id, image.Document())
	}
	s.Output(s.T, one, "mkdir", "-p", home(98))

	// Running on both nodes, as after a split without fencing.
	s.disk(47, 0, one)
	s.inState(47, 3, 3, 0)
	for _, n := range s.Nodes {
		_, err := s.group(n).Activate(s.Context(), volume(47, 0), lvm.Shared)
		require.NoError(s, err)
		s.Output(s.T, n, "dmsetup", "create", "twice", "--table", "0 8192 linear /dev/vg-one/lv-one-47-0 0")
	}
	s.inState(46, 3, 3) // RUNNING on node1, without disks here
	s.machines(one, vmID, 45, 46, 47)
	s.machines(two, 90)
	s.services(one, vmID, 45, 47)
	for path, text := range map[string]string{
		"/etc/one-clvm/hook.conf": "", "/var/spool/one-clvm/1700000000000000000-00c0ffee.event": "{}",
	} {
		require.NoError(s, one.Put(s.Context(), path, strings.NewReader(text), 0o644, 0))
	}

	object := func(name string) string { return cluster.Group + "/" + name }
	at := func(n int) string {
		return fmt.Sprintf("node1:/var/lib/one/datastores/%d/%d/disk.%d", fakeoned.SystemDS, vmID, n)
	}
	return map[string]bool{
		"link " + at(1): true, "link " + at(2): true, "parked " + object(volume(vmID, 3)): true, "window " + object(volume(vmID, 4)): true,
		"inactive " + object(volume(vmID, 5)): true, "half " + object(volume(vmID, 6)): false, "shared " + object(volume(vmID, 7)): true,
		"missing VM 42 disk 8": false, "stale " + object(volume(43, 0)): true, "parked " + object(volume(44, 0)): true, "elsewhere " + object(volume(45, 0)): false,
		"orphan " + object("lv-one-99-0"): false, "foreign " + object("lv-one-42-70"): false, "unfinished " + object("lv-one-42-71"): true,
		"tags " + object("lv-one-42-72"): false, "quarantine " + object("lv-onedel-00112233aabb"): true, "lent " + object("lv-oneimg-8"): true,
		"stale " + object("lv-oneimg-9"):  false,
		"double " + object(volume(47, 0)): false, "unowned VM 46": false, "machine VM 90": false, "spool node1:/var/spool/one-clvm": false,
		fmt.Sprintf("home node1:/var/lib/one/datastores/%d/98", fakeoned.SystemDS): false,
	}
}

// The lab has no hypervisor and no cluster manager: these answer for them, in their words.
func (s *site) answers(n *cluster.Node, program, text string) {
	s.Helper()
	file := "/run/" + program + ".answer"
	require.NoError(s, n.Put(s.Context(), file, strings.NewReader(text), 0o644, 0))
	require.NoError(s, n.Put(s.Context(), "/usr/local/bin/"+program, strings.NewReader("#!/bin/sh\nexec cat "+file+"\n"), 0o755, 0))
}

func (s *site) machines(n *cluster.Node, vms ...int) {
	text := ""
	for _, vm := range vms {
		text += fmt.Sprintf("one-%d\n", vm)
	}
	s.answers(n, "virsh", text)
}

func (s *site) services(n *cluster.Node, vms ...int) {
	text := ""
	for _, vm := range vms {
		text += fmt.Sprintf(`<resource id="one-%d" resource_agent="ocf:one-clvm:VirtualDomain" role="Started"><node name="node1" id="1" cached="true"/></resource>`, vm)
	}
	s.answers(n, "crm_mon", "<pacemaker-result><resources>"+text+"</resources></pacemaker-result>")
}

// Damage of twenty-two kinds, done by hand on two nodes: all of it is found, --repair heals
// what it says and nothing else.
func TestAudit(t *testing.T) {
	t.Parallel()
	s := start(t, profile.Cluster, nil)
	assert.Empty(t, s.found())
	want := s.damage()
	before := map[string]map[string]lvm.Volume{}
	for _, n := range s.Nodes {
		before[n.Name] = s.volumes(n)
	}
	found := s.found()
	for what, repaired := range want {
		f, ok := found[what]
		if assert.True(t, ok, "%s is not found", what) {
			assert.Equal(t, repaired, len(f.Fixes) > 0, what)
		}
	}
	assert.Len(t, found, len(want), "%v", found)
	_, plan, _ := s.audit()
	const golden = "testdata/audit.plan" // written anew with -update
	plan = regexp.MustCompile(`the first of them for \S+:`).ReplaceAllString(plan, "the first of them for AGE:")
	if *clustertest.Update {
		require.NoError(t, os.WriteFile(golden, []byte(plan), 0o644))
	}
	wanted, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.Equal(t, string(wanted), plan, "what is printed for people")
	for _, n := range s.Nodes {
		assert.Equal(t, before[n.Name], s.volumes(n), "looking changes nothing")
	}

	status, stdout, stderr := s.audit("--repair", "--yes")
	t.Log(stdout)
	assert.Equal(t, 1, status, "what needs a person is left: %s", stderr)
	maps.DeleteFunc(want, func(_ string, repaired bool) bool { return repaired })
	assert.ElementsMatch(t, slices.Collect(maps.Keys(want)), slices.Collect(maps.Keys(s.found())), "left for a person")
	healed := map[string]bool{volume(43, 0): true, volume(44, 0): true, "lv-one-42-71": true, "lv-onedel-00112233aabb": true, "lv-oneimg-8": true}
	for _, n := range []int{3, 4, 5, 7} {
		healed[volume(vmID, n)] = true
	}
	for _, n := range s.Nodes {
		after := s.volumes(n)
		for name, v := range before[n.Name] {
			if !healed[name] {
				assert.Equal(t, v, after[name], "%s on %s", name, n.Name)
			}
		}
	}
	one, two := s.volumes(s.Nodes[0]), s.volumes(s.Nodes[1])
	for _, n := range []int{3, 4, 5, 7} {
		assert.Equal(t, lvm.Exclusive, one[volume(vmID, n)].Mode)
	}
	assert.Equal(t, lvm.Off, two[volume(43, 0)].Mode)
	assert.Equal(t, lvm.Off, two[volume(44, 0)].Mode)
	assert.True(t, two[volume(44, 0)].Tags.Has(lvm.TagParked))
	assert.NotContains(t, one, "lv-onedel-00112233aabb")
	s.Output(t, s.Nodes[1], "dmsetup", "remove", "user")
	for _, n := range s.Nodes {
		s.Output(t, n, "dmsetup", "remove", "twice")
	}
}
