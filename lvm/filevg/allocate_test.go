package filevg

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestGaps(t *testing.T) {
	m := sample()
	assert.Equal(t, []gap{{0, 2}, {5, 2}, {8, 8}}, m.gaps())
	assert.EqualValues(t, 12, m.free())
	assert.EqualValues(t, 8, m.largest())
	full := newMetadata(4096, 2)
	full.add(volumeRecord{Name: "a", UUID: "u", Count: 2})
	assert.Empty(t, full.gaps())
	assert.Zero(t, full.largest())
}

func TestFirstFit(t *testing.T) {
	for _, c := range []struct {
		count, start int64
		ok           bool
	}{
		{1, 0, true}, {2, 0, true}, {3, 8, true}, {8, 8, true}, {9, 0, false},
	} {
		start, ok := sample().firstFit(c.count)
		assert.Equal(t, c.ok, ok, c.count)
		assert.Equal(t, c.start, start, c.count)
	}
}

func TestRoomBehind(t *testing.T) {
	m := sample()
	for _, c := range []struct {
		name  string
		count int64
		want  bool
	}{
		{"a", 3, true}, {"a", 4, true}, {"a", 5, true}, {"a", 6, false}, {"b", 9, true}, {"b", 10, false},
	} {
		assert.Equal(t, c.want, m.roomBehind(*m.find(c.name), c.count), "%s to %d", c.name, c.count)
	}
}

// Any sequence of creations and removals keeps volumes apart and loses no extent.
func TestAllocationKeepsVolumesApart(t *testing.T) {
	m := newMetadata(4096, 100)
	for i := range 2000 {
		if len(m.Volumes) > 0 && rand.IntN(2) == 0 {
			m.remove(m.Volumes[rand.IntN(len(m.Volumes))].Name)
		} else if start, ok := m.firstFit(1 + rand.Int64N(20)); ok {
			count := 1 + rand.Int64N(m.gapAt(t, start))
			m.add(volumeRecord{Name: fmt.Sprint("v", i), UUID: fmt.Sprint(i), Start: start, Count: count})
		}
		require.NoError(t, m.validate())
		require.Equal(t, m.ExtentCount, m.free()+used(m))
	}
}

func (m metadata) gapAt(t *testing.T, start int64) int64 {
	t.Helper()
	for _, g := range m.gaps() {
		if g.start == start {
			return g.count
		}
	}
	require.Fail(t, "first fit is not free", "extent %d", start)
	return 0
}

func TestMatch(t *testing.T) {
	m := sample()
	at := func(number int, start, count int64) loopDevice {
		return loopDevice{number, byteRange{start * 4096, count * 4096}}
	}
	ofA, short, twice, nobody, all := at(1, 2, 3), at(2, 7, 9), at(3, 2, 3), at(4, 8, 1), at(5, 2, 0)
	loops, stray := match(m, []loopDevice{all, ofA, short, twice, nobody})
	assert.Equal(t, map[string]loopDevice{"u-a": ofA, "u-b": short}, loops)
	assert.Equal(t, []loopDevice{all, twice, nobody}, stray)
}
