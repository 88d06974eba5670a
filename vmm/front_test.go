package vmm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
	"one-clvm/cxmrc"
	"one-clvm/internal/run"
	"one-clvm/opennebula"
)

// peer is a privileged end.
type peer struct {
	says string
	err  error
	argv []string
	got  Request
}

func (p *peer) Run(_ context.Context, c run.Cmd) (run.Result, error) {
	p.argv = append([]string{c.Path}, c.Args...)
	text, err := io.ReadAll(c.Stdin)
	if err == nil {
		err = json.Unmarshal(text, &p.got)
	}
	if err != nil {
		return run.Result{}, err
	}
	for len(p.says) > 0 { // in pieces, as a pipe gives them
		n := min(7, len(p.says))
		if _, err := io.WriteString(c.Stdout, p.says[:n]); err != nil {
			return run.Result{}, err
		}
		p.says = p.says[n:]
	}
	return run.Result{}, p.err
}

func front(p *peer, stdin string) (d *Driver, stdout, stderr *bytes.Buffer) {
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	return &Driver{
		Config: cxmrc.Defaults(cxmrc.Driver), Agent: []string{"sudo", "-n", "/usr/libexec/one-clvm/vmm-rhcs", "agent"}, Runner: p,
		Report: opennebula.NewReporter(stderr, opennebula.Version{Major: 7, Minor: 4}), Stdin: strings.NewReader(stdin), Stdout: stdout,
	}, stdout, stderr
}

const done = `{"log":"one-0: define node1: done in 0s"}` + "\n" + `{"log":"look","warn":true}` + "\n" + `{"done":true}` + "\n"

func TestDeployPrintsTheDeployID(t *testing.T) {
	document, err := os.ReadFile("domain/testdata/deploy.xml")
	require.NoError(t, err)
	p := &peer{says: done}
	d, stdout, stderr := front(p, string(document))
	require.NoError(t, d.Do(t.Context(), "deploy", []string{"/var/lib/one//datastores/101/0/deployment.0", "node1", "0", "node1"}))
	assert.Equal(t, "one-0\n", stdout.String())
	assert.Equal(t, "INFO: one-0: define node1: done in 0s\nWARN: look\n", stderr.String())
	assert.Equal(t, []string{"sudo", "-n", "/usr/libexec/one-clvm/vmm-rhcs", "agent"}, p.argv)
	assert.Equal(t, Request{
		Verb: cluster.VerbStart, VM: 0, DS: 101, Home: "/var/lib/one/datastores/101/0", Node: "node1", Domain: strings.TrimSpace(string(document)),
		Start: 120, Shutdown: 300, Migrate: 3600, Settle: 60,
	}, p.got)
}

// The plan takes the place of what the verb would print.
func TestDryRunPrintsThePlan(t *testing.T) {
	for _, c := range [][]string{{`{"done":true,"plan":"1. store\n"}`, "1. store\n"}, {`{"done":true}`, "nothing is to be done\n"}} {
		p := &peer{says: c[0] + "\n"}
		d, stdout, _ := front(p, "<domain/>")
		d.DryRun = true
		require.NoError(t, d.Do(t.Context(), "deploy", []string{"/var/lib/one//datastores/101/0/deployment.0", "node1", "0", "node1"}))
		assert.Equal(t, c[1], stdout.String())
		assert.True(t, p.got.DryRun)
	}
}

func TestOtherVerbs(t *testing.T) {
	for line, want := range map[string]Request{
		"cancel one-42 node1 42 node1":                                            {Verb: cluster.VerbCancel, Node: "node1"},
		"shutdown one-42 node1 42 node1":                                          {Verb: cluster.VerbShutdown, Node: "node1"},
		"migrate one-42 node2 node1 42 node1":                                     {Verb: cluster.VerbMigrate, Node: "node1", To: "node2"},
		"save one-42 /var/lib/one/datastores/101/42/checkpoint node1 42 node1":    {Verb: cluster.VerbSave, Node: "node1", DS: 101, Home: "/var/lib/one/datastores/101/42"},
		"restore /var/lib/one/datastores/101/42/checkpoint node2 one-42 42 node2": {Verb: cluster.VerbRestore, Node: "node2", DS: 101, Home: "/var/lib/one/datastores/101/42"},
		"reset one-42 node1 42 node1":                                             {Verb: cluster.VerbReset, Node: "node1"},
		"reboot one-42 node1 42 node1":                                            {Verb: cluster.VerbReboot, Node: "node1"},
	} {
		p := &peer{says: done}
		d, stdout, _ := front(p, "the stream of the commands that follow")
		words := strings.Fields(line)
		require.NoError(t, d.Do(t.Context(), words[0], words[1:]), line)
		want.VM, want.Start, want.Shutdown, want.Migrate, want.Settle = 42, 120, 300, 3600, 60
		assert.Equal(t, want, p.got)
		assert.Empty(t, stdout.String())
	}
}

