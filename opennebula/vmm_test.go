package opennebula

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// vmmLine is one call of a VMM script in the recorded trace; a document in its arguments is
// written as <base64 of FILE>.
var vmmLine = regexp.MustCompile(`^vmm/rhcs/(\S+) (.*?)   <stdin: as is (\S+)>$`)

var inArguments = regexp.MustCompile(`<base64 of (\S+)>`)

func vmmCalls(t testing.TB) (calls [][3]string) {
	lines := bufio.NewScanner(reader(t, "trace.txt"))
	for lines.Scan() {
		match := vmmLine.FindStringSubmatch(lines.Text())
		if match == nil {
			continue
		}
		arguments := inArguments.ReplaceAllStringFunc(match[2], func(text string) string {
			return base64.StdEncoding.EncodeToString(fixture(t, inArguments.FindStringSubmatch(text)[1]))
		})
		calls = append(calls, [3]string{match[1], arguments, match[3]})
	}
	return calls
}

func TestEveryVMMCallOfARealOned(t *testing.T) {
	calls := vmmCalls(t)
	require.Len(t, calls, 26)
	release := Version{7, 4, 0}
	for _, recorded := range calls {
		verb, argv := recorded[0], strings.Fields(recorded[1])
		call, err := ParseVMM(verb, argv)
		require.NoError(t, err, recorded)
		assert.Equal(t, argv[len(argv)-1], call.Host)
		assert.Equal(t, ServiceName(call.VM), call.DeployID)
		assert.Equal(t, verb != "deploy" && call.Message == nil, call.ReadsAction(release), recorded)
		if verb == "deploy" {
			continue
		}
		action, err := ReadVMMAction(reader(t, recorded[2]))
		require.NoError(t, err, recorded)
		assert.Equal(t, call.VM, action.VM.ID)
		assert.Equal(t, 101, action.Datastore.ID)
	}
}

func vmmParse(t *testing.T, line string) VMMCall {
	t.Helper()
	words := strings.Split(line, " ")
	call, err := ParseVMM(words[0], words[1:])
	require.NoError(t, err, line)
	return call
}

func TestVMMArguments(t *testing.T) {
	const home = "/var/lib/one//datastores/101/42"
	deploy := vmmParse(t, "deploy "+home+"/deployment.3 node1 42 node1")
	assert.Equal(t, []any{"deployment.3", 101, 42, "one-42"}, []any{deploy.File.Name, deploy.File.Datastore, deploy.VM, deploy.DeployID})
	assert.Equal(t, "node2", vmmParse(t, "migrate one-42 node2 node1 42 node1").To)
	assert.Equal(t, "node2", vmmParse(t, "migrate_local one-42 node2 node1 42 node1").To)
	assert.Equal(t, "checkpoint", vmmParse(t, "save one-42 "+home+"/checkpoint node1 42 node1").File.Name)
	assert.Equal(t, "checkpoint", vmmParse(t, "restore "+home+"/checkpoint node1 42 node1").File.Name, "up to 4.2")
	assert.Equal(t, "checkpoint", vmmParse(t, "restore "+home+"/checkpoint node1 one-42 42 node1").File.Name)
	attach := vmmParse(t, "attach_disk one-42 "+home+"/disk.5 sde 4 42 node1")
	assert.Equal(t, []any{5, "sde", 4}, []any{attach.File.Disk, attach.Target, attach.Index})
	nic := vmmParse(t, "attach_nic one-42 02:00:C0:a8:00:01 br0 - 802.1Q one-42-0 42 node1")
	assert.Equal(t, []string{"02:00:c0:a8:00:01", "br0", "", "802.1Q", "one-42-0"}, []string{nic.MAC, nic.Bridge, nic.Model, nic.NetDriver, nic.Target})
	old := vmmParse(t, "attach_nic one-42 02:00:c0:a8:00:01 br0 virtio 42 node1")
	assert.Equal(t, []string{"br0", "virtio", "", ""}, []string{old.Bridge, old.Model, old.NetDriver, old.Target})
	assert.Equal(t, "02:00:c0:a8:00:01", vmmParse(t, "detach_nic one-42 02:00:c0:a8:00:01 42 node1").MAC)
	assert.Equal(t, 7, vmmParse(t, "snapshot_create one-42 7 42 node1").Snapshot)
	assert.Equal(t, "snap-7", vmmParse(t, "snapshot_revert one-42 snap-7 42 node1").HypervisorSnapshot)
	assert.Equal(t, "snap-7", vmmParse(t, "snapshot_delete one-42 snap-7 42 node1").HypervisorSnapshot)
	assert.Equal(t, "hda", vmmParse(t, "prereconfigure one-42 hda 42 node1").Target)
	assert.Equal(t, 4, vmmParse(t, "reconfigure one-42 hda "+home+"/disk.4 42 node1").File.Disk)
	for _, verb := range []string{"shutdown", "cancel", "reboot", "reset", "poll"} {
		for _, id := range []string{"one-42", "", "-"} {
			assert.Equal(t, "one-42", vmmParse(t, verb+" "+id+" node1 42 node1").DeployID)
		}
	}
	shutdown := vmmParse(t, "shutdown one-42 node1 42 node1")
	assert.False(t, shutdown.ReadsAction(Version{4, 14, 2}), "standard input is the stream")
	assert.False(t, shutdown.ReadsAction(Version{}))
}

