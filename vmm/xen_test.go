package vmm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/agent"
	"one-clvm/cluster"
	"one-clvm/cluster/clustertest/double"
	"one-clvm/cluster/clustertest/xendouble"
	"one-clvm/cluster/cxm"
	"one-clvm/cluster/standalone"
	"one-clvm/cluster/xen"
	"one-clvm/cxmrc"
	"one-clvm/internal/run"
	"one-clvm/opennebula"
)

const web = "alice-web.vm.home.net"

// xenNode is a node of Xen, of a cluster with cxm or of none.
type xenNode struct {
	*node
	name, program string
	tools         *xendouble.Cluster
	files         string
	stack         func() cluster.Stack
	config        string // cxm.conf
	reconfigured  func() string
	instants      int // how many more calls begin or end until the process dies; 0: it does not
}

// xenNodes are two nodes that share CFG_DIR and the homes.
func xenNodes(t *testing.T, program string, clustered bool) (one, two *xenNode) {
	tools, err := xendouble.New(t.TempDir(), 2)
	require.NoError(t, err)
	one = &xenNode{node: newNode(t), name: "node1", program: program, tools: tools, files: t.TempDir()}
	require.NoError(t, os.Chmod(one.files, 0o755))
	two = &xenNode{node: newNode(t), name: "node2", program: program, tools: tools, files: one.files}
	two.base = one.base
	for _, n := range []*xenNode{one, two} {
		n.config = "VMCONF_DIR = '" + n.files + "/'\n"
		n.reconfigured = func() string { return n.config }
		client := &xen.Client{Runner: n, Program: program}
		n.stack = func() cluster.Stack { return &standalone.Stack{Hypervisor: client, Manager: standalone.Xen(program)} }
		if clustered {
			n.stack = func() cluster.Stack {
				return &cxm.Stack{
					Runner: n, Hypervisor: client, Self: n.name, AutoDir: tools.Auto(n.name), Files: n.files,
					Config: func() ([]byte, error) { return []byte(n.reconfigured()), nil },
				}
			}
		}
	}
	return one, two
}

// Run implements run.Runner: Xen's programs, and cxm's.
func (n *xenNode) Run(_ context.Context, c run.Cmd) (run.Result, error) {
	n.instant()
	defer n.instant()
	if !n.tools.Reads(c.Path, c.Args) {
		if err := n.note(c.Path + " " + strings.ReplaceAll(strings.Join(c.Args, " "), n.files, "CFG_DIR")); err != nil {
			return run.Result{Status: 1}, err
		}
	}
	return double.Result(c, n.tools.Call(n.name, c.Path, c.Args, "", n.now))
}

// Do implements Agents.
func (n *xenNode) Do(ctx context.Context, host string, q agent.Request) (agent.Result, error) {
	n.instant()
	defer n.instant()
	return n.node.Do(ctx, host, q)
}

// instant is the beginning or the end of a call, also of one that only looks: what is done to
// files lies in between.
func (n *xenNode) instant() {
	if n.instants--; n.instants == 0 {
		panic(death{})
	}
}

func (n *xenNode) agent() *Agent {
	a := n.node.agent()
	a.Config.Xen, a.Config.XenFiles, a.Runner, a.Agents = n.program, n.files, n, n
	a.Stack = func(func() (string, error)) (cluster.Stack, error) { return n.stack(), nil }
	return a
}

// file is what oned writes for Xen.
func (n *xenNode) file() string {
	return "name = 'one-42'\nmemory = '512'\nvcpus = 2\ndisk = [ 'tap:aio:" + n.home() + "/disk.1,xvda,w' ]\n"
}

func (n *xenNode) deploy() Request {
	q := n.request(cluster.VerbStart)
	q.Domain, q.Name, q.Node = n.file(), web, n.name
	return q
}

func xenAlone(t *testing.T) *xenNode {
	one, _ := xenNodes(t, xen.XL, false)
	return one
}

