package vmm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/vmm/domain"
)

// hook has libvirt call its hook.
func (n *node) hook(t *testing.T, document string, argv ...string) error {
	t.Helper()
	h := &LibvirtHook{Config: n.config(), Groups: []string{"vg-one"}, Agents: n, Clock: n}
	return h.Do(t.Context(), argv, strings.NewReader(document))
}

// own is a domain as libvirt hands it to the hook.
const own = `<domain type='kvm' id='7'><name>one-42</name><devices><emulator>/usr/libexec/qemu-kvm</emulator>` +
	`<disk type='block' device='disk'><source dev='/dev/vg-one/lv-one-42-0'/></disk><disk type='file' device='cdrom'><source file='HOME/disk.2' index='1'/></disk></devices></domain>`

func (n *node) own() string { return strings.ReplaceAll(own, "HOME", n.home()) }

func TestLibvirtHookActivatesBeforeTheStart(t *testing.T) {
	n := newNode(t)
	require.NoError(t, n.hook(t, n.own(), "one-42", "prepare", "begin", "-"))
	assert.Equal(t, []string{exclusive}, n.calls)
	require.NoError(t, n.hook(t, n.own(), "one-42", "release", "end", "-"))
	assert.Equal(t, []string{exclusive, off}, n.calls)
}

// TestLibvirtHookFindsTheHome: HOME_BASE may be several directories, and the agent's lock is
// that of the home.
func TestLibvirtHookFindsTheHome(t *testing.T) {
	n := newNode(t)
	n.first = t.TempDir()
	require.NoError(t, n.hook(t, n.own(), "one-42", "prepare", "begin", "-"))
	require.NoError(t, n.hook(t, n.own(), "one-42", "release", "end", "-"))
	assert.Equal(t, []string{exclusive, off}, n.calls)
	stranger := strings.ReplaceAll(own, "HOME", n.first+"/../101/42")
	require.ErrorIs(t, n.hook(t, stranger, "one-42", "prepare", "begin", "-"), domain.ErrRefused)
	require.NoError(t, os.Remove(n.home()))
	n.calls = nil
	require.NoError(t, n.hook(t, n.own(), "one-42", "release", "end", "-"))
	assert.Equal(t, []string{"here: activate off of VM 42 in " + n.first + "/101/42"}, n.calls, "a home that is gone keeps no disk active")
}

func TestLibvirtHookLetsTheRestPass(t *testing.T) {
	n := newNode(t)
	for _, argv := range [][]string{
		{"one-42", "start", "begin", "-"}, {"one-42", "started", "begin", "-"}, {"one-42", "stopped", "end", "-"}, {"one-42", "migrate", "begin", "-"}, {"one-42", "prepare", "end", "-"},
		{"web", "prepare", "begin", "-"}, {"one-x", "prepare", "begin", "-"}, {"one-042", "release", "end", "-"}, {"one--1", "release", "end", "-"},
	} {
		require.NoError(t, n.hook(t, "no document", argv...), argv)
	}
	assert.Empty(t, n.calls)
	require.Error(t, n.hook(t, n.own(), "one-42"))
}

// window has all of the VM's disks shared for a migration that is to end at a time.
func (n *node) window(until time.Time) {
	for i := range n.volumes {
		n.volumes[i].Mode = lvm.Shared
		n.volumes[i].Tags = n.volumes[i].Tags.With(fmt.Sprintf("migrating=node1:node2:%d", until.Unix()))
	}
	n.fail["here: activate exclusive"] = errors.New("volume is locked by another node: node1")
}

// TestLibvirtHookKeepsTheWindow: a migration that the transfer manager has prepared finds
// the volumes shared on both nodes.
func TestLibvirtHookKeepsTheWindow(t *testing.T) {
	n := newNode(t)
	n.window(n.now.Add(time.Hour))
	require.NoError(t, n.hook(t, n.own(), "one-42", "migrate", "begin", "-"))
	require.NoError(t, n.hook(t, n.own(), "one-42", "prepare", "begin", "-"))
	assert.Empty(t, n.calls)
	require.ErrorContains(t, n.hook(t, n.own(), "one-42", "prepare", "begin", "-"), "node1", "one arrival is one start")
}