func TestSnapshotsOfWholeVMsSayWhatToDo(t *testing.T) {
	for _, line := range []string{"snapshot_create one-42 0 42 node1", "snapshot_revert one-42 snap-0 42 node1", "snapshot_delete one-42 snap-0 42 node1"} {
		p := &peer{}
		d, _, _ := front(p, "")
		words := strings.Fields(line)
		err := d.Do(t.Context(), words[0], words[1:])
		require.ErrorIs(t, err, ErrNoSnapshots, line)
		require.ErrorContains(t, err, "onevm disk-snapshot-create")
		assert.Empty(t, p.argv)
	}
}

// TestExecSaysWhatToDo: oned 7 calls these, whatever the driver.
func TestExecSaysWhatToDo(t *testing.T) {
	for _, argv := range [][]string{{"exec", "42", "node1", "ls -l", "42", "node1"}, {"exec", "42", "node1", "cat", "its input", "42", "node1"}, {"exec_cancel", "42", "node1", "42", "node1"}} {
		p := &peer{}
		d, _, _ := front(p, "")
		err := d.Do(t.Context(), argv[0], argv[1:])
		require.ErrorIs(t, err, ErrNoExec, argv)
		assert.Empty(t, p.argv)
	}
}

func TestMigrateLocalIsMigrateFromTheFrontEnd(t *testing.T) {
	p := &peer{says: done}
	d, _, _ := front(p, "")
	d.Remote = func(host string) []string { return []string{"ssh", host, "agent"} }
	require.NoError(t, d.Do(t.Context(), "migrate_local", []string{"one-42", "node2", "node1", "42", "node1"}))
	assert.Equal(t, []string{"ssh", "node1", "agent"}, p.argv)
	assert.Equal(t, []any{cluster.VerbMigrate, "node2"}, []any{p.got.Verb, p.got.To})
}

type runnerFunc func(context.Context, run.Cmd) (run.Result, error)

func (f runnerFunc) Run(ctx context.Context, c run.Cmd) (run.Result, error) { return f(ctx, c) }

// A dead source says nothing: whether the VM is at its target already, the target says.
func TestMigrateLocalFromADeadNode(t *testing.T) {
	var asked []string
	for _, there := range []string{`{"done":true}`, `{"done":true,"error":"one-42 does not run on node2"}`} {
		asked = nil
		d, _, _ := front(nil, "")
		d.Remote = func(host string) []string { return []string{"ssh", host} }
		d.Runner = runnerFunc(func(ctx context.Context, c run.Cmd) (run.Result, error) {
			asked = append(asked, c.Args[0])
			p := &peer{says: there + "\n"}
			if c.Args[0] == "node1" {
				p = &peer{err: errors.New("connection timed out")}
			}
			r, err := p.Run(ctx, c)
			if c.Args[0] == "node2" {
				assert.Equal(t, Request{Verb: cluster.VerbMigrate, VM: 42, Node: "node2", To: "node2", Start: 120, Shutdown: 300, Migrate: 3600, Settle: 60}, p.got)
			}
			return r, err
		})
		err := d.Do(t.Context(), "migrate_local", []string{"one-42", "node2", "node1", "42", "node1"})
		assert.Equal(t, []string{"node1", "node2"}, asked)
		if there == `{"done":true}` {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, "connection timed out")
			require.ErrorContains(t, err, "and on node2: one-42 does not run on node2")
		}
	}
}

// action is a call's document.
func action(template string) string {
	return "<VMM_DRIVER_ACTION_DATA><VM><ID>42</ID><TEMPLATE>" + template + "</TEMPLATE><HISTORY_RECORDS><HISTORY><SEQ>0</SEQ><HOSTNAME>node1</HOSTNAME><DS_ID>101</DS_ID></HISTORY></HISTORY_RECORDS></VM></VMM_DRIVER_ACTION_DATA>"
}

