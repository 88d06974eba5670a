package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLibvirtHookKillsNoGuest: when libvirtd is started again it asks the hook about every guest
// that runs, and kills it if that fails.
func TestLibvirtHookKillsNoGuest(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), mode))
		require.NoError(t, os.Chmod(path, mode)) // past the umask
		return path
	}
	for name, config := range map[string]string{
		"a typo":            write("typo.conf", "ALLOWED_VG=vg-one\n", 0o644),
		"a group may write": write("mode.conf", "ALLOWED_VGS=vg-one\n", 0o664),
		"there is none":     filepath.Join(dir, "none.conf"),
	} {
		for _, guest := range []string{"one-42", "web", "help", "one-042"} {
			for _, operation := range strings.Split("prepare begin,start begin,started begin,stopped end,release end,migrate begin,restore begin,reconnect begin,attach begin", ",") {
				var stdout, stderr bytes.Buffer
				argv := append([]string{guest}, append(strings.Fields(operation), "-")...)
				status := runLibvirtHook(t.Context(), config, argv, stdio{strings.NewReader("<domain/>"), &stdout, &stderr})
				if guest == "one-42" && (operation == "prepare begin" || operation == "migrate begin") {
					assert.Equal(t, 1, status, "%s: %s %s", name, guest, operation)
				} else {
					assert.Zero(t, status, "%s: %s %s", name, guest, operation)
				}
				if guest == "one-42" && operation == "release end" {
					assert.Contains(t, stderr.String(), "active here still", name)
				}
				assert.Empty(t, stdout.String(), "libvirt takes it for a document")
			}
		}
	}
}

// However libvirt has it installed.
func TestLibvirtHookIsKnownByItsPath(t *testing.T) {
	for _, argv := range [][]string{
		{"/etc/libvirt/hooks/qemu", "web", "reconnect", "begin", "-"}, {"/etc/libvirt/hooks/qemu", "help", "reconnect", "begin", "-"},
		{"/etc/libvirt/hooks/qemu.d/50-one-clvm", "web", "reconnect", "begin", "-"}, {"/etc/libvirt/hooks/qemu.d/deploy", "--help", "started", "begin", "-"},
		{"libvirt-hook", "web", "reconnect", "begin", "-"},
	} {
		status, stdout, stderr := call(argv...)
		assert.Zero(t, status, "%q %s", argv, stderr)
		assert.Empty(t, stdout, argv)
	}
}
