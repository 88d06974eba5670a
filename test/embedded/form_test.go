//go:build embedded

package embedded

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/opennebula"
	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

// Each version of oned finds the message for its user where it looks for it.
func TestFormOfErrors(t *testing.T) {
	s := start(t, testbed.Options{})
	s.vm(fakeoned.VolatileDisk(0, "", 8))
	const message = "mkimage of VM 42 disk 5: VM 42 has no disk 5"
	bad := append([]string{"8", "raw", at("node1", 5)}, ofSystem...)
	for version, want := range map[string]string{
		"4.2.0":  "ERROR MESSAGE --8<------\n" + message + "\nERROR MESSAGE ------>8--\n",
		"5.12.0": "ERROR MESSAGE --8<------\n" + message + "\nERROR MESSAGE ------>8--\n",
		"6.0.2":  "ERROR MESSAGE --8<------\n" + message + "\nERROR MESSAGE ------>8--\n",
		"6.0.3":  message + "\n",
		"6.10.2": message + "\n",
		"7.0.0":  message + "\n",
		"7.4.0":  message + "\n",
	} {
		t.Run(version, func(t *testing.T) {
			s := s.in(t)
			s.release(version)
			result := s.verb("mkimage", bad...)
			assert.Equal(t, 1, result.Status)
			assert.Equal(t, want, result.Stderr)
			assert.Empty(t, result.Stdout)
		})
	}
	t.Run("no version", func(t *testing.T) {
		s := s.in(t)
		require.NoError(t, os.Remove(filepath.Join(testbed.Home, "remotes/VERSION")))
		assert.Contains(t, s.verb("mkimage", bad...).Stderr, "ERROR MESSAGE --8<------\n"+message)
		s.release("7.4.0")
	})
	t.Run("logs of a success", func(t *testing.T) {
		s := s.in(t)
		for _, version := range []string{"4.2.0", "5.12.0", "6.10.2", "7.4.0"} {
			s.release(version)
			stderr := s.ok("mkimage", mkimage("node1")...).Stderr
			assert.Contains(t, stderr, "INFO: op ", version)
			assert.True(t, strings.HasSuffix(stderr, "\n"), version)
			s.deleteDisk(0)
		}
	})
}

// --dry-run prints the plan and changes nothing.
func TestDryRun(t *testing.T) {
	s := start(t, testbed.Options{})
	image := s.tarImage(7, "64M", nil)
	s.pack(smallTree(t), image)
	s.vm(fakeoned.CloneDisk(0, image, 0))
	saved := s.image(20, nil)
	clone := append([]string{"frontend:" + image.Source, at("node1", 0)}, ofImage...)
	stdout := s.ok("clone", append([]string{"--dry-run"}, clone...)...).Stdout
	assert.Equal(t, "1. node1: make disk 0 of VM 42, 64 MiB in vg-one, from TGZ image "+image.Source+" on ext4\n", stdout)
	assert.Empty(t, s.names())
	assert.False(t, exists(device(0)))

	s.clone(image, 0)
	before := s.volumes()
	for verb, argv := range map[string][]string{
		"clone":  clone,
		"delete": append([]string{at("node1", 0)}, ofImage...),
		"mv":     append([]string{at("node1", 0), at("frontend", 0)}, ofImage...),
		"resize": append([]string{at("node1", 0), "96"}, ofImage...),
		"cpds":   append([]string{at("node1", 0), saved.Source, "-1"}, ofImage...),
		"mvds":   append([]string{at("node1", 0), saved.Source}, ofImage...),
	} {
		stdout := s.ok(verb, append(argv, "--dry-run")...).Stdout
		assert.Contains(t, stdout, "1. node1: ", verb)
		assert.Contains(t, stdout, "42", verb)
		assert.Equal(t, before, s.volumes(), verb)
		assert.FileExists(t, image.Source)
		assert.NoFileExists(t, saved.Source)
	}
	s.deleteDisk(0)
}

func TestHelp(t *testing.T) {
	s := start(t, testbed.Options{})
	for _, verb := range opennebula.Verbs {
		for _, argv := range [][]string{{testbed.Verb(verb), "--help"}, {program, verb, "--help"}, {program, strings.ToUpper(verb), "-h"}} {
			result, err := s.machine.RunAsOneadmin(t.Context(), argv...)
			require.NoError(t, err)
			assert.Zero(t, result.Status)
			if verb == "mkimage" && argv[0] == program { // people have flags of their own
				assert.Contains(t, result.Stdout, "--register")
			}
			usage, more := strings.CutPrefix(result.Stdout, "tm-clvm "+opennebula.Usage(verb))
			require.True(t, more, result.Stdout)
			assert.Contains(t, usage, "--dry-run", verb)
			assert.Empty(t, result.Stderr)
		}
	}
	result, err := s.machine.RunAsOneadmin(t.Context(), program, "--help")
	require.NoError(t, err)
	for _, word := range append([]string{"config", "vg", "volumes", "agent"}, opennebula.Verbs...) {
		assert.Contains(t, result.Stdout, "\n  "+word+" ")
	}
	for _, argv := range [][]string{{program, "clown"}, {program}, {program, "volumes", "extra"}, {program, "agent", "extra"}} {
		result, err := s.machine.RunAsOneadmin(t.Context(), argv...)
		require.NoError(t, err)
		assert.Equal(t, 2, result.Status, argv)
	}
}

// Every script that oned may call is there; what cannot be done yet says so, and is never
// a success.
func TestVerbsThatAreNotThereYet(t *testing.T) {
	s := start(t, testbed.Options{})
	s.vm(fakeoned.VolatileDisk(0, "", 8))
	for _, verb := range opennebula.Verbs {
		assert.FileExists(t, testbed.Verb(verb))
	}
	s.fails([]string{"ftp://", "not supported"}, "context", append([]string{"ftp://example.org/x", at("node1", 4)}, ofSystem...)...)
	assert.False(t, exists(device(4)))
}

func TestConfig(t *testing.T) {
	s := start(t, testbed.Options{Cxmrc: map[string]string{"COMPRESS_LEVEL": "3"}})
	config := func(argv ...string) string {
		result, err := s.machine.RunAsOneadmin(t.Context(), append([]string{program, "config"}, argv...)...)
		require.NoError(t, err)
		require.Zero(t, result.Status, result.Stderr)
		return strings.Join(strings.Fields(result.Stdout), " ")
	}
	all := config()
	assert.Contains(t, all, "COMPRESS_LEVEL=3 # /var/lib/one/remotes/etc/tm/clvm/cxmrc:1")
	assert.Contains(t, all, "DEFAULT_FSTYPE=ext4 # default")
	assert.Contains(t, all, "VG_NAME=vg-one # /var/lib/one/remotes/etc/tm/clvm/cxmrc:2")
	assert.Contains(t, config("/etc/one-clvm/agent.conf"), "ALLOWED_VGS=vg-one # /etc/one-clvm/agent.conf:1")
}