func TestVMMArgumentsThatOnedNeverGives(t *testing.T) {
	const home = "/var/lib/one/datastores/101/42"
	other := base64.StdEncoding.EncodeToString([]byte("<VMM_DRIVER_ACTION_DATA><VM><ID>43</ID></VM></VMM_DRIVER_ACTION_DATA>"))
	for _, line := range []string{
		"deploy", "deploy " + home + "/deployment.0 node1", "deploy " + home + "/deployment.0 node1 x node1",
		"deploy " + home + "/deployment.0 node1 42 -oProxyCommand=x", "deploy " + home + "/deployment.0 -x 42 node1",
		"deploy " + home + "/disk.0 node1 42 node1", "deploy " + home + "/deployment.0 node1 43 node1", "deploy /etc/passwd node1 42 node1",
		"deploy " + home + "/../42/deployment.0 node1 42 node1",
		"cancel one-43 node1 42 node1", "cancel 4a9f7553-7c43-41c3-96dc-73ea370c3c3e node1 42 node1", "cancel one-42;id node1 42 node1",
		"cancel one-42 no/de 42 node1", "save one-42 " + home + "/disk.0 node1 42 node1", "save one-43 " + home + "/checkpoint node1 42 node1",
		"restore " + home + "/disk.0 node1 42 node1", "restore " + home + "/checkpoint node1 one-43 42 node1", "migrate one-42 --all node1 42 node1",
		"attach_disk one-42 " + home + " sde 4 42 node1", "attach_disk one-42 " + home + "/disk.5 ../sda 4 42 node1",
		"attach_disk one-42 " + home + "/disk.5 sde -1 42 node1", "attach_disk one-42 " + home + "/disk.5 sde 4 xxx 42 node1",
		"attach_disk one-42 " + home + "/disk.5 sde 4 " + other + " 42 node1",
		"attach_nic one-42 02:00 br0 - dummy 42 node1", "attach_nic one-42 02:00:c0:a8:00:01 - - dummy 42 node1",
		"attach_nic one-42 02:00:c0:a8:00:01 br0 - dummy a'b 42 node1", "detach_nic one-42 x 42 node1",
		"snapshot_create one-42 x 42 node1", "snapshot_revert one-42 --metadata 42 node1", "snapshot_delete one-42 a/b 42 node1",
		"resize_disk one-42 x 1 x node1 42 node1", "resize_disk one-42 0 0 x node1 42 node1", "resize_disk one-42 0 1 x node1 42 node1",
		"resize one-43 42 node1", "prereconfigure one-42 x 42 node1", "reconfigure one-42 hda /etc/shadow 42 node1", "frobnicate one-42 42 node1",
	} {
		words := strings.Split(line, " ")
		_, err := ParseVMM(words[0], words[1:])
		require.ErrorIs(t, err, ErrUsage, line)
		assert.ErrorContains(t, err, words[0], line)
	}
}

func TestVMMActionThatIsNone(t *testing.T) {
	for _, document := range []string{"", "<VM/>", "<VMM_DRIVER_ACTION_DATA/>", "<VMM_DRIVER_ACTION_DATA><VM/></VMM_DRIVER_ACTION_DATA>",
		"<VMM_DRIVER_ACTION_DATA><VM><ID>1</ID></VM><DATASTORE/></VMM_DRIVER_ACTION_DATA>"} {
		_, err := ReadVMMAction(strings.NewReader(document))
		require.ErrorIs(t, err, ErrDocument, document)
	}
}

func TestVMMUsage(t *testing.T) {
	for _, verb := range VMMVerbs {
		lines := strings.Split(VMMUsage(verb), "\n")
		require.Len(t, lines, 3, verb)
		assert.True(t, strings.HasPrefix(lines[0], verb+" "))
		assert.True(t, strings.HasSuffix(lines[1], "."))
	}
	assert.Empty(t, VMMUsage("frobnicate"))
}

func FuzzParseVMM(f *testing.F) {
	for _, call := range vmmCalls(f) {
		f.Add(call[0], call[1])
	}
	f.Fuzz(func(t *testing.T, verb, arguments string) {
		call, err := ParseVMM(verb, strings.Split(arguments, " "))
		if err != nil {
			require.ErrorIs(t, err, ErrUsage)
			return
		}
		require.Equal(t, ServiceName(call.VM), call.DeployID)
		for _, text := range []string{call.Host, call.To, call.Target, call.MAC, call.Bridge, call.Model, call.NetDriver, call.HypervisorSnapshot} {
			require.False(t, strings.HasPrefix(text, "-"))
		}
		if call.File.Base != "" {
			require.Equal(t, call.VM, call.File.VM)
		}
	})
}

func FuzzReadVMMAction(f *testing.F) {
	f.Add([]byte("<VMM_DRIVER_ACTION_DATA><VM><ID>1</ID><TEMPLATE><DISK><DISK_ID>0</DISK_ID></DISK></TEMPLATE></VM><DATASTORE><ID>101</ID></DATASTORE></VMM_DRIVER_ACTION_DATA>"))
	f.Fuzz(func(t *testing.T, document []byte) {
		action, err := ReadVMMAction(bytes.NewReader(document))
		if err != nil {
			require.ErrorIs(t, err, ErrDocument)
			return
		}
		require.NotNil(t, action.VM)
	})
}
