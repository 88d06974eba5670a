package virsh

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
)

// processes are those of a node: their command lines, with blanks between the words.
func processes(t *testing.T, lines ...string) (root string) {
	root = t.TempDir()
	for i, line := range append([]string{"/sbin/init"}, lines...) {
		dir := filepath.Join(root, "proc", strconv.Itoa(i+1))
		require.NoError(t, os.MkdirAll(dir, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "cmdline"), []byte(strings.ReplaceAll(line, " ", "\x00")+"\x00"), 0o644))
	}
	require.NoError(t, os.MkdirAll(filepath.Join(root, "proc", "sys"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "proc", "99"), 0o755), "it has just ended")
	return root
}

func TestEmulated(t *testing.T) {
	for line, want := range map[string]cluster.Domain{
		"/usr/bin/qemu-system-x86_64 -name guest=one-42,debug-threads=on -S": cluster.Active,
		"/opt/emulator -name guest=one-42":                                   cluster.Active,
		"/usr/libexec/qemu-kvm -S -M pc -name one-42 -uuid 4":                cluster.Active,
		"/usr/bin/kvm -name one-42,process=x":                                cluster.Active,
		"/usr/bin/qemu-system-x86_64 -name guest=one-421":                    cluster.Absent,
		"/usr/bin/qemu-system-x86_64 -name guest=one-4":                      cluster.Absent,
		"/usr/bin/find / -name one-42":                                       cluster.Absent,
		"/usr/bin/qemu-system-x86_64 -uuid guest=one-42 -name":               cluster.Absent,
		"": cluster.Absent, // a kernel thread, or what is left of a process
	} {
		assert.Equal(t, want, Emulated(processes(t, line), service), line)
	}
}

// TestEmulatedKnowsWhatItDoesNotKnow: what is taken for gone may be started twice.
func TestEmulatedKnowsWhatItDoesNotKnow(t *testing.T) {
	assert.Equal(t, cluster.Unknown, Emulated(t.TempDir(), service), "no /proc")
	empty := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(empty, "proc"), 0o755))
	assert.Equal(t, cluster.Unknown, Emulated(empty, service), "nothing is mounted there")
	unreadable := processes(t)
	require.NoError(t, os.Mkdir(filepath.Join(unreadable, "proc/1/cmdline.d"), 0o755))
	require.NoError(t, os.Remove(filepath.Join(unreadable, "proc/1/cmdline")))
	require.NoError(t, os.Rename(filepath.Join(unreadable, "proc/1/cmdline.d"), filepath.Join(unreadable, "proc/1/cmdline")))
	assert.Equal(t, cluster.Unknown, Emulated(unreadable, service), "not readable")
	for _, uri := range []string{"qemu+ssh://node2/system", "xen:///system", "lxc:///"} {
		elsewhere := service
		elsewhere.Hypervisor = uri
		assert.Equal(t, cluster.Unknown, Emulated(processes(t), elsewhere), uri)
	}
}
