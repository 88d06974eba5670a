package opennebula

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseLocation(t *testing.T) {
	location, err := ParseLocation("node1:/var/lib/one//datastores/101/0/disk.0")
	require.NoError(t, err)
	assert.Equal(t, Location{"node1", "/var/lib/one/datastores/101/0/disk.0"}, location)
	assert.Equal(t, "node1:/var/lib/one/datastores/101/0/disk.0", location.String())
	for _, bad := range []string{
		"", "node1", "/a/b", ":/a", "node1:", "node1:a/b", "-oProxyCommand=x:/a", "no de:/a", "node1:/a/../b",
		"node1:/a/./b", "node1:/a b", "node1:/a\nb", "node1:/$(reboot)", "node1:/a`b`", "node1:/a;b", "node1:/a'b",
		"node1:/ä", "node1:/" + strings.Repeat("a", 5000), strings.Repeat("n", 300) + ":/a", "user@node1:/a",
	} {
		_, err := ParseLocation(bad)
		assert.ErrorIs(t, err, ErrUsage, bad)
	}
}

func TestParseSource(t *testing.T) {
	for text, want := range map[string]Location{
		"frontend:/var/lib/one//datastores/1/abc": {"frontend", "/var/lib/one/datastores/1/abc"},
		"/var/lib/one/datastores/1/abc":           {"", "/var/lib/one/datastores/1/abc"},
		"frontend:lv-oneimg-0":                    {"frontend", "lv-oneimg-0"},
		"lv-oneimg-0":                             {"", "lv-oneimg-0"},
		"frontend:vgdata/img-7":                   {"frontend", "vgdata/img-7"},
		"host:vg.lv-one-7":                        {"host", "vg.lv-one-7"},
		"http://repo.example.org/a.tgz?x=1":       {},
	} {
		source, err := ParseSource(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, source, text)
	}
	for _, bad := range []string{
		"", "frontend:", "-x", "fe:-x", "..", "fe:../x", "vg/../lv", "a/b/c", "vg/-lv", "http://x/\n", "http://x/ y", "f e:/x", "lv;x",
	} {
		_, err := ParseSource(bad)
		assert.ErrorIs(t, err, ErrUsage, bad)
	}
	assert.Equal(t, "lv-oneimg-0", Location{Path: "lv-oneimg-0"}.String())
}

func TestParseDiskPath(t *testing.T) {
	const base = "/var/lib/one/datastores"
	for text, want := range map[string]HomePath{
		"/var/lib/one//datastores/101/42":           {base, 101, 42, None, ""},
		"/var/lib/one//datastores/101/42/":          {base, 101, 42, None, ""},
		"/var/lib/one/datastores/101/42/disk.0":     {base, 101, 42, 0, "disk.0"},
		"/var/lib/one/datastores/101/42/disk.12":    {base, 101, 42, 12, "disk.12"},
		"/var/lib/one/datastores/0/0/kernel":        {base, 0, 0, None, "kernel"},
		"/var/lib/one/datastores/0/0/deployment.13": {base, 0, 0, None, "deployment.13"},
	} {
		home, err := ParseDiskPath(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, home, text)
		assert.Equal(t, want.Name == "", home.IsHome())
		again, err := ParseDiskPath(home.String())
		require.NoError(t, err)
		assert.Equal(t, home, again)
	}
	assert.Equal(t, base+"/101/42", HomePath{base, 101, 42, 0, "disk.0"}.Home())
	for _, bad := range []string{
		"", "var/lib/one/101/42", "/101/42", base, base + "/101", base + "/101/x", base + "/101/42/disk", base + "/101/42/disk.x",
		base + "/101/42/disk.01", base + "/101/42/disk.99999999999", base + "/101/42/.host", base + "/101/042", base + "/+1/42",
		base + "/101/42/../43/disk.0", base + "/101/42/disk.0/x", base + "/101/-1/disk.0", base + "/101/42/disk.0.snap",
	} {
		_, err := ParseDiskPath(bad)
		assert.ErrorIs(t, err, ErrUsage, bad)
	}
}

func FuzzParseLocation(f *testing.F) {
	for _, seed := range []string{"node1:/var/lib/one//datastores/101/0/disk.0", "a:/b/../c", "fe:lv-oneimg-0", "x://y", ":"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if location, err := ParseLocation(text); err == nil {
			again, err := ParseLocation(location.String())
			require.NoError(t, err)
			require.Equal(t, location, again)
			require.NotContains(t, location.Path, "//")
			require.NotContains(t, location.Path+"/", "/../")
			require.False(t, strings.HasPrefix(location.Host, "-"))
			require.False(t, strings.ContainsAny(location.String(), " \t\n'\"`$;&|<>\\"))
		}
		if source, err := ParseSource(text); err == nil && source != (Location{}) {
			require.False(t, strings.HasPrefix(source.Path, "-"))
			require.False(t, strings.ContainsAny(source.String(), " \t\n'\"`$;&|<>\\"))
		}
		if home, err := ParseDiskPath(text); err == nil {
			again, err := ParseDiskPath(home.String())
			require.NoError(t, err)
			require.Equal(t, home, again)
		}
	})
}
