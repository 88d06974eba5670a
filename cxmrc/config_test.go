package cxmrc

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRegistriesAreSound(t *testing.T) {
	for _, registry := range []Registry{Driver, Agent} {
		seen := map[string]bool{}
		for _, v := range registry {
			assert.False(t, seen[v.Name], v.Name)
			seen[v.Name] = true
			assert.True(t, strings.HasSuffix(v.Doc, "."), v.Name)
			if v.Required {
				assert.Empty(t, v.Default, "what must be set is never assumed")
				require.NoError(t, v.check(v.Sample), v.Name)
			} else {
				require.NoError(t, v.check(v.Default), v.Name)
			}
			assert.NotContains(t, v.Default, `"`)
			if v.Kind == KindInt || v.Kind == KindSize {
				assert.Less(t, v.Min, v.Max, v.Name)
			}
			read(Defaults(registry), v.Name)
		}
	}
}

func TestDefaults(t *testing.T) {
	config := Defaults(Driver)
	for name, want := range map[string]string{
		"DEBUG": "False", "TMP_ROOT": "/var/tmp", "VG_NAME": "LVM_XEN", "LV_PREFIX": "lv-one", "DEFAULT_LV_SIZE": "8G", "MODE": "TGZ",
		"COMPRESS_LEVEL": "1", "SHUTDOWN_TIMEOUT": "300", "BLOCK_SIZE": "1M", "DEFAULT_FSTYPE": "ext4", "SSH": "ssh", "FRONTEND": "",
		"AGENT": "/usr/libexec/one-clvm/tm-clvm", "CONNECT_TIMEOUT": "10", "STALL_TIMEOUT": "120", "LOCK_TIMEOUT": "600",
	} {
		assert.Equal(t, want, config.String(name), name)
		assert.Equal(t, OriginDefault, config.Origin(name))
	}
	assert.Empty(t, config.List("BRIDGE_LIST"))
	agent := Defaults(Agent)
	assert.Empty(t, agent.List("ALLOWED_VGS"), "nothing is allowed unless a file says so")
	assert.Equal(t, []string{"ext2", "ext3", "ext4", "xfs", "btrfs", "swap", "vfat"}, agent.List("FSTYPES"))
	assert.Zero(t, agent.Size("WIPE_RATE"), "no limit")
	assert.False(t, agent.Bool("READ_GUEST_FS") || agent.Bool("SINGLE_WRITER"))
}

func TestValues(t *testing.T) {
	for name, values := range map[string]struct{ good, bad []string }{
		"DEBUG":            {[]string{"True", "no", "YES", "false"}, []string{"1", "on", ""}},
		"SHUTDOWN_TIMEOUT": {[]string{"1", "86400"}, []string{"0", "-1", "5m", "86401", "99999999999999999999"}},
		"COMPRESS_LEVEL":   {[]string{"9"}, []string{"10", "0"}},
		"BLOCK_SIZE":       {[]string{"1M", "64k", "4096b", "2"}, []string{"1048576", "1k", "0", "1Q", "-1M"}},
		"MODE":             {[]string{"RAW", "TZST"}, []string{"tgz", "QCOW2", "TGZ RAW"}},
		"DEFAULT_FSTYPE":   {[]string{"xfs"}, []string{"ext5", "ext4 -F", "EXT4"}},
		"TMP_ROOT":         {[]string{"/", "/var/tmp/"}, []string{"tmp", "/a/../b", "/a b", "/$x", "/a/./b"}},
		"AGENT":            {[]string{"/opt/x"}, []string{"tm-clvm", "/opt/x;reboot"}},
		"SSH":              {[]string{"ssh", "/usr/bin/ssh"}, []string{"bin/ssh", "-x", "..", "ssh -v"}},
		"SSH_OPTIONS":      {[]string{"", "-o Compression=no"}, []string{"-o\u202eX"}},
		"VG_NAME":          {[]string{"vg-one", "VG.1+x_y"}, []string{"-vg", "a/b", ".", "..", "a b", strings.Repeat("x", 128)}},
		"FRONTEND":         {[]string{"", "fe1.example.org"}, []string{"-fe", "a:b", "a b"}},
		"BRIDGE_LIST":      {[]string{"", "node1 node2"}, []string{"node1 -x", "a,b"}},
		"VM_FQDN_TEMPLATE": {[]string{"%U-%V-%I.x", "vm"}, []string{"%X", "a b", "%"}},
	} {
		v, ok := Driver.find(name)
		require.True(t, ok, name)
		for _, value := range values.good {
			assert.NoError(t, v.check(value), "%s=%s", name, value)
		}
		for _, value := range values.bad {
			err := v.check(value)
			require.ErrorIs(t, err, ErrValue, "%s=%s", name, value)
			assert.ErrorContains(t, err, name+": ")
		}
	}
}

func TestABadValueNamesTheLine(t *testing.T) {
	_, err := Parse(strings.NewReader("DEBUG=True\nMODE=QCOW2\n"), "cxmrc", Driver)
	require.ErrorIs(t, err, ErrValue)
	assert.EqualError(t, err, `cxmrc:2: MODE: bad value: "QCOW2" is not one of RAW, GZIP, TGZ, ZSTD, TZST`)
}

func TestDatastoreOverrides(t *testing.T) {
	config, err := Parse(strings.NewReader("VG_NAME=vg-file\nMODE=RAW"), "cxmrc", Driver)
	require.NoError(t, err)
	datastore, err := config.WithDatastore(map[string]string{
		"VG_NAME": "vg-101", "BRIDGE_LIST": "node1 node2", "MODE": "", // what may be overridden
		"LV_PREFIX": "mine", "AGENT": "/tmp/x", "SSH": "evil", "TM_MAD": "clvm", // what may not, and what is none of ours
	}, "datastore 101")
	require.NoError(t, err)
	assert.Equal(t, []string{"vg-101", "RAW", "lv-one", "ssh"},
		[]string{datastore.String("VG_NAME"), datastore.String("MODE"), datastore.String("LV_PREFIX"), datastore.String("SSH")})
	assert.Equal(t, []string{"node1", "node2"}, datastore.List("BRIDGE_LIST"))
	assert.Equal(t, []string{"datastore 101", "cxmrc:2", OriginDefault},
		[]string{datastore.Origin("VG_NAME"), datastore.Origin("MODE"), datastore.Origin("SSH")})
	assert.Equal(t, "vg-file", config.String("VG_NAME"), "the file's configuration stays as it was")

	_, err = config.WithDatastore(map[string]string{"DEFAULT_LV_SIZE": "big"}, "datastore 101")
	require.ErrorIs(t, err, ErrValue)
	assert.ErrorContains(t, err, "datastore 101: DEFAULT_LV_SIZE: ")
}

func TestEffectiveListsEverything(t *testing.T) {
	settings := Defaults(Driver).Effective()
	require.Len(t, settings, len(Driver))
	assert.Equal(t, Setting{"DEBUG", "False", OriginDefault}, settings[0])
}

func TestMistakesOfTheProgram(t *testing.T) {
	config := Defaults(Driver)
	assert.Panics(t, func() { config.String("NO_SUCH") })
	assert.Panics(t, func() { config.Int("MODE") })
	assert.Panics(t, func() { config.Size("MODE") })
	assert.Panics(t, func() { config.Bool("MODE") })
}

func TestEditDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "abc", 3}, {"kitten", "sitting", 3}, {"MODE", "MODE", 0}, {"MDOE", "MODE", 2}} {
		assert.Equal(t, test.want, editDistance(test.a, test.b), test.a)
	}
}
