package lvm

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDataMap(t *testing.T) {
	const mib, gib = 1 << 20, 1 << 30
	m := NewDataMap(8*gib + 4*mib)
	assert.Equal(t, []Span{{0, 8*gib + 4*mib}}, m.Zeros())
	m.Add(0, 1)
	m.Add(4*mib-1, 2)
	m.Add(8*gib+3*mib, mib)
	assert.Equal(t, []Span{{0, 6 * mib}, {8*gib + 2*mib, 2 * mib}}, m.Data())
	assert.Equal(t, []Span{{6 * mib, 8*gib - 4*mib}}, m.Zeros())
	again, err := ParseDataMap(strings.TrimPrefix(m.Tag(), "data="), 8*gib+4*mib)
	require.NoError(t, err)
	assert.Equal(t, m, again)
}

// Whatever the size: what was added is in the map, the tag is one that LVM takes, and says
// the same when it is read.
func TestDataMapOfAnySize(t *testing.T) {
	for _, size := range []int64{1, 4096, 1 << 20, 5600 << 20, 5600<<20 + 1, 40 << 30, 1 << 40, 1 << 50} {
		m := NewDataMap(size)
		var added []Span
		for range 200 {
			off := rand.Int64N(size)
			s := Span{off, 1 + rand.Int64N(min(size-off, 1<<20))}
			m.Add(s.Off, s.Length)
			added = append(added, s)
		}
		m.Add(size-1, 1) // the longest tag
		require.NoError(t, NewTags(m.Tag()).Validate(), "%d", size)
		again, err := ParseDataMap(NewTags(m.Tag()).Get(TagData), size)
		require.NoError(t, err)
		assert.Equal(t, m, again)
		covered := int64(0)
		for _, s := range append(m.Data(), m.Zeros()...) {
			covered += s.Length
		}
		assert.Equal(t, size, covered)
		for _, a := range added {
			for _, z := range m.Zeros() {
				assert.False(t, a.Off < z.Off+z.Length && z.Off < a.Off+a.Length, "%v is said to be zero in %v of %d", a, z, size)
			}
		}
	}
}

func TestParseDataMapRefuses(t *testing.T) {
	for _, value := range []string{"", "20", "x:AA", "19:AA", "63:AA", "-1:AA", "20:A=", "20:AAAAAAAA", "20:!"} {
		_, err := ParseDataMap(value, 4<<20)
		if value == "20" { // no bits: no data
			require.NoError(t, err)
			continue
		}
		assert.ErrorIs(t, err, ErrBadTag, value)
	}
}

func FuzzParseDataMap(f *testing.F) {
	f.Add("20:AQ", int64(8<<20))
	f.Fuzz(func(t *testing.T, value string, size int64) {
		if size < 0 || size > 1<<36 {
			return
		}
		m, err := ParseDataMap(value, size)
		if err != nil {
			return
		}
		for _, s := range m.Data() {
			if s.Off < 0 || s.Length <= 0 || s.Off+s.Length > size {
				t.Fatalf("%v of %d", s, size)
			}
		}
	})
}