func TestVerbsOnHardware(t *testing.T) {
	const home = "/var/lib/one/datastores/101/42"
	disk := action("<DISK><DISK_ID>5</DISK_ID><TYPE>CDROM</TYPE><CACHE>writeback</CACHE><IO>native</IO><READONLY>YES</READONLY><TOTAL_IOPS_SEC>100</TOTAL_IOPS_SEC></DISK>")
	nic := action("<NIC><NIC_ID>1</NIC_ID><MAC>02:00:c0:A8:00:01</MAC><BRIDGE_TYPE>openvswitch</BRIDGE_TYPE><MODEL>virtio</MODEL><VIRTIO_QUEUES>2</VIRTIO_QUEUES><FILTER>clean-traffic</FILTER><IP>10.0.0.1</IP><INBOUND_AVG_BW>512</INBOUND_AVG_BW></NIC>")
	encoded := string(opennebula.EncodeDocument([]byte(disk)))
	for _, c := range []struct {
		line, stdin string
		want        Request
	}{
		{"attach_disk one-42 " + home + "/disk.5 sde 4 42 node1", "", Request{Verb: cluster.VerbAttachDisk, DS: 101, Home: home, Target: "sde", Device: `<disk type="file" device="disk"><driver name="qemu" type="raw"/><source file="` + home + `/disk.5"/><target dev="sde"/>` +
			`<address type="drive" controller="0" bus="0" target="4" unit="0"/></disk>`}},
		{"attach_disk one-42 " + home + "/disk.5 vde 4 " + encoded + " 42 node1", "", Request{Verb: cluster.VerbAttachDisk, DS: 101, Home: home, Target: "vde", Device: `<disk type="file" device="cdrom"><driver name="qemu" type="raw" cache="writeback" io="native"/><source file="` + home + `/disk.5"/>` +
			`<target dev="vde"/><readonly/><iotune><total_iops_sec>100</total_iops_sec></iotune></disk>`}},
		{"detach_disk one-42 " + home + "/disk.5 sde 4 42 node1", disk, Request{Verb: cluster.VerbDetachDisk, DS: 101, Home: home, Target: "sde"}},
		{"attach_nic one-42 02:00:c0:a8:00:01 br0 virtio 802.1Q one-42-1 42 node1", nic, Request{Verb: cluster.VerbAttachNIC, DS: 101, MAC: "02:00:c0:a8:00:01", Device: `<interface type="bridge"><virtualport type="openvswitch"/><source bridge="br0"/>` +
			`<mac address="02:00:c0:a8:00:01"/><target dev="one-42-1"/><model type="virtio"/><driver name="vhost" queues="2"/><filterref filter="clean-traffic"><parameter name="IP" value="10.0.0.1"/></filterref><bandwidth><inbound average="512"/></bandwidth></interface>`}},
		{"detach_nic one-42 02:00:c0:a8:00:01 42 node1", nic, Request{Verb: cluster.VerbDetachNIC, DS: 101, MAC: "02:00:c0:a8:00:01"}},
		{"resize one-42 42 node1", action("<VCPU>4</VCPU><MEMORY>1024</MEMORY>"), Request{Verb: cluster.VerbResize, DS: 101, CPUs: 4, MemoryMiB: 1024}},
		{"resize_disk one-42 1 2048 " + encoded + " node1 42 node1", "", Request{Verb: cluster.VerbResizeDisk, DS: 101, Disk: 1, SizeMiB: 2048}},
		{"prereconfigure one-42 hda 42 node1", action(""), Request{Verb: cluster.VerbEject, DS: 101, Target: "hda"}},
		{"reconfigure one-42 hda " + home + "/disk.4 42 node1", action(""), Request{Verb: cluster.VerbInsert, DS: 101, Home: home, Target: "hda", Disk: 4}},
	} {
		p := &peer{says: done}
		d, stdout, _ := front(p, c.stdin)
		d.Release = opennebula.Version{Major: 7, Minor: 4}
		if c.stdin == "" {
			d.Release = opennebula.Version{Major: 4, Minor: 14}
		}
		words := strings.Fields(c.line)
		require.NoError(t, d.Do(t.Context(), words[0], words[1:]), c.line)
		c.want.VM, c.want.Node, c.want.Start, c.want.Shutdown, c.want.Migrate, c.want.Settle = 42, "node1", 120, 300, 3600, 60
		networks := p.got.Networks
		p.got.Networks = ""
		assert.Equal(t, c.want, p.got, c.line)
		assert.Equal(t, c.want.MAC != "", networks != "", c.line)
		assert.Empty(t, stdout.String())
	}
}

