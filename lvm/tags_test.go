package lvm

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTagsAreASortedSet(t *testing.T) {
	tags := NewTags("vm=42", "one", "disk=0", "one")
	assert.Equal(t, Tags{"disk=0", "one", "vm=42"}, tags)
	assert.Equal(t, Tags{"building", "disk=0", "one", "vm=42"}, tags.With("building", "one"))
	assert.Equal(t, Tags{"disk=0", "vm=42"}, tags.Without("one", "absent"))
	assert.Equal(t, Tags{"disk=0", "one", "vm=42"}, tags, "With and Without leave the set alone")
}

func TestDiskTags(t *testing.T) {
	tags := DiskTags(42, 1, 100)
	assert.Equal(t, Tags{"disk=1", "ds=100", "one", "vm=42"}, tags)
	require.NoError(t, tags.Validate())
}

func TestTagsHas(t *testing.T) {
	tags := NewTags("one", "vm=42")
	assert.True(t, tags.Has())
	assert.True(t, tags.Has("one", "vm=42"))
	assert.False(t, tags.Has("one", "vm=4"))
	assert.False(t, Tags(nil).Has("one"))
}

func TestTagsGet(t *testing.T) {
	tags := NewTags("one", "vm=42", "vmx=1", "empty=", "op=a=b")
	assert.Equal(t, "42", tags.Get("vm"))
	assert.Equal(t, "a=b", tags.Get("op"))
	assert.Empty(t, tags.Get("empty"))
	assert.Empty(t, tags.Get("one"), "a tag without a value has none")
	assert.Empty(t, tags.Get("v"))
}

func TestTagsValidate(t *testing.T) {
	require.NoError(t, Tags{"one", "vm=42", "A-Z_+./=!:&#", strings.Repeat("a", 1024)}.Validate())
	for _, bad := range []string{"", "-a", "a b", "a,b", "a@b", "ä", "a\n", `a"b`, "$(a)", strings.Repeat("a", 1025)} {
		require.ErrorIs(t, Tags{"one", bad}.Validate(), ErrBadTag, bad)
	}
	assert.ErrorContains(t, Tags{"a b"}.Validate(), `"a b"`)
}

// TestTagsAreAValue proves that a set taken from another never shares its memory.
func TestTagsAreAValue(t *testing.T) {
	base := make(Tags, 1, 10)
	base[0] = "one"
	first, second := base.With("a"), base.With("b")
	assert.Equal(t, Tags{"a", "one"}, first)
	assert.Equal(t, Tags{"b", "one"}, second)
}