// TestLibvirtHookStartsOnSharedDisksForAMigrationOnly: with any other start the VM may run on
// the other node still; the lock manager knows.
func TestLibvirtHookStartsOnSharedDisksForAMigrationOnly(t *testing.T) {
	for name, change := range map[string]func(*testing.T, *node){
		"no migration arrives":   func(_ *testing.T, n *node) { n.window(n.now.Add(time.Hour)) },
		"one of another VM does": func(t *testing.T, n *node) { n.window(n.now.Add(time.Hour)); announced(t, n, "one-4") },
		"one has, a minute ago": func(t *testing.T, n *node) {
			n.window(n.now.Add(time.Hour))
			announced(t, n, "one-42")
			n.now = n.now.Add(arrival)
		},
		"the window is over": func(t *testing.T, n *node) { n.window(n.now); announced(t, n, "one-42") },
		"there is no window": func(t *testing.T, n *node) {
			n.window(n.now.Add(time.Hour))
			n.volumes[1].Tags = lvm.DiskTags(42, 1, 101)
			announced(t, n, "one-42")
		},
		"one of the disks is not": func(t *testing.T, n *node) {
			n.window(n.now.Add(time.Hour))
			n.volumes[0].Mode = lvm.Off
			announced(t, n, "one-42")
		},
		"an announcement was cut off": func(t *testing.T, n *node) { n.window(n.now.Add(time.Hour)); announced(t, n, "one-42"); cutOff(t, n) },
	} {
		n := newNode(t)
		change(t, n)
		require.ErrorContains(t, n.hook(t, n.own(), "one-42", "prepare", "begin", "-"), "node1", name)
		assert.Equal(t, []string{exclusive}, n.calls, name)
	}
}

// announced has libvirt say that a domain arrives.
func announced(t *testing.T, n *node, name string) {
	t.Helper()
	require.NoError(t, n.hook(t, n.own(), name, "migrate", "begin", "-"))
}

func cutOff(t *testing.T, n *node) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(n.config().LockDir, "*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.NoError(t, os.Truncate(files[0], 0))
}

func TestLibvirtHookRefuses(t *testing.T) {
	for name, change := range map[string]func(*node, string) string{
		"another VM's volume": func(_ *node, text string) string { return strings.Replace(text, "lv-one-42-0", "lv-one-4-2", 1) },
		"a file of the node":  func(n *node, text string) string { return strings.Replace(text, n.home()+"/disk.2", "/etc/shadow", 1) },
		"a way out":           func(_ *node, text string) string { return strings.Replace(text, "/disk.2", "/../43/disk.2", 1) },
		"another VM's home":   func(_ *node, text string) string { return strings.Replace(text, "/42/disk.2", "/43/disk.2", 1) },
		"a backing file": func(_ *node, text string) string {
			return strings.Replace(text, "<disk type='file'", "<disk><backingStore><source file='/etc/shadow'/></backingStore></disk><disk type='file'", 1)
		},
		"a device of the node": func(_ *node, text string) string { return strings.Replace(text, "<devices>", "<devices><hostdev/>", 1) },
		"options of the emulator": func(_ *node, text string) string {
			return strings.Replace(text, "<devices>", "<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'/><devices>", 1)
		},
		"a volume of a pool": func(_ *node, text string) string {
			return strings.Replace(text, "<source dev='/dev/vg-one/lv-one-42-0'/>", "<source pool='default' volume='web'/>", 1)
		},
		"no document": func(*node, string) string { return "" },
	} {
		n := newNode(t)
		require.ErrorIs(t, n.hook(t, change(n, n.own()), "one-42", "prepare", "begin", "-"), domain.ErrRefused, name)
		assert.Empty(t, n.calls, name)
	}
	n := newNode(t)
	n.manager = "none"
	require.ErrorContains(t, n.hook(t, n.own(), "one-42", "prepare", "begin", "-"), "no lock manager")
	assert.Empty(t, n.calls)
	n.fail["volumes"] = errors.New("no agent answered")
	require.ErrorContains(t, n.hook(t, n.own(), "one-42", "release", "end", "-"), "no agent answered", "what is not known is not let go")
}
