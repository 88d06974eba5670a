package vmm

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
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
		"OCF_RESKEY_hypervisor": "qemu:///system", "OCF_RESKEY_CRM_meta_timeout": "65000", "OCF_RESKEY_CRM_meta_interval": "10000", "OCF_RESKEY_CRM_meta_migrate_source": "node1", "OCF_RESKEY_CRM_meta_migrate_target": "node2",
	}
	for name, value := range change {
		env[name] = value
	}
	var out bytes.Buffer
	r := &Resource{Config: n.config(), Groups: []string{"vg-one"}, Root: n.root(t), Agents: n, Runner: n, Clock: n, Env: func(name string) string { return env[name] }, Stdout: &bytes.Buffer{}, Stderr: &out,
		Peer: func(host string) []string { return []string{"ssh", host} }}
	if n.unconfigured != nil {
		r.Config, r.Groups, r.Unconfigured = Config{Hypervisor: "qemu:///system", HomeBases: []string{"/var/lib/one/datastores"}}, nil, n.unconfigured
	}
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
		}, ocfGeneric, "node2", []string{exclusive, off}},
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
	for name, processes := range map[string][]string{"nothing is known": nil, "it is emulated": {"/sbin/init", emulator}} {
		n := defined(t)
		n.down, n.processes = true, processes
		began := n.now
		status, stderr := n.call(t, "stop", nil)
		assert.Equal(t, ocfGeneric, status, "%s: it may run: the node has to be fenced", name)
		assert.Contains(t, stderr, "libvirt does not answer", name)
		assert.Empty(t, n.calls, name)
		assert.InDelta(t, 60, n.now.Sub(began).Seconds(), 1, "libvirt may be restarting")
	}
	n := defined(t)
	n.fail["here: activate off"] = errors.New("volume is in use")
	status, _ := n.call(t, "stop", nil)
	assert.Equal(t, ocfGeneric, status)
}

// emulator is the command line of the VM's, as libvirt makes it.
const emulator = "/usr/bin/qemu-system-x86_64 -name guest=one-42,debug-threads=on -S"

// TestResourceStopWaitsForLibvirt: a libvirt that is restarted does not cost the node.
func TestResourceStopWaitsForLibvirt(t *testing.T) {
	for after, calls := range map[time.Duration][]string{
		20 * time.Second: {"virsh shutdown one-42", off},
		50 * time.Second: {"virsh destroy one-42", off}, // what is left is for the end of it
	} {
		n := defined(t)
		n.state, n.down, n.back, n.processes = "running", true, n.now.Add(after), []string{"/sbin/init", emulator}
		began := n.now
		status, stderr := n.call(t, "stop", nil)
		assert.Equal(t, ocfSuccess, status, stderr)
		assert.Equal(t, calls, n.calls, after)
		assert.LessOrEqual(t, n.now.Sub(began), time.Minute, "within the timeout of the operation")
	}
}

// TestResourceWithoutLibvirt: what no process emulates does not run, and a probe or a stop on a
// node whose libvirt is off is no failure.
func TestResourceWithoutLibvirt(t *testing.T) {
	n := defined(t)
	n.down, n.processes = true, []string{"/sbin/init", strings.Replace(emulator, "one-42", "one-421", 1)}
	began := n.now
	status, stderr := n.call(t, "stop", nil)
	assert.Equal(t, ocfSuccess, status, stderr)
	assert.Equal(t, []string{off}, n.calls, "LVM refuses to close what is open")
	for _, interval := range []string{"0", "10000"} {
		status, _ = n.call(t, "monitor", map[string]string{"OCF_RESKEY_CRM_meta_interval": interval})
		assert.Equal(t, ocfNotRunning, status)
	}
	n.processes = append(n.processes, emulator)
	status, _ = n.call(t, "monitor", nil)
	assert.Equal(t, ocfSuccess, status)
	assert.Equal(t, began, n.now, "there is nothing to wait for")
}

