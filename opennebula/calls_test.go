package opennebula

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCallsOfAllVersions(t *testing.T) {
	for version, want := range map[string][2]string{
		"":       {"", ""},
		"3.8.1":  {"one.vm.migrate 42 1 true", ""},
		"4.0":    {"one.vm.migrate 42 1 true false", "one.vm.recover 42 true"},
		"4.12.1": {"one.vm.migrate 42 1 true false", "one.vm.recover 42 true"},
		"4.14":   {"one.vm.migrate 42 1 true false -1", "one.vm.recover 42 1"},
		"5.6":    {"one.vm.migrate 42 1 true false -1", "one.vm.recover 42 1"},
		"5.8":    {"one.vm.migrate 42 1 true false -1 0", "one.vm.recover 42 1"},
		"7.4.0":  {"one.vm.migrate 42 1 true false -1 0", "one.vm.recover 42 1"},
	} {
		var v Version
		if version != "" {
			var err error
			v, err = ParseVersion(version)
			require.NoError(t, err)
		}
		migrate, err := MigrateCall(v, 42, 1, true)
		mustBe(t, want[0], migrate, err)
		recovery, err := RecoverCall(v, 42, RecoverSuccess)
		mustBe(t, want[1], recovery, err)
	}
}

func mustBe(t *testing.T, want string, got Request, err error) {
	t.Helper()
	if want == "" {
		require.ErrorIs(t, err, ErrVersion)
		return
	}
	require.NoError(t, err)
	assert.Equal(t, want, got.String())
}
