package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"one-clvm/hook/entrance"
)

func TestWhoCalls(t *testing.T) {
	for line, want := range map[string]struct {
		kind  entrance.Kind
		words string
	}{
		"cxm web n1 n2": {entrance.CXM, "web n1 n2"}, "web n1 n2": {entrance.CXM, "web n1 n2"}, "alert": {entrance.Pacemaker, ""},
		"rgmanager vm:web started n2 n1": {entrance.Rgmanager, "vm:web started n2 n1"}, "report 42": {entrance.Hand, "42"}, "report": {entrance.Hand, ""},
		"libvirt --help started begin -": {entrance.Libvirt, "--help started begin -"}, "libvirt /etc/libvirt/hooks/qemu x": {entrance.Libvirt, "/etc/libvirt/hooks/qemu x"},
	} {
		kind, words, ok := entranceOf(append([]string{"one-migrate-hook"}, strings.Fields(line)...), func(string) string { return "" })
		assert.Equal(t, []any{true, want.kind, want.words}, []any{ok, kind, strings.Join(words, " ")}, line)
	}
	for _, line := range []string{"", "status", "reconcile --dry-run", "reconcile --dry-run --json", "deliver", "--version", "cxm --help", "libvirt -h", "completion bash", "where"} {
		_, _, ok := entranceOf(append([]string{"one-migrate-hook"}, strings.Fields(line)...), func(string) string { return "" })
		assert.False(t, ok, line)
	}
	kind, _, ok := entranceOf([]string{"one-migrate-hook"}, func(name string) string { return map[string]string{"CRM_alert_kind": "node"}[name] })
	assert.True(t, ok)
	assert.Equal(t, entrance.Pacemaker, kind)
	kind, _, ok = entranceOf([]string{"/etc/libvirt/hooks/qemu", "web", "reconnect", "begin", "-"}, nil)
	assert.True(t, ok)
	assert.Equal(t, entrance.Libvirt, kind)
}
