package archive

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestACL(t *testing.T) {
	const base = "user::rw-,group::r--,other::---"
	const named = "user::rw-,user:0:r--,user:1000:rwx,group::r--,group:77:--x,mask::rwx,other::---"
	for _, c := range []struct{ name, text, want string }{
		{"minimal", base, base},
		{"short", "u::rw,g::r,o::-", base},
		{"lines and comments", "# file: x\nuser::rw-\t#effective:rw-\n\ngroup::r--\nother::---\n", base},
		{"of Solaris", "user::rw-,group::r--,other:---", base},
		{"default", "default:user::rw-,d:group::r--,default:other::---", base},
		{"sorted by tag and number", "other::---,mask::rwx,user:1000:rwx,group:77:--x,user:0:r--,user::rw-,group::r--", named},
		{"of star", "user::rw-,user:root:r--:0,user:joe:rwx:1000,group::r--,group:wheel:--x:77,mask::rwx,other::---", named},
		{"largest id", "u::-,u:4294967294:r,g::-,m::r,o::-", "user::---,user:4294967294:r--,group::---,mask::r--,other::---"},
	} {
		t.Run(c.name, func(t *testing.T) {
			value, err := parseACL(c.text)
			require.NoError(t, err)
			text, err := appendACL(nil, value)
			require.NoError(t, err)
			assert.Equal(t, c.want, string(text))
		})
	}
	value, err := parseACL(" # nothing\n,\n")
	require.NoError(t, err)
	assert.Nil(t, value)
}

func TestBadACL(t *testing.T) {
	const base = "user::rw-,group::r--,other::---"
	for _, c := range []struct {
		text string
		want error
	}{
		{"user", ErrCorrupt}, {"user:rwx", ErrCorrupt}, {base + ",a:b:c:d:e", ErrCorrupt},
		{base + ",robot::rwx", ErrCorrupt}, {base + ",mask:1:rwx", ErrCorrupt}, {base + ",mask::rwX", ErrCorrupt},
		{base + ",mask::", ErrCorrupt}, {base + ",other::r--", ErrCorrupt}, {"user::rw-,group::r--", ErrCorrupt},
		{base + ",user:7:r--", ErrCorrupt}, {base + ",mask::r--,user:7:r--,user:7:rw-", ErrCorrupt},
		{base + ",mask::r--,user:4294967295:r--", ErrCorrupt}, {base + ",mask::r--,user:joe:r--:x", ErrCorrupt},
		{base + ",mask::r--,user:joe:r--", ErrUnsupported}, {base + ",mask::r--,user:-1:r--", ErrUnsupported},
	} {
		_, err := parseACL(c.text)
		require.ErrorIs(t, err, c.want, c.text)
	}
	for _, value := range []string{"", "\x02\x00\x00", "\x01\x00\x00\x00", "\x02\x00\x00\x00\x01", "\x02\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00",
		"\x02\x00\x00\x00\x01\x00\x08\x00\x00\x00\x00\x00"} {
		_, err := appendACL(nil, []byte(value))
		require.ErrorIs(t, err, ErrCorrupt, "%q", value)
	}
}

func TestModeOfACL(t *testing.T) {
	for text, want := range map[string]uint32{
		"u::rw,g::r,o::-":               0o4640,
		"u::rwx,g::r,o::x,m::rw,u:5:rw": 0o4761,
	} {
		value, err := parseACL(text)
		require.NoError(t, err)
		mode, err := aclMode(0o4777, value)
		require.NoError(t, err)
		assert.Equal(t, want, mode, text)
	}
}

// FuzzACL: a text that is accepted says the same after a round trip.
func FuzzACL(f *testing.F) {
	f.Add("user::rw-,user:1000:rw-,group::r--,mask::rw-,other::r--")
	f.Add("u::rwx\ng::r-x #effective\no::---")
	f.Add("default:user::rwx,default:user:joe:rwx:7,d:group::r-x,d:m:rwx,d:other:---")
	f.Add(strings.Repeat("u:1:rwx,", 50))
	f.Fuzz(func(t *testing.T, text string) {
		value, err := parseACL(text)
		if err != nil || value == nil {
			return
		}
		clean, err := appendACL(nil, value)
		require.NoError(t, err)
		again, err := parseACL(string(clean))
		require.NoError(t, err)
		assert.Equal(t, value, again)
		_, err = aclMode(0, value)
		require.NoError(t, err)
	})
}