func TestNetworksAfterHotplug(t *testing.T) {
	document := action("<NIC><MAC>02:00:c0:a8:00:01</MAC></NIC><NIC><ATTACH>YES</ATTACH><MAC>02:00:C0:a8:00:02</MAC></NIC>")
	for line, want := range map[string]string{
		"attach_nic one-42 02:00:c0:a8:00:02 br0 - fw one-42-1 42 node1": "<NIC><MAC>02:00:c0:a8:00:01</MAC></NIC><NIC><MAC>02:00:C0:a8:00:02</MAC></NIC></TEMPLATE>",
		"detach_nic one-42 02:00:c0:a8:00:02 42 node1":                   "<TEMPLATE><NIC><MAC>02:00:c0:a8:00:01</MAC></NIC></TEMPLATE>",
	} {
		p := &peer{says: done}
		d, _, _ := front(p, document)
		d.Release = opennebula.Version{Major: 7, Minor: 4}
		words := strings.Fields(line)
		require.NoError(t, d.Do(t.Context(), words[0], words[1:]), line)
		assert.Contains(t, p.got.Networks, want)
		assert.True(t, strings.HasPrefix(p.got.Networks, "<VM><ID>42</ID>"))
	}
}

// TestVerbsOnHardwareThatSayNothing: what the document has not, or has wrong.
func TestVerbsOnHardwareThatSayNothing(t *testing.T) {
	for _, c := range [][3]string{
		{"detach_nic one-42 02:00:c0:a8:00:01 42 node1", "", "document on standard input"},
		{"detach_nic one-42 02:00:c0:a8:00:01 42 node1", strings.ReplaceAll(action(""), "<ID>42", "<ID>43"), "it is of VM 43"},
		{"resize one-42 42 node1", action("<VCPU>x</VCPU>"), "VCPU"},
		{"resize one-42 42 node1", action("<MEMORY>x</MEMORY>"), "MEMORY"},
		{"resize one-42 42 node1", action("<MEMORY>1024</MEMORY><MEMORY_RESIZE_MODE>HOTPLUG</MEMORY_RESIZE_MODE>"), "BALLOONING"},
	} {
		p := &peer{}
		d, _, _ := front(p, c[1])
		d.Release = opennebula.Version{Major: 7, Minor: 4}
		words := strings.Fields(c[0])
		require.ErrorContains(t, d.Do(t.Context(), words[0], words[1:]), c[2], c[0])
		assert.Empty(t, p.argv)
	}
}

const surveyed = `{"done":true,"survey":{"clustered":true,"vms":[{"vm":42,"report":"running","here":true,"cpu":12.5,"figures":{"MemoryKiB":1024,"NetRX":1,"NetTX":2}},{"vm":43,"report":"unknown","here":false,"cpu":-1}]}}` + "\n"

func TestPollPrintsOneLine(t *testing.T) {
	for line, want := range map[string]string{
		"poll one-42 node1 42 node1": "STATE=a CPU=12.5 MEMORY=1024 NETRX=1 NETTX=2 DISKRDBYTES=0 DISKWRBYTES=0 DISKRDIOPS=0 DISKWRIOPS=0\n",
		"poll one-43 node1 43 node1": "STATE=-\n",
		"poll one-44 node1 44 node1": "STATE=d\n",
	} {
		d, stdout, _ := front(&peer{says: surveyed}, "")
		d.Release = opennebula.Version{Major: 5, Minor: 10}
		words := strings.Fields(line)
		require.NoError(t, d.Do(t.Context(), words[0], words[1:]), line)
		assert.Equal(t, want, stdout.String())
	}
	d, _, _ := front(&peer{says: done}, "")
	require.ErrorContains(t, d.Do(t.Context(), "poll", []string{"one-42", "node1", "42", "node1"}), "gave no figures")
}

