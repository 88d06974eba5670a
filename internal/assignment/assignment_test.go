package assignment

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFind(t *testing.T) {
	for text, want := range map[string]string{
		"A=1\n#A=2\n":             "1",
		"A=1\n  export A=\"2 3\"": `"2 3"`,
		"AA=1\nA = 'x' # why":     "'x'",
		"A=\"1\n2\"\nB=3":         "\"1\n2\"",
		"A=\"1":                   `"1`,
		"A=":                      "",
		"A=1;B=2":                 "1",
	} {
		v, ok := Find(text, "A")
		assert.True(t, ok, text)
		assert.Equal(t, want, v.Written, text)
	}
	_, ok := Find("#A=1\nB A=2\n", "A")
	assert.False(t, ok)
}

func TestSet(t *testing.T) {
	for _, c := range [][2]string{
		{"A=1 # why\nB=2", "A=\"x\" # why\nB=2"}, {"A=1\nA=2\n", "A=1\nA=\"x\"\n"}, {"#A=1", "#A=1\nA=\"x\"\n"}, {"", "A=\"x\"\n"},
	} {
		assert.Equal(t, c[1], Set(c[0], "A", `"x"`, Tight))
	}
	assert.Equal(t, "user = \"oneadmin\"\n", Set("", "user", `"oneadmin"`, Spaced))
}

func TestAddWords(t *testing.T) {
	changed, missing := AddWords("L=\"kvm-qcow2 kvm-ceph\n  kvm-x\" # c\n", "L", "kvm-ceph", "kvm-clvm", "rhcs-clvm")
	assert.Equal(t, "L=\"kvm-qcow2 kvm-ceph\n  kvm-x kvm-clvm rhcs-clvm\" # c\n", changed)
	assert.Equal(t, []string{"kvm-clvm", "rhcs-clvm"}, missing)
	again, missing := AddWords(changed, "L", "kvm-clvm")
	assert.Equal(t, changed, again)
	assert.Empty(t, missing)
	changed, _ = AddWords("", "L", "a")
	assert.Equal(t, "L=\"a\"\n", changed)
}

// What was set is found, what stood around it stays, and setting it again changes nothing.
func FuzzSet(f *testing.F) {
	f.Add("A=1 # x\nexport B='2\n3'\n", "B")
	f.Add("A=\"", "A")
	f.Fuzz(func(t *testing.T, text, name string) {
		if name == "" || name[0] == '#' || strings.ContainsAny(name, "=\"' \t\r\n\v\f#") || name != strings.TrimSpace(name) {
			return
		}
		changed := Set(text, name, `"v"`, Tight)
		v, ok := Find(changed, name)
		require.True(t, ok)
		require.Equal(t, "v", v.Text)
		require.Equal(t, changed, Set(changed, name, `"v"`, Tight))
		if old, there := Find(text, name); there {
			require.Equal(t, text[:old.at]+`"v"`+text[old.at+len(old.Written):], changed)
			return
		}
		require.True(t, strings.HasPrefix(changed, text))
	})
}