const (
	becomesExclusive = "here: activate exclusive of VM 42 in /101/42"
	becomesOff       = "here: activate off of VM 42 in /101/42"
)

func TestXenDeploySaveAndCancel(t *testing.T) {
	n := xenAlone(t)
	require.Empty(t, serve(t, n.agent(), n.deploy()))
	assert.Equal(t, []string{becomesExclusive, "xl create CFG_DIR/" + web}, n.calls)
	const want = "#O VM_ID = 42\nname = \"" + web + "\"\nmemory = 512\nvcpus = 2\ndisk = [\"phy:/dev/vg-one/lv-one-42-1,xvda,w\"]\n"
	text, err := os.ReadFile(filepath.Join(n.files, web))
	require.NoError(t, err)
	assert.Equal(t, want, string(text))
	kept, err := os.ReadFile(filepath.Join(n.home(), "domain.cfg"))
	require.NoError(t, err)
	assert.Equal(t, want, string(kept), "it moves with the home")

	require.Empty(t, serve(t, n.agent(), n.request(cluster.VerbSave))) // which knows the VM by its number alone
	assert.NoFileExists(t, filepath.Join(n.files, web), "the name is free")
	require.Empty(t, serve(t, n.agent(), n.request(cluster.VerbRestore)))
	checkpoint := n.home() + "/checkpoint"
	assert.Equal(t, []string{"xl save " + web + " " + checkpoint, becomesOff, becomesExclusive, "xl restore -p CFG_DIR/" + web + " " + checkpoint, "xl unpause " + web}, n.calls[2:])

	for range 2 {
		require.Empty(t, serve(t, n.agent(), n.request(cluster.VerbCancel)))
	}
	entries, err := os.ReadDir(n.files)
	require.NoError(t, err)
	assert.Empty(t, entries)
	assert.Empty(t, n.tools.Node("node1").Domains)
	assert.Empty(t, n.tools.Violations)
}

// TestXenDeployThatFailsLeavesNothing: neither a file, nor a link, nor a domain.
func TestXenDeployThatFailsLeavesNothing(t *testing.T) {
	for _, clustered := range []bool{false, true} {
		n, _ := xenNodes(t, xen.XM, clustered)
		n.tools.Node("node1").RefusesCreate = true
		assert.NotEmpty(t, serve(t, n.agent(), n.deploy()))
		for _, dir := range []string{n.files, n.tools.Auto("node1")} {
			entries, err := os.ReadDir(dir)
			require.NoError(t, err)
			assert.Empty(t, entries)
		}
		assert.Empty(t, n.tools.Node("node1").Domains)
	}
}

func TestXenNamesBelongToOneVM(t *testing.T) {
	n := xenAlone(t)
	other := filepath.Join(n.files, web)
	for _, id := range []string{"4", "420"} {
		require.NoError(t, os.MkdirAll(filepath.Join(n.base, "101", id), 0o755))
	}
	for _, text := range []string{"#O VM_ID = 4\n", "#O VM_ID = 420\n", "name = 'by-hand'\n"} {
		require.NoError(t, os.WriteFile(other, []byte(text), 0o600))
		assert.Contains(t, serve(t, n.agent(), n.deploy()), "not of VM 42")
		kept, err := os.ReadFile(other)
		require.NoError(t, err)
		assert.Equal(t, text, string(kept))
	}
	n.calls = nil
	require.NoError(t, os.WriteFile(other, []byte("#O VM_ID = 42\n"), 0o600))
	require.NoError(t, os.WriteFile(other+"-2", []byte("#O VM_ID = 42\n"), 0o600))
	assert.Contains(t, serve(t, n.agent(), n.request(cluster.VerbCancel)), "has the files")
	assert.Empty(t, n.calls)
}

