package vmm

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	exclusive = "here: activate exclusive of VM 42 in /101/42"
	shared    = "here: activate shared of VM 42 in /101/42"
	off       = "here: activate off of VM 42 in /101/42"
)

// call has Pacemaker call an action of the resource.
func (n *node) call(t *testing.T, action string, change map[string]string) (status int, stderr string) {
	t.Helper()
	env := map[string]string{
		"OCF_RESOURCE_INSTANCE": "one-42", "OCF_RESKEY_definition": filepath.Join(n.home(), "domain.xml"), "OCF_RESKEY_shutdown": "30s",
		"OCF_RESKEY_CRM_meta_timeout": "65000", "OCF_RESKEY_CRM_meta_migrate_source": "node1", "OCF_RESKEY_CRM_meta_migrate_target": "node2",
	}
	for name, value := range change {
		env[name] = value
	}
	var out bytes.Buffer
	r := &Resource{Config: n.config(), Groups: []string{"vg-one"}, Agents: n, Runner: n, Clock: n, Env: func(name string) string { return env[name] }, Stdout: &bytes.Buffer{}, Stderr: &out,
		Peer: func(host string) []string { return []string{"ssh", host} }}
	return r.Do(t.Context(), action), out.String()
}

func defined(t *testing.T) *node {
	n := newNode(t)
	require.NoError(t, os.WriteFile(filepath.Join(n.home(), "domain.xml"), []byte(n.document()), 0o600))
	return n
}

func TestResourceStart(t *testing.T) {
	n := defined(t)
	status, _ := n.call(t, "start", nil)
	assert.Equal(t, ocfSuccess, status)
	assert.Equal(t, []string{exclusive, "virsh create /dev/stdin"}, n.calls, "the volumes first")
	assert.Contains(t, n.created, "/dev/vg-one/lv-one-42-1")
	status, _ = n.call(t, "start", nil)
	assert.Equal(t, ocfSuccess, status, "it runs")
	assert.Len(t, n.calls, 2)
}

// By default a shutdown may take longer than a start: that leaves nothing of a stop's time, and
// is nothing to a start.
func TestResourceStartHasTheTimeOfItsOperation(t *testing.T) {
	n := defined(t)
	status, stderr := n.call(t, "start", map[string]string{"OCF_RESKEY_shutdown": "300s", "OCF_RESKEY_CRM_meta_timeout": "120000"})
	require.Equal(t, ocfSuccess, status, stderr)
	assert.Greater(t, n.limit, time.Minute)
}

func TestResourceStartThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*node)
		status int
		reason string
		calls  []string
	}{
		"locked by another node": {func(n *node) {
			n.fail["here: activate exclusive"] = errors.New("volume is locked by another node: node2")
		}, ocfGeneric, "node2", []string{exclusive}},
		"no proof":     {func(n *node) { n.manager = "none" }, ocfGeneric, "no lock manager", nil},
		"libvirt down": {func(n *node) { n.down = true }, ocfGeneric, "libvirt does not answer", nil},
		"create fails": {func(n *node) { n.fail["virsh create"] = errors.New("no memory") }, ocfGeneric, "no memory", []string{exclusive, "virsh create /dev/stdin", off}},
		"hostile domain": {func(n *node) {
			_ = os.WriteFile(filepath.Join(n.home(), "domain.xml"), []byte(strings.Replace(n.document(), "<devices>", "<devices><hostdev/>", 1)), 0o600)
		}, ocfConfigured, "domain refused", []string{exclusive, off}},
		"no definition": {func(n *node) { _ = os.Remove(filepath.Join(n.home(), "domain.xml")) }, ocfGeneric, "domain.xml", []string{exclusive, off}},
	} {
		n := defined(t)
		c.change(n)
		status, stderr := n.call(t, "start", nil)
		assert.Equal(t, c.status, status, name)
		assert.Contains(t, stderr, "ocf-exit-reason:", name)
		assert.Contains(t, stderr, c.reason, name)
		assert.Equal(t, c.calls, n.calls, name)
	}
}

