package filevg

import (
	"bytes"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
)

// sample is a group of 16 extents: free 0-1, a at 2-4, free 5-6, b at 7, free 8-15.
func sample() metadata {
	m := newMetadata(4096, 16)
	created := time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)
	m.add(volumeRecord{Name: "b", UUID: "u-b", Start: 7, Count: 1, Created: created, Shared: true})
	m.add(volumeRecord{Name: "a", UUID: "u-a", Start: 2, Count: 3, Created: created, Tags: lvm.Tags{"one", "vm=1"}})
	return m
}

func TestMetadataRoundTrip(t *testing.T) {
	for _, m := range []metadata{sample(), newMetadata(4<<20, 1)} {
		data, err := m.encode()
		require.NoError(t, err)
		again, err := parseMetadata(bytes.NewReader(data))
		require.NoError(t, err)
		assert.Equal(t, m, again)
	}
}

// The file is a promise to later versions: what version 1 wrote must stay readable.
func TestMetadataVersion1(t *testing.T) {
	data, err := os.ReadFile("testdata/version1.json")
	require.NoError(t, err)
	m, err := parseMetadata(bytes.NewReader(data))
	require.NoError(t, err)
	want := sample()
	want.Seqno = 3
	assert.Equal(t, want, m)
	again, err := m.encode()
	require.NoError(t, err)
	assert.Equal(t, string(data), string(again))
}

func TestMetadataRefused(t *testing.T) {
	good, err := sample().encode()
	require.NoError(t, err)
	for _, c := range []struct {
		name, old, new string
		want           error
		text           string
	}{
		{"newer version", `"version": 1`, `"version": 2, "unheard": "of"`, ErrVersion, "newer program"},
		{"version 0", `"version": 1`, `"version": 0`, ErrDamaged, "version 0"},
		{"other format", metadataFormat, "something else", ErrDamaged, "something else"},
		{"unknown field", `"seqno"`, `"seqnr"`, ErrDamaged, "seqnr"},
		{"negative seqno", `"seqno": 0`, `"seqno": -1`, ErrDamaged, "seqno"},
		{"wrong type", `"start": 7`, `"start": "7"`, ErrDamaged, "start"},
		{"odd extent size", `"extent_size": 4096`, `"extent_size": 4095`, ErrDamaged, "4095"},
		{"no extent size", `"extent_size": 4096`, `"extent_size": 0`, ErrDamaged, "extent size"},
		{"no extents", `"extent_count": 16`, `"extent_count": 0`, ErrDamaged, "0 extents"},
		{"too large", `"extent_count": 16`, `"extent_count": 9223372036854775807`, ErrDamaged, "extents"},
		{"past the end", `"extent_count": 16`, `"extent_count": 7`, ErrDamaged, "overlap"},
		{"overlap", `"start": 7`, `"start": 4`, ErrDamaged, "overlap"},
		{"negative start", `"start": 2`, `"start": -1`, ErrDamaged, "overlap"},
		{"empty volume", `"count": 3`, `"count": 0`, ErrDamaged, "overlap"},
		{"sum overflows", `"count": 1`, `"count": 9223372036854775807`, ErrDamaged, "overlap"},
		{"same name", `"name": "b"`, `"name": "a"`, ErrDamaged, `"a"`},
		{"same uuid", `"u-b"`, `"u-a"`, ErrDamaged, `"u-a"`},
		{"no uuid", `"u-b"`, `""`, ErrDamaged, "uuid"},
		{"name leads out", `"name": "b"`, `"name": "../b"`, lvm.ErrBadName, "../b"},
		{"bad tag", `"vm=1"`, `"vm 1"`, lvm.ErrBadTag, "vm 1"},
		{"cut", `]`, ``, ErrDamaged, ""},
		{"trailing", "\n}\n", "\n}\n{}", ErrDamaged, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(string(good), c.old, c.new, 1)
			require.NotEqual(t, string(good), text)
			_, err := parseMetadata(strings.NewReader(text))
			require.ErrorIs(t, err, c.want)
			assert.ErrorContains(t, err, c.text)
		})
	}
}

func TestExtents(t *testing.T) {
	m := newMetadata(4096, 16)
	for _, c := range []struct{ size, want int64 }{
		{1, 1}, {4095, 1}, {4096, 1}, {4097, 2}, {math.MaxInt64, math.MaxInt64 / 4096},
	} {
		got, err := m.extents(c.size)
		require.NoError(t, err)
		assert.Equal(t, c.want, got)
	}
	for _, size := range []int64{0, -1, math.MinInt64} {
		_, err := m.extents(size)
		assert.ErrorIs(t, err, lvm.ErrBadSize)
	}
}

func TestNewUUID(t *testing.T) {
	form := regexp.MustCompile(`^[0-9A-Za-z]{6}(-[0-9A-Za-z]{4}){5}-[0-9A-Za-z]{6}$`)
	assert.Regexp(t, form, newUUID())
	assert.NotEqual(t, newUUID(), newUUID())
}

// What is read is valid, and writing it gives the same again.
func FuzzParseMetadata(f *testing.F) {
	good, err := sample().encode()
	require.NoError(f, err)
	f.Add(good)
	f.Add([]byte(`{"format":"one-clvm file volume group","version":2}`))
	f.Add([]byte(`{"format":"one-clvm file volume group","version":1,"extent_size":4096,"extent_count":1,"volumes":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseMetadata(bytes.NewReader(data))
		if err != nil {
			return
		}
		require.NoError(t, m.validate())
		require.Equal(t, m.ExtentCount, m.free()+used(m))
		again, err := m.encode()
		require.NoError(t, err)
		reread, err := parseMetadata(bytes.NewReader(again))
		require.NoError(t, err)
		require.Equal(t, m, reread)
	})
}

func used(m metadata) int64 {
	var n int64
	for _, v := range m.Volumes {
		n += v.Count
	}
	return n
}