// TestXenFileOfAVMThatIsGone: one without a home has nothing to come back to.
func TestXenFileOfAVMThatIsGone(t *testing.T) {
	n := xenAlone(t)
	require.NoError(t, os.WriteFile(filepath.Join(n.files, web), []byte("#O VM_ID = 4\n"), 0o600))
	require.Empty(t, serve(t, n.agent(), n.deploy()))
	vms, err := xenFiles{n.files, []string{n.base}}.names()
	require.NoError(t, err)
	assert.Equal(t, map[string]int{web: 42}, vms)
	assert.False(t, xenFiles{n.files, []string{filepath.Join(n.base, "missing")}}.homeless(4), "nothing is known")
}

// TestXenDomainOfSomebodyElse: whoever may ask for a VM's name must not get at another's domain.
func TestXenDomainOfSomebodyElse(t *testing.T) {
	for _, clustered := range []bool{false, true} {
		n, _ := xenNodes(t, xen.XM, clustered)
		n.tools.Node("node1").Domains[web] = "r-----"
		assert.Contains(t, serve(t, n.agent(), n.deploy()), "that is not VM 42")
		require.NoError(t, os.WriteFile(filepath.Join(n.home(), "domain.cfg"), []byte(strings.Replace(n.file(), "one-42", web, 1)), 0o600))
		assert.Contains(t, serve(t, n.agent(), n.request(cluster.VerbRestore)), "that is not VM 42")
		assert.Contains(t, serve(t, n.agent(), n.request(cluster.VerbCancel)), "remove domain.cfg")
		require.NoError(t, os.Remove(filepath.Join(n.home(), "domain.cfg")))
		require.Empty(t, serve(t, n.agent(), n.request(cluster.VerbCancel)))
		assert.Equal(t, map[string]string{web: "r-----"}, n.tools.Node("node1").Domains)
	}
}

// deployed is a node with the VM running.
func deployed(t *testing.T, program string, clustered bool) *xenNode {
	n, _ := xenNodes(t, program, clustered)
	require.Empty(t, serve(t, n.agent(), n.deploy()))
	n.calls = nil
	return n
}

// TestXenDeathAtAnyInstant: the same verb again succeeds, and leaves nothing half done.
func TestXenDeathAtAnyInstant(t *testing.T) {
	off := func(t *testing.T, program string, clustered bool) *xenNode {
		n, _ := xenNodes(t, program, clustered)
		return n
	}
	saved := func(t *testing.T, program string, clustered bool) *xenNode {
		n := deployed(t, program, clustered)
		require.Empty(t, serve(t, n.agent(), n.request(cluster.VerbSave)))
		return n
	}
	attached := func(t *testing.T, program string, clustered bool) *xenNode {
		n := deployed(t, program, clustered)
		require.Empty(t, serve(t, n.agent(), n.disk(cluster.VerbAttachDisk)))
		return n
	}
	for verb, c := range map[cluster.Verb]struct {
		before func(*testing.T, string, bool) *xenNode
		disks  int // of the running domain afterwards
	}{
		cluster.VerbStart: {off, 1}, cluster.VerbRestore: {saved, 1}, cluster.VerbReset: {deployed, 1}, cluster.VerbShutdown: {deployed, 0}, cluster.VerbCancel: {deployed, 0},
		cluster.VerbAttachDisk: {deployed, 2}, cluster.VerbDetachDisk: {attached, 1},
	} {
		for _, clustered := range []bool{true, false} {
			if !clustered && verb != cluster.VerbStart && verb != cluster.VerbCancel {
				continue // the same commands, without links
			}
			instants := 1
			for ; ; instants++ {
				n := c.before(t, xen.XL, clustered)
				if !n.dying(t, n.disk(verb), instants) {
					break
				}
				what := fmt.Sprintf("%s, cxm %t, dead at instant %d after %q", verb, clustered, instants, n.calls)
				require.Empty(t, serve(t, n.agent(), n.disk(verb)), what)
				n.looks(t, c.disks, clustered, what)
			}
			assert.Greater(t, instants, 5, verb)
		}
	}
}