// TestResourceWithoutConfiguration: a mistake in agent.conf costs no node, neither this one nor,
// where the file is the same everywhere, all of them.
func TestResourceWithoutConfiguration(t *testing.T) {
	probe := map[string]string{"OCF_RESKEY_CRM_meta_interval": "0"}
	for name, c := range map[string]struct {
		why          error
		probe, start int
	}{
		"a mistake": {errors.New("agent.conf:3: SHUTDOWN_TIMOUT: unknown variable"), ocfNotRunning, ocfGeneric},
		"no file":   {fmt.Errorf("agent.conf: %w", fs.ErrNotExist), ocfInstalled, ocfInstalled},
	} {
		n := defined(t)
		n.unconfigured, n.state = c.why, "running"
		for _, change := range []map[string]string{nil, probe} {
			status, stderr := n.call(t, "monitor", change)
			assert.Equal(t, ocfSuccess, status, name+stderr)
		}
		status, stderr := n.call(t, "stop", nil)
		assert.Equal(t, ocfSuccess, status, name+stderr)
		assert.Equal(t, []string{"virsh shutdown one-42"}, n.calls, name)
		assert.Contains(t, stderr, "its volumes stay active here", name)
		status, _ = n.call(t, "monitor", nil)
		assert.Equal(t, ocfNotRunning, status, name)
		status, _ = n.call(t, "monitor", probe)
		assert.Equal(t, c.probe, status, name)
		for _, action := range []string{"start", "migrate_to", "migrate_from", "validate-all"} {
			status, stderr = n.call(t, action, nil)
			assert.Equal(t, c.start, status, action)
			assert.Contains(t, stderr, "ocf-exit-reason:"+c.why.Error(), action)
		}
		assert.Len(t, n.calls, 1, "nothing else was changed")
	}
}

// TestResourceWhoseHomeHasMoved: with another HOME_BASE the VM is watched and stopped like
// before. Its volumes say what is its own.
func TestResourceWhoseHomeHasMoved(t *testing.T) {
	n := defined(t)
	n.state = "running"
	moved := map[string]string{"OCF_RESKEY_definition": "/srv/101/42/domain.xml"}
	status, stderr := n.call(t, "monitor", moved)
	assert.Equal(t, ocfSuccess, status, stderr)
	status, stderr = n.call(t, "stop", moved)
	assert.Equal(t, ocfSuccess, status, stderr)
	assert.Equal(t, []string{"virsh shutdown one-42", off}, n.calls)
}

// TestResourceAsksTheLibvirtThatItWasStartedBy also after agent.conf has changed.
func TestResourceAsksTheLibvirtThatItWasStartedBy(t *testing.T) {
	n := defined(t)
	n.state = "running"
	for uri, want := range map[string]string{"qemu+unix:///system?socket=/run/x": "qemu+unix:///system?socket=/run/x", "": "qemu:///system"} {
		status, stderr := n.call(t, "monitor", map[string]string{"OCF_RESKEY_hypervisor": uri})
		assert.Equal(t, ocfSuccess, status, stderr)
		assert.Equal(t, want, n.uri)
	}
	status, _ := n.call(t, "monitor", map[string]string{"OCF_RESKEY_hypervisor": "-x"})
	assert.Equal(t, ocfConfigured, status)
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
		"below another base":     {"OCF_RESKEY_definition": "/srv/101/42/domain.xml"},
		"a VM that is no number": {"OCF_RESKEY_definition": n.base + "/101/x/domain.xml"},
	} {
		for _, action := range []string{"start", "migrate_to", "migrate_from", "validate-all"} {
			status, stderr := n.call(t, action, change)
			assert.Equal(t, ocfConfigured, status, name)
			assert.Contains(t, stderr, "ocf-exit-reason:", name)
		}
	}
	for _, action := range []string{"start", "stop", "monitor"} {
		status, stderr := n.call(t, action, map[string]string{"OCF_RESOURCE_INSTANCE": "apache"})
		assert.Equal(t, ocfConfigured, status, "a service of others")
		assert.Contains(t, stderr, "ocf-exit-reason:")
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
