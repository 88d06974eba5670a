//go:build embedded

package embedded

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

// mkimage is the smallest request that changes something.
func mkimage(host string) []string {
	return append([]string{"8", "raw", at(host, 0)}, ofSystem...)
}

func TestNodeThatCannotBeReached(t *testing.T) {
	s := start(t, testbed.Options{})
	s.vm(fakeoned.VolatileDisk(0, "", 8))
	s.append("/etc/hosts", "127.0.1.77 refusing\n127.0.1.78 silent\n127.0.1.1 stranger\n192.0.2.1 far\n")
	silent, err := net.Listen("tcp", "127.0.1.78:22") // the kernel accepts, nobody says a word
	require.NoError(t, err)
	defer silent.Close()
	for host, want := range map[string][]string{
		"unknown":  {"unknown", "Could not resolve hostname"},
		"refusing": {"refusing", "Connection refused"},
		"silent":   {"silent", "timed out"},
		"stranger": {"stranger", "Host key verification failed", "known_hosts"},
		"far":      {"far", "unreachable"},
	} {
		t.Run(host, func(t *testing.T) {
			s := s.in(t)
			if host == "silent" { // the others answer, and may take their time
				s.settings(nil, map[string]string{"CONNECT_TIMEOUT": "1"})
			}
			s.fails(append(want, "no agent answered"), "mkimage", mkimage(host)...)
		})
	}
	t.Run("key not accepted", func(t *testing.T) {
		s := s.in(t)
		s.replaced(testbed.Home+"/.ssh/authorized_keys", "")
		s.fails([]string{"node1", "Permission denied", "key is not accepted"}, "mkimage", mkimage("node1")...)
	})
	t.Run("login that talks", func(t *testing.T) {
		s := s.in(t)
		s.replaced(testbed.Home+"/.ssh/rc", "echo Welcome to node1; echo Today is a fine day >&2; cat >/dev/null </dev/null\n")
		s.ok("mkimage", mkimage("node1")...)
		s.deleteDisk(0)
	})
}

func (s *site) append(path, text string) {
	s.Helper()
	old, err := os.ReadFile(path)
	require.NoError(s, err)
	s.replaced(path, string(old)+text)
}

// replaced gives a file another content until the end of the test.
func (s *site) replaced(path, text string) {
	s.Helper()
	old, err := os.ReadFile(path)
	existed := err == nil
	require.NoError(s, os.WriteFile(path, []byte(text), 0o644))
	s.Cleanup(func() {
		if existed {
			assert.NoError(s, os.WriteFile(path, old, 0o644))
			return
		}
		assert.NoError(s, os.Remove(path))
	})
}

func TestNodeThatIsNotSetUp(t *testing.T) {
	const other = "/usr/libexec/one-clvm/other-agent"
	s := start(t, testbed.Options{Sudo: []string{other + " agent"}})
	s.vm(fakeoned.VolatileDisk(0, "", 8))
	t.Run("sudo asks for a password", func(t *testing.T) {
		s := s.in(t)
		rule, err := os.ReadFile("/etc/sudoers.d/one-clvm")
		require.NoError(t, err)
		require.NoError(t, os.Remove("/etc/sudoers.d/one-clvm"))
		defer func() { assert.NoError(t, os.WriteFile("/etc/sudoers.d/one-clvm", rule, 0o440)) }()
		s.fails([]string{"node1", "password is required", "sudoers.d/one-clvm"}, "mkimage", mkimage("node1")...)
	})
	t.Run("no agent.conf", func(t *testing.T) {
		s := s.in(t)
		require.NoError(t, os.Rename("/etc/one-clvm/agent.conf", "/etc/one-clvm/kept"))
		s.fails([]string{"node1", "agent.conf"}, "mkimage", mkimage("node1")...)
		require.NoError(t, os.Rename("/etc/one-clvm/kept", "/etc/one-clvm/agent.conf"))
	})
	t.Run("agent.conf with a bad line", func(t *testing.T) {
		s := s.in(t)
		s.settings(map[string]string{"ALLOWED_VG": "x"}, nil)
		s.fails([]string{"node1", "agent.conf", "ALLOWED_VGS"}, "mkimage", mkimage("node1")...)
	})
	t.Run("cxmrc with a bad value", func(t *testing.T) {
		s := s.in(t)
		s.settings(nil, map[string]string{"CONNECT_TIMEOUT": "soon"})
		s.fails([]string{"cxmrc", "CONNECT_TIMEOUT", "soon"}, "mkimage", mkimage("node1")...)
	})
	for name, c := range map[string]struct {
		script string // of /bin/sh
		want   []string
	}{
		"not installed":             {"", []string{"node1", "one-clvm"}},
		"another version":           {printing(hello(99)) + "; cat >/dev/null", []string{"node1", "version 9.9", "99", "same release"}},
		"another version that ends": {printing(hello(99)) + "; exit 3", []string{"node1", "version 9.9", "99", "same release"}},
		"another program":           {"echo usage: something else; exit 1", []string{"node1", "usage: something else"}},
		"a program that is silent":  {"exit 0", []string{"node1", "without a greeting"}},
		"a program that dies":       {printing(hello(1)) + "; kill -9 $$", []string{"node1"}},
		"a program that babbles":    {"cat /dev/zero", []string{"node1", "protocol"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			s.settings(nil, map[string]string{"AGENT": other})
			if c.script != "" {
				require.NoError(t, os.WriteFile(other, []byte("#!/bin/sh\n"+c.script+"\n"), 0o755))
				defer func() { assert.NoError(t, os.Remove(other)) }()
			}
			s.fails(c.want, "mkimage", mkimage("node1")...)
		})
	}
}