// disk is a request of a verb, about a second disk where it is about one.
func (n *xenNode) disk(verb cluster.Verb) Request {
	q := n.request(verb)
	switch verb {
	case cluster.VerbStart:
		q = n.deploy()
	case cluster.VerbAttachDisk:
		q.Device = "<disk><source file='" + n.home() + "/disk.0'/><target dev='xvdb'/></disk>"
		fallthrough
	case cluster.VerbDetachDisk:
		q.Target = "xvdb"
	}
	return q
}

func (n *xenNode) dying(t *testing.T, q Request, instants int) (died bool) {
	t.Helper()
	n.instants = instants
	defer func() {
		n.instants = 0
		if cause := recover(); cause != nil {
			require.Equal(t, death{}, cause)
			died = true
		}
	}()
	require.Empty(t, serve(t, n.agent(), q))
	return false
}

// looks is how it is with so many disks; none: the VM is off.
func (n *xenNode) looks(t *testing.T, disks int, clustered bool, what string) {
	t.Helper()
	files, err := filepath.Glob(n.files + "/*")
	require.NoError(t, err)
	links, err := filepath.Glob(n.tools.Auto("node1") + "/*")
	require.NoError(t, err)
	require.Len(t, files, min(disks, 1), what)
	wanted := 0
	if clustered {
		wanted = min(disks, 1)
	}
	require.Len(t, links, wanted, what)
	require.Len(t, n.tools.Node("node1").Domains, min(disks, 1), what)
	require.Empty(t, n.tools.Violations, what)
	if disks > 0 {
		text, err := os.ReadFile(files[0])
		require.NoError(t, err)
		require.Equal(t, disks, strings.Count(string(text), "phy:"), what)
		require.Len(t, n.tools.Node("node1").Devices[web].Disks, disks, what)
	}
}

// TestXenRestsOfACancel: the link goes before the file.
func TestXenRestsOfACancel(t *testing.T) {
	for _, verb := range []cluster.Verb{cluster.VerbCancel, cluster.VerbShutdown, cluster.VerbStart} {
		n := deployed(t, xen.XM, true)
		delete(n.tools.Node("node1").Domains, web)
		require.NoError(t, os.Remove(filepath.Join(n.tools.Auto("node1"), web)))
		require.Empty(t, serve(t, n.agent(), n.disk(verb)))
		n.looks(t, map[cluster.Verb]int{cluster.VerbStart: 1}[verb], true, string(verb))
	}
}

func TestXenResize(t *testing.T) {
	n := deployed(t, xen.XL, false)
	q := n.request(cluster.VerbResize)
	q.CPUs, q.MemoryMiB = 1, 256
	require.Empty(t, serve(t, n.agent(), q))
	assert.Equal(t, []string{"xl mem-set " + web + " 256", "xl vcpu-set " + web + " 1"}, n.calls)
	text, err := os.ReadFile(filepath.Join(n.files, web))
	require.NoError(t, err)
	assert.Contains(t, string(text), "memory = 256\nvcpus = 1\n")
	assert.Contains(t, string(text), "maxmem = 512\n")
	q.MemoryMiB = 1024
	assert.Contains(t, serve(t, n.agent(), q), "at most 512 MiB, not 1024")
	assert.Len(t, n.calls, 2)
	disk := n.request(cluster.VerbResizeDisk)
	disk.Disk, disk.SizeMiB = 1, 4096
	require.Empty(t, serve(t, n.agent(), disk), "the guest learns it by itself")
	disk.Disk = 0
	assert.Contains(t, serve(t, n.agent(), disk), "no disk /dev/vg-one/lv-one-42-0 attached")
	assert.Len(t, n.calls, 2)
}