func TestResourceStop(t *testing.T) {
	n := defined(t)
	n.state = "running"
	status, _ := n.call(t, "stop", nil)
	assert.Equal(t, ocfSuccess, status)
	assert.Equal(t, []string{"virsh shutdown one-42", off}, n.calls)
	status, _ = n.call(t, "stop", nil)
	assert.Equal(t, ocfSuccess, status, "it is stopped, and its volumes are off for certain")
	assert.Equal(t, off, n.calls[2])
}

func TestResourceStopDestroysAGuestThatIgnoresIt(t *testing.T) {
	n := defined(t)
	n.state, n.stubborn = "running", true
	began := n.now
	status, _ := n.call(t, "stop", nil)
	assert.Equal(t, ocfSuccess, status)
	assert.Equal(t, []string{"virsh shutdown one-42", "virsh destroy one-42", off}, n.calls)
	assert.LessOrEqual(t, n.now.Sub(began).Seconds(), 60.0, "within the timeout of the operation")
}

// TestResourceStopDestroysAGuestThatCannotBeAsked: one hung guest does not cost the node.
func TestResourceStopDestroysAGuestThatCannotBeAsked(t *testing.T) {
	for name, failure := range map[string]error{
		"refused": errors.New("cannot acquire state change lock"), "too late": context.DeadlineExceeded,
	} {
		n := defined(t)
		n.state = "running"
		n.fail["virsh shutdown"] = failure
		status, stderr := n.call(t, "stop", map[string]string{"OCF_RESKEY_shutdown": "5s"})
		assert.Equal(t, ocfSuccess, status, name)
		assert.Positive(t, n.limit, name)
		assert.LessOrEqual(t, n.limit, asking, "the rest is for the end of it")
		assert.Equal(t, []string{"virsh shutdown one-42", "virsh destroy one-42", off}, n.calls, name)
		assert.Contains(t, stderr, failure.Error(), name)
		n.state, n.fail["virsh destroy"] = "running", failure
		status, _ = n.call(t, "stop", nil)
		assert.Equal(t, ocfGeneric, status, "it may run: the node has to be fenced")
	}
}

// TestResourceStopNeedsNoFile: unlike that of ocf:heartbeat:VirtualDomain, a stop does not
// succeed because a file is not there while the guest runs.
func TestResourceStopNeedsNoFile(t *testing.T) {
	n := newNode(t)
	n.state = "running"
	status, _ := n.call(t, "stop", nil)
	assert.Equal(t, ocfSuccess, status)
	assert.Contains(t, n.calls, "virsh shutdown one-42")
}

func TestResourceStopThatFails(t *testing.T) {
	n := defined(t)
	n.down = true
	status, stderr := n.call(t, "stop", nil)
	assert.Equal(t, ocfGeneric, status, "it may run: the node has to be fenced")
	assert.Contains(t, stderr, "libvirt does not answer")
	assert.Empty(t, n.calls)
	n = defined(t)
	n.fail["here: activate off"] = errors.New("volume is in use")
	status, _ = n.call(t, "stop", nil)
	assert.Equal(t, ocfGeneric, status)
}

func TestResourceMonitor(t *testing.T) {
	for state, want := range map[string]int{
		"running": ocfSuccess, "paused": ocfSuccess, "in shutdown": ocfSuccess, "pmsuspended": ocfSuccess, "no state": ocfSuccess,
		"": ocfNotRunning, "shut off": ocfNotRunning, "crashed": ocfGeneric,
	} {
		n := newNode(t)
		n.state = state
		status, _ := n.call(t, "monitor", nil)
		assert.Equal(t, want, status, state)
	}
	n := newNode(t)
	n.down = true
	began := n.now
	status, stderr := n.call(t, "monitor", nil)
	assert.Equal(t, ocfGeneric, status)
	assert.Contains(t, stderr, "failed to connect")
	assert.InDelta(t, 60, n.now.Sub(began).Seconds(), 1, "libvirt may be restarting")
}