func TestProbes(t *testing.T) {
	for probe, want := range map[Probe]string{
		ProbeStatus:  "SYNC_STATE=yes\nMISSING_STATE=UNKNOWN\nVM = [ ID=\"42\", DEPLOY_ID=\"one-42\", STATE=\"RUNNING\" ]\n",
		ProbeMonitor: "VM = [ ID=\"42\", DEPLOY_ID=\"one-42\", MONITOR=\"",
	} {
		p := &peer{says: surveyed}
		d, stdout, _ := front(p, "<MONITOR_CONFIGURATION/>")
		require.NoError(t, d.Monitor(t.Context(), probe))
		assert.Contains(t, stdout.String(), want)
		assert.Equal(t, VerbPoll, p.got.Verb)
	}
	d, stdout, _ := front(&peer{says: strings.Replace(surveyed, `"clustered":true`, `"clustered":false`, 1)}, "")
	require.NoError(t, d.Monitor(t.Context(), ProbeStatus))
	assert.Contains(t, stdout.String(), "MISSING_STATE=POWEROFF\n", "outside of a cluster nobody else has it")
	d, stdout, _ = front(&peer{says: surveyed}, "")
	require.NoError(t, d.PollAll(t.Context()))
	assert.Equal(t, "VM_POLL=YES\nVM=[\n  ID=42,\n  DEPLOY_ID=one-42,\n  POLL=\"STATE=a USEDCPU=12.5 USEDMEMORY=1024 NETRX=1 NETTX=2 DISKRDBYTES=0 DISKWRBYTES=0 DISKRDIOPS=0 DISKWRIOPS=0\" ]\n", stdout.String())
	d, stdout, _ = front(&peer{says: `{"done":true,"error":"libvirt does not answer"}` + "\n"}, "")
	require.ErrorContains(t, d.Monitor(t.Context(), ProbeStatus), "libvirt does not answer")
	assert.Empty(t, stdout.String(), "what is printed counts")
}

func TestProbeOf(t *testing.T) {
	for script, want := range map[string]Probe{
		"/var/tmp/one/im/rhcs-probes.d/vm/status/one-clvm": ProbeStatus, "/var/tmp/one/im/kvm-probes.d/vm/monitor/x": ProbeMonitor, "/var/tmp/one/im/kvm-probes.d/poll.sh": ProbePoll,
		"/var/tmp/one/vmm/rhcs/poll": "", "poll": "", "/var/tmp/one/im/kvm-probes.d/host/monitor/x": "", "/x/vm/status/y": "", "/var/tmp/one/im/kvm-probes.d/vm/snapshot/x": "",
	} {
		probe, remotes := ProbeOf(script)
		assert.Equal(t, want, probe, script)
		if want != "" {
			assert.Equal(t, "/var/tmp/one", remotes, script)
		}
	}
}

func TestAnswersThatFail(t *testing.T) {
	for name, c := range map[string]struct {
		peer peer
		want string
	}{
		"error":          {peer{says: `{"done":true,"error":"refused: no quorum"}` + "\n", err: errors.New("exit status 1")}, "refused: no quorum"},
		"no sudo":        {peer{err: errors.New("a password is required")}, "sudoers.d/one-clvm-vmm"},
		"no result":      {peer{says: `{"log":"x"}` + "\n"}, "without a result"},
		"half a result":  {peer{says: `{"done":true}`}, "without a result"},
		"another answer": {peer{says: "Killed\n"}, "answer of the privileged end"},
	} {
		d, stdout, _ := front(&c.peer, "<domain/>")
		err := d.Do(t.Context(), "deploy", []string{"/var/lib/one/datastores/101/42/deployment.0", "node1", "42", "node1"})
		require.ErrorContains(t, err, c.want, name)
		require.ErrorContains(t, err, "deploy of VM 42 on node1", name)
		assert.Empty(t, stdout.String(), "no deploy id")
	}
	d, _, _ := front(&peer{}, "")
	require.ErrorContains(t, d.Do(t.Context(), "deploy", []string{"/var/lib/one/datastores/101/42/deployment.0", "node1", "42", "node1"}), "standard input")
	require.ErrorIs(t, d.Do(t.Context(), "cancel", nil), opennebula.ErrUsage)
}