// hello is an agent's greeting.
func hello(protocol int) string {
	text := fmt.Sprintf(`{"protocol":%d,"version":"9.9"}`, protocol)
	head := append([]byte("\x00one-clvm-agent\nH"), 0, 0, 0, 0)
	binary.BigEndian.PutUint32(head[len(head)-4:], uint32(len(text)))
	return string(head) + text
}

// printing is a command of sh that prints these bytes.
func printing(text string) string {
	quoted := ""
	for _, b := range []byte(text) {
		quoted += fmt.Sprintf("\\%03o", b)
	}
	return "printf '" + quoted + "'"
}

func TestOnedThatDoesNotHelp(t *testing.T) {
	s := start(t, testbed.Options{})
	s.vm(fakeoned.VolatileDisk(0, "", 8))
	for name, c := range map[string]struct {
		behaviour fakeoned.Behaviour
		want      []string
	}{
		"wrong password": {fakeoned.Behaviour{Session: "oneadmin:other"}, []string{"couldn't be authenticated", "one_auth"}},
		"bad gateway":    {fakeoned.Behaviour{Status: 502}, []string{"502"}},
		"not XML":        {fakeoned.Behaviour{Garbage: "<html>busy</html>"}, []string{"not XML-RPC", "ONE_XMLRPC"}},
		"half an answer": {fakeoned.Behaviour{Garbage: "<?xml version=\"1.0\"?><methodResponse><params>"}, []string{"not XML-RPC"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			s.oned.Behave(c.behaviour)
			defer s.oned.Behave(fakeoned.Behaviour{})
			s.fails(c.want, "mkimage", mkimage("node1")...)
		})
	}
	t.Run("slow", func(t *testing.T) {
		s := s.in(t)
		s.oned.Behave(fakeoned.Behaviour{Delay: 300 * time.Millisecond})
		defer s.oned.Behave(fakeoned.Behaviour{})
		s.ok("mkimage", mkimage("node1")...)
		s.deleteDisk(0)
	})
	t.Run("no such VM", func(t *testing.T) {
		s := s.in(t)
		s.oned.Remove(fakeoned.VMs, vmID)
		s.fails([]string{"Error getting virtual machine [42]"}, "mkimage", mkimage("node1")...)
		s.vm(fakeoned.VolatileDisk(0, "", 8))
	})
	t.Run("no such disk", func(t *testing.T) {
		s := s.in(t)
		s.fails([]string{"disk 5"}, "mkimage", append([]string{"8", "raw", at("node1", 5)}, ofSystem...)...)
	})
	t.Run("no such datastore", func(t *testing.T) {
		s := s.in(t)
		s.oned.Remove(fakeoned.Datastores, fakeoned.SystemDS)
		s.fails([]string{"Error getting datastore [101]"}, "mkimage", mkimage("node1")...)
		s.oned.Put(fakeoned.Datastores, fakeoned.SystemDS, fakeoned.SystemDatastore(map[string]string{"VG_NAME": testbed.Group}))
	})
	t.Run("no such image", func(t *testing.T) {
		s := s.in(t)
		image := s.tarImage(7, "64M", nil)
		s.pack(smallTree(t), image)
		s.oned.Remove(fakeoned.Images, image.ID)
		s.refused(image, "Error getting image [7]")
	})
	t.Run("down", func(t *testing.T) {
		s := s.in(t)
		require.NoError(t, s.oned.Close())
		s.fails([]string{"127.0.0.1:2633", "connection refused"}, "mkimage", mkimage("node1")...)
	})
}