// TestXenDeviceThatIsHeld: a guest that does not let go keeps what it has, and so does the file.
func TestXenDeviceThatIsHeld(t *testing.T) {
	n := deployed(t, xen.XL, false)
	q := n.disk(cluster.VerbAttachDisk)
	require.Empty(t, serve(t, n.agent(), q))
	assert.Equal(t, []string{"xl block-attach " + web + " phy:/dev/vg-one/lv-one-42-0 xvdb w"}, n.calls)
	n.tools.Node("node1").Holds = true
	q.Verb, q.Device = cluster.VerbDetachDisk, ""
	assert.Contains(t, serve(t, n.agent(), q), "has not let go of xvdb")
	text, err := os.ReadFile(filepath.Join(n.files, web))
	require.NoError(t, err)
	assert.Contains(t, string(text), "lv-one-42-0")
	n.tools.Node("node1").Devices[web].Disks["xvdb"] = "phy:/dev/vg-one/lv-one-4-2"
	assert.Contains(t, serve(t, n.agent(), q), "xvdb is /dev/vg-one/lv-one-4-2, not /dev/vg-one/lv-one-42-0")
}

func TestXenPoll(t *testing.T) {
	n := deployed(t, xen.XL, false)
	n.skip()
	got := n.survey(t)
	require.Len(t, got.VMs, 1)
	assert.Equal(t, &cluster.Figures{CPUNanoseconds: 12.5e9, MemoryKiB: 524288, NetTX: 10 << 10, NetRX: 20 << 10, ReadOps: 100, WriteOps: 50, ReadBytes: 1 << 20, WriteBytes: 1 << 19}, got.VMs[0].Figures)
	n.tools.Node("node1").Domains["by-hand"] = "r-----"
	assert.Len(t, n.survey(t).VMs, 1, "it is none of OpenNebula's")
	n.tools.Node("node1").NoXen = true
	assert.Contains(t, serve(t, n.agent(), n.request(VerbPoll)), cluster.ErrXen.Error(), "oned keeps what it knows")
}

// TestPollOfAGuestThatEnded: cxm leaves it off; while the cluster moves or starts it nothing
// is concluded.
func TestPollOfAGuestThatEnded(t *testing.T) {
	n := deployed(t, xen.XM, true)
	n.skip()
	assert.Equal(t, cluster.ReportRunning, n.survey(t).VMs[0].Report)
	delete(n.tools.Node("node1").Domains, web)
	got := n.survey(t)
	assert.True(t, got.Clustered)
	assert.Equal(t, []Sight{{VM: 42, Report: cluster.ReportOff, Here: true, CPU: -1}}, got.VMs)
	n.tools.State = "recovery"
	assert.False(t, n.survey(t).VMs[0].Here)
	n.tools.State = "normal"
	n.tools.Node("node2").Domains[web] = "--p---"
	got = n.survey(t)
	assert.Equal(t, []any{cluster.ReportUnknown, false}, []any{got.VMs[0].Report, got.VMs[0].Here}, "it moves")
	n.tools.Node("node1").NoCxmd = true
	assert.Contains(t, serve(t, n.agent(), n.request(VerbPoll)), cluster.ErrDown.Error())
}

func (n *xenNode) survey(t *testing.T) *Survey {
	t.Helper()
	survey, err := n.agent().survey(t.Context(), time.Minute)
	require.NoError(t, err)
	return survey
}

