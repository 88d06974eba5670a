package vmm

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
)

const (
	twoDrivers = "<VM><ID>42</ID><TEMPLATE><NIC><NIC_ID>0</NIC_ID><VN_MAD>802.1Q</VN_MAD></NIC><NIC><NIC_ID>1</NIC_ID><VN_MAD>dummy</VN_MAD></NIC><NIC><NIC_ID>2</NIC_ID><VN_MAD>802.1Q</VN_MAD></NIC>" +
		"<NIC><NIC_ID>3</NIC_ID><VN_MAD>vxlan</VN_MAD></NIC></TEMPLATE></VM>"
	script = "-u oneadmin -- /var/tmp/one/vnm/"
)

// networked is a node with the VM's document in its home.
func networked(t *testing.T, document string) *node {
	n := defined(t)
	require.NoError(t, os.WriteFile(filepath.Join(n.home(), vmName), []byte(document), 0o600))
	return n
}

func phases(p string) []string {
	if p == "post" {
		p += " one-42"
	}
	return []string{script + "802.1Q/" + p, script + "vxlan/" + p}
}

func TestNetworksFollowAStart(t *testing.T) {
	n := networked(t, twoDrivers)
	status, stderr := n.call(t, "start", nil)
	require.Equal(t, ocfSuccess, status, stderr)
	want := append(phases("pre"), exclusive, "virsh create /dev/stdin")
	assert.Equal(t, append(want, phases("post")...), n.calls)
	n.calls = nil
	status, _ = n.call(t, "stop", nil)
	assert.Equal(t, ocfSuccess, status)
	assert.Equal(t, append([]string{"virsh shutdown one-42", off}, phases("clean")...), n.calls)
}

func TestNetworksFollowAMigration(t *testing.T) {
	n := networked(t, twoDrivers)
	n.state = "running"
	status, stderr := n.call(t, "migrate_to", nil)
	require.Equal(t, ocfSuccess, status, stderr)
	want := append([]string{"ssh node2"}, phases("pre")...)
	want = append(want, shared, "node2: activate shared of VM 42 in /101/42", "virsh migrate --live one-42 qemu+ssh://node2/system", off)
	assert.Equal(t, append(want, phases("clean")...), n.calls)
	n.calls, n.state = nil, "running"
	status, _ = n.call(t, "migrate_from", nil)
	assert.Equal(t, ocfSuccess, status)
	assert.Equal(t, append([]string{exclusive}, phases("post")...), n.calls)
}

func TestNetworksThatAreLeftAlone(t *testing.T) {
	for name, document := range map[string]string{
		"dummy":        "<VM><ID>42</ID><TEMPLATE><NIC><VN_MAD>dummy</VN_MAD></NIC></TEMPLATE></VM>",
		"none":         "<VM><ID>42</ID></VM>",
		"before 5.0":   "<VM><ID>42</ID><TEMPLATE><NIC><BRIDGE>br0</BRIDGE></NIC></TEMPLATE></VM>",
		"not told yet": "",
	} {
		n := defined(t)
		if document != "" {
			n = networked(t, document)
		}
		for _, action := range []string{"start", "migrate_to"} {
			status, stderr := n.call(t, action, nil)
			assert.Equal(t, ocfSuccess, status, name+stderr)
		}
		for _, call := range n.calls {
			assert.NotContains(t, call, "/vnm/", name)
			assert.False(t, strings.HasPrefix(call, "ssh"), name)
		}
	}
}

func TestNetworksThatFail(t *testing.T) {
	n := networked(t, twoDrivers)
	n.fail[script+"vxlan/pre"] = errors.New("no such device")
	status, stderr := n.call(t, "start", nil)
	assert.Equal(t, ocfGeneric, status)
	assert.Contains(t, stderr, "network driver vxlan, pre: no such device")
	assert.Equal(t, phases("pre"), n.calls, "it is not started")

	n = networked(t, twoDrivers)
	n.fail[script+"802.1Q/post"] = errors.New("no rule")
	status, stderr = n.call(t, "start", nil)
	assert.Equal(t, ocfGeneric, status)
	assert.Contains(t, stderr, "no rule")
	assert.Empty(t, n.state, "without its security groups it does not run")
	assert.Equal(t, off, n.calls[len(n.calls)-1])

	n = networked(t, twoDrivers)
	n.fail[script+"802.1Q/clean"] = errors.New("busy")
	n.state = "running"
	status, stderr = n.call(t, "stop", nil)
	assert.Equal(t, ocfSuccess, status, "the VM is off")
	assert.Contains(t, stderr, "busy")

	n = networked(t, twoDrivers)
	n.fail["ssh node2"] = errors.New("no route to host")
	n.state = "running"
	status, stderr = n.call(t, "migrate_to", nil)
	assert.Equal(t, ocfGeneric, status)
	assert.Contains(t, stderr, "networks on node2")
	assert.Equal(t, []string{"ssh node2"}, n.calls, "nothing was changed")
}

// TestHostileNetworkDocuments: oneadmin may write in the home, and root reads it.
func TestHostileNetworkDocuments(t *testing.T) {
	for name, document := range map[string]string{
		"a way out":  "<VM><ID>42</ID><TEMPLATE><NIC><VN_MAD>../../../bin</VN_MAD></NIC></TEMPLATE></VM>",
		"an option":  "<VM><ID>42</ID><TEMPLATE><NIC><VN_MAD>-x</VN_MAD></NIC></TEMPLATE></VM>",
		"another VM": "<VM><ID>4</ID><TEMPLATE><NIC><VN_MAD>fw</VN_MAD></NIC></TEMPLATE></VM>",
		"not XML":    "<VM",
	} {
		n := networked(t, document)
		status, stderr := n.call(t, "start", nil)
		assert.Equal(t, ocfGeneric, status, name)
		assert.Contains(t, stderr, "document in the home", name)
		assert.Empty(t, n.calls, name)
	}
	n := defined(t)
	require.NoError(t, os.Symlink("/etc/shadow", filepath.Join(n.home(), vmName)))
	status, _ := n.call(t, "start", nil)
	assert.Equal(t, ocfGeneric, status)
	assert.Empty(t, n.calls)
}

// TestNetworksOfANICThatCame: the document of the last attach_nic counts, until a deploy
// brings a newer one.
func TestNetworksOfANICThatCame(t *testing.T) {
	n := networked(t, "<VM><ID>42</ID></VM>")
	n.state = "running"
	q := n.request(cluster.VerbAttachNIC)
	q.Device, q.MAC, q.Networks = nic, mac, twoDrivers
	require.Empty(t, serve(t, n.agent(), q))
	n.calls, n.state = nil, ""
	status, _ := n.call(t, "start", nil)
	assert.Equal(t, ocfSuccess, status)
	assert.Equal(t, phases("pre"), n.calls[:2])
	n.calls, n.state = nil, ""
	require.Empty(t, serve(t, n.agent(), n.request(cluster.VerbStart)))
	assert.NoFileExists(t, filepath.Join(n.home(), networkName))
	n.calls, n.state = nil, ""
	status, _ = n.call(t, "start", nil)
	assert.Equal(t, ocfSuccess, status)
	assert.False(t, strings.Contains(strings.Join(n.calls, " "), "/vnm/"))
}
