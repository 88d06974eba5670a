//go:build embedded

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cxmrc"
	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

// clusterTools are what Pacemaker's programs and virsh say where VM 42 runs on node2.
var clusterTools = map[string]string{
	"crm_node": "echo node1",
	"cibadmin": `cat <<'END'
<resources><primitive id="web" class="ocf" provider="one-clvm" type="VirtualDomain"><instance_attributes id="p"><nvpair id="d" name="definition" value="/ds/0/42/cluster.xml"/></instance_attributes></primitive></resources>
END`,
	"crm_mon": `cat <<'END'
<pacemaker-result api-version="2.30"><summary><current_dc present="true" with_quorum="true"/><cluster_options stonith-enabled="true"/></summary>
<nodes><node name="node1" online="true" unclean="false" pending="false"/><node name="node2" online="true" unclean="false" pending="false"/></nodes>
<resources><resource id="web" role="Started" managed="true" orphaned="false"><node name="node2" id="2"/></resource></resources>
<status code="0" message="OK"/></pacemaker-result>
END`,
	"virsh": `case "$*" in "-c qemu+ssh://node2/system list --name") echo web;; *) exit 1;; esac`,
}

// From an event on a node to a call of oned, and from the front-end's own question: with a real
// ssh, a real sudo and the rule that is shipped.
func TestDeliveryAndReconciliation(t *testing.T) {
	s := install(t, testbed.Hook, testbed.HookCommands)
	m, err := testbed.Start(t.Context(), testbed.Options{Program: "/usr/bin/echo", GroupSize: "-", Agent: map[string]string{"STACK": "pacemaker"}})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, m.Stop()) })
	m.Oned.Put(fakeoned.VMs, 42, fakeoned.VM{ID: 42, Name: "web", Host: "node1", LCMState: 3}.Document())
	mountTiny(t, "/usr/local/sbin", "mode=755") // seen by this test alone
	for name, script := range clusterTools {
		require.NoError(t, os.WriteFile(filepath.Join("/usr/local/sbin", name), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	}
	rule, err := os.ReadFile("../../sudoers.d/one-clvm-hook")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile("/etc/sudoers.d/one-clvm-hook", rule, 0o440))
	settings := fmt.Sprintf("SPOOL_DIR=%s\nSTATE_DIR=%[1]s\nVERSION=7.4.0\nFRONTENDS=node1\nNODES=node1\nSSH_KEY=%s\n", s.Dir, allowKey(t))
	require.NoError(t, os.WriteFile(cxmrc.HookPath, []byte(settings), 0o644))

	r, err := m.RunAsOneadmin(t.Context(), installedHook, "reconcile", "--dry-run")
	require.NoError(t, err)
	assert.Regexp(t, `42\s+node1\s+ACTIVE RUNNING\s+node2\s+act`, r.Stdout, r.Stderr)
	require.Empty(t, m.Oned.Changes())

	_, err = m.RunAsOneadmin(t.Context(), installedHook, "web", "node1", "node2") // whoever delivers has to read it
	require.NoError(t, err)
	r, err = m.RunAsOneadmin(t.Context(), installedHook, "deliver")
	require.NoError(t, err)
	assert.Equal(t, []string{"one.vm.migrate"}, m.Oned.Changes(), "%s", r.Stderr)
	assert.Equal(t, 1, events(t, s), "until oned's record is right")

	r, err = m.RunAsOneadmin(t.Context(), "sudo", "-n", installedHook, "deliver")
	require.NoError(t, err)
	assert.NotZero(t, r.Status, "the rule allows one word")
}