// TestFQDN: the names come from the VM's document, in the home or from the front-end.
func TestFQDN(t *testing.T) {
	const document = "<VM><ID>42</ID><UNAME>al.ice</UNAME><NAME>my web/1</NAME><STATE>3</STATE><LCM_STATE>3</LCM_STATE><TEMPLATE/><HISTORY_RECORDS/></VM>"
	home := t.TempDir()
	var asked []string
	name := func(template, answer string) (string, error) {
		cfg, err := cxmrc.Parse(strings.NewReader("VM_FQDN_TEMPLATE="+template+"\n"), "cxmrc", cxmrc.Driver)
		require.NoError(t, err)
		d := &Driver{Config: cfg, FrontEnd: "192.0.2.1", Runner: runner(func(c run.Cmd) (run.Result, error) {
			asked = append(asked, c.Path+" "+strings.Join(c.Args, " "))
			if answer == "" {
				return run.Result{Status: 255}, errors.New("no route to host")
			}
			return run.Result{Stdout: []byte(answer)}, nil
		})}
		return d.fqdn(t.Context(), home, 42)
	}
	got, err := name("one-%I.x", "")
	require.NoError(t, err)
	assert.Equal(t, "one-42.x", got, "nothing else is needed")
	assert.Empty(t, asked)
	_, err = name("%U-%V.vm.home.net", "")
	require.ErrorContains(t, err, "no route to host")
	require.ErrorContains(t, err, "%I alone")
	got, err = name("%U-%V.vm.home.net", document)
	require.NoError(t, err)
	assert.Equal(t, "alice-myweb1.vm.home.net", got)
	assert.Equal(t, "ssh -T -o BatchMode=yes -o ConnectTimeout=10 -- 192.0.2.1 onevm show -x 42", asked[len(asked)-1])
	require.NoError(t, os.WriteFile(filepath.Join(home, "vm.xml"), []byte(document), 0o600))
	asked = nil
	got, err = name("%U-%V-%I.vm.home.net", "")
	require.NoError(t, err)
	assert.Equal(t, "alice-myweb1-42.vm.home.net", got)
	assert.Empty(t, asked)
	for old, with := range map[string]string{"<ID>42": "<ID>43", "al.ice": "ø"} {
		require.NoError(t, os.WriteFile(filepath.Join(home, "vm.xml"), []byte(strings.Replace(document, old, with, 1)), 0o600))
		_, err = name("%U-%V.vm.home.net", "")
		require.Error(t, err, with)
	}
}

// runner is a run.Runner of one function.
type runner func(run.Cmd) (run.Result, error)

func (r runner) Run(_ context.Context, c run.Cmd) (run.Result, error) { return r(c) }

// TestDeployOfAXenFile: the end without privileges gives a file for Xen its name, and a
// document for libvirt none.
func TestDeployOfAXenFile(t *testing.T) {
	n := xenAlone(t)
	deploy := func(document string) (string, error) {
		cfg, err := cxmrc.Parse(strings.NewReader("VM_FQDN_TEMPLATE=vm%I.home.net\n"), "cxmrc", cxmrc.Driver)
		require.NoError(t, err)
		var out strings.Builder
		d := &Driver{Config: cfg, Release: opennebula.Version{Major: 3, Minor: 8}, Agent: []string{"agent"}, Stdin: strings.NewReader(document), Stdout: &out,
			Report: opennebula.NewReporter(io.Discard, opennebula.Version{Major: 3, Minor: 8}),
			Runner: runner(func(c run.Cmd) (run.Result, error) {
				return run.Result{}, n.agent().Serve(t.Context(), c.Stdin, c.Stdout)
			})}
		err = d.Do(t.Context(), "deploy", []string{n.home() + "/deployment.0", "node1", "42", "node1"})
		return out.String(), err
	}
	_, err := deploy(n.document())
	require.ErrorContains(t, err, "it is a document for libvirt")
	printed, err := deploy(n.file())
	require.NoError(t, err)
	assert.Equal(t, "one-42\n", printed)
	assert.Contains(t, n.tools.Node("node1").Domains, "vm42.home.net")
}

// TestXenWithoutItsFiles: a CFG_DIR that is not mounted is empty, and no VM is off for that.
func TestXenWithoutItsFiles(t *testing.T) {
	n := deployed(t, xen.XL, false)
	require.NoError(t, os.Remove(filepath.Join(n.files, web)))
	n.calls = nil
	for _, verb := range []cluster.Verb{cluster.VerbCancel, cluster.VerbShutdown, VerbPoll} {
		assert.Contains(t, serve(t, n.agent(), n.request(verb)), "mounted", verb)
	}
	assert.Empty(t, n.calls)
	delete(n.tools.Node("node1").Domains, web)
	for _, verb := range []cluster.Verb{cluster.VerbCancel, VerbPoll} {
		assert.Empty(t, serve(t, n.agent(), n.request(verb)), verb)
	}
}