func TestResourceMigrates(t *testing.T) {
	n := defined(t)
	n.state = "running"
	status, _ := n.call(t, "migrate_to", nil)
	assert.Equal(t, ocfSuccess, status)
	assert.Equal(t, []string{shared, "node2: activate shared of VM 42 in /101/42", "virsh migrate --live one-42 qemu+ssh://node2/system", off}, n.calls)
	target := defined(t)
	target.state = "running"
	status, _ = target.call(t, "migrate_from", nil)
	assert.Equal(t, ocfSuccess, status)
	assert.Equal(t, []string{exclusive}, target.calls)
}

func TestResourceMigrationThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		fails string
		calls []string
	}{
		"here":   {"here: activate shared", []string{shared, exclusive}},
		"there":  {"node2: activate shared", []string{shared, "node2: activate shared of VM 42 in /101/42", "node2: activate off of VM 42 in /101/42", exclusive}},
		"itself": {"virsh migrate", []string{shared, "node2: activate shared of VM 42 in /101/42", "virsh migrate --live one-42 qemu+ssh://node2/system", "node2: activate off of VM 42 in /101/42", exclusive}},
	} {
		n := defined(t)
		n.state = "running"
		n.fail[c.fails] = errors.New("no")
		status, _ := n.call(t, "migrate_to", nil)
		assert.Equal(t, ocfGeneric, status, name)
		assert.Equal(t, c.calls, n.calls, name)
		assert.Equal(t, "running", n.state, name)
	}
	n := defined(t)
	status, _ := n.call(t, "migrate_to", nil)
	assert.Equal(t, ocfGeneric, status, "it does not run")
	assert.Empty(t, n.calls)
	status, _ = n.call(t, "migrate_from", nil)
	assert.Equal(t, ocfGeneric, status)
	n.state = "running"
	n.fail["here: activate exclusive"] = errors.New("volume is locked by another node")
	status, _ = n.call(t, "migrate_from", nil)
	assert.Equal(t, ocfSuccess, status, "the VM runs")
}

func TestResourceParameters(t *testing.T) {
	n := defined(t)
	for name, change := range map[string]map[string]string{
		"no definition":          {"OCF_RESKEY_definition": ""},
		"not a home":             {"OCF_RESKEY_definition": "/etc/passwd"},
		"another file":           {"OCF_RESKEY_definition": filepath.Join(n.home(), "deployment.0")},
		"a way out":              {"OCF_RESKEY_definition": n.home() + "/../42/domain.xml"},
		"another VM":             {"OCF_RESOURCE_INSTANCE": "one-4"},
		"a service of others":    {"OCF_RESOURCE_INSTANCE": "apache"},
		"below another base":     {"OCF_RESKEY_definition": "/srv/101/42/domain.xml"},
		"a VM that is no number": {"OCF_RESKEY_definition": n.base + "/101/x/domain.xml"},
	} {
		status, stderr := n.call(t, "stop", change)
		assert.Equal(t, ocfConfigured, status, name)
		assert.Contains(t, stderr, "ocf-exit-reason:", name)
	}
	status, _ := n.call(t, "frobnicate", nil)
	assert.Equal(t, ocfUnimplemented, status)
	status, _ = n.call(t, "validate-all", nil)
	assert.Equal(t, ocfSuccess, status)
	assert.Empty(t, n.calls)
	status, stderr := n.call(t, "migrate_to", map[string]string{"OCF_RESKEY_CRM_meta_migrate_target": "-oProxyCommand=x"})
	assert.Equal(t, ocfGeneric, status)
	assert.Contains(t, stderr, "migration")
}

func TestResourceMetadata(t *testing.T) {
	var out bytes.Buffer
	r := &Resource{Stdout: &out, Stderr: &bytes.Buffer{}}
	require.Equal(t, ocfSuccess, r.Do(t.Context(), "meta-data"))
	var agent struct {
		Actions []struct {
			Name string `xml:"name,attr"`
		} `xml:"actions>action"`
	}
	require.NoError(t, xml.Unmarshal(out.Bytes(), &agent))
	assert.Len(t, agent.Actions, 7)
}
