package lvm

import (
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseSize(t *testing.T) {
	const gib = 1 << 30
	for s, want := range map[string]int64{
		"8G": 8 * gib, "8g": 8 * gib, "8GB": 8 * gib, "8GiB": 8 * gib, "8gib": 8 * gib, "8gB": 8 * gib,
		"1.5G": 3 * gib / 2, "0.5k": 512, "1": 1 << 20, "100": 100 << 20, "007": 7 << 20,
		"1b": 512, "512B": 512, "513b": 1024, "1s": 512, "3S": 1536, "0.1b": 512,
		"1k": 1 << 10, "1K": 1 << 10, "1m": 1 << 20, "1T": 1 << 40, "1p": 1 << 50, "4E": MaxSize, "4194304T": MaxSize,
		"8589934592b": 8 * gib, "4611686018427387904b": MaxSize,
		// With floating point these drift: 0.1 has no binary form.
		"0.1T": 214748365 * 512, "9007199254740993b": 9007199254741504,
	} {
		got, err := ParseSize(s)
		require.NoError(t, err, s)
		assert.Equal(t, want, got, s)
	}
}

func TestParseSizeRefuses(t *testing.T) {
	for _, s := range []string{
		"", "0", "0G", "0.0k", "-5M", "+5M", "-1", "8X", "8Gi", "8Gb ", "8GBB", "8bB", "8sB", "8BiB", " 8G", "8 G", "8G\n",
		"NaN", "inf", "Inf", "1e3", "0x10", "1_000", "1,5G", "1.", ".5G", "1.5.5", "G", "abc", "100%FREE", "٣G", "8\u212a", "1\u017f",
		"4611686018427387905b", "5E", "16E", "99999999999999999999999999999999", "9223372036854775807b",
		strings.Repeat("1", 100), "0." + strings.Repeat("1", 100),
	} {
		_, err := ParseSize(s)
		require.ErrorIs(t, err, ErrBadSize, s)
		assert.ErrorContains(t, err, "for example")
		assert.Less(t, len(err.Error()), 300)
	}
	_, err := ParseSize("8X")
	assert.ErrorContains(t, err, `"8X"`)
}

func TestRoundUp(t *testing.T) {
	for _, c := range []struct{ n, unit, want int64 }{
		{0, 512, 0}, {1, 512, 512}, {512, 512, 512}, {513, 512, 1024},
		{8<<30 + 1, 4 << 20, 8<<30 + 4<<20}, {MaxSize, 4 << 20, MaxSize}, {MaxSize - 1, MaxSize, MaxSize},
	} {
		assert.Equal(t, c.want, RoundUp(c.n, c.unit), "%d in %d", c.n, c.unit)
	}
}

func TestSizeHelpers(t *testing.T) {
	assert.Equal(t, int64(8589934592), MiB(8192))
	assert.Equal(t, "8589934592b", FormatBytes(MiB(8192)))
	again, err := ParseSize(FormatBytes(MiB(8192)))
	require.NoError(t, err)
	assert.Equal(t, MiB(8192), again)
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"8G", "1.5GiB", "100", "0.1T", "8X", "", "-1", "4E", "512b", "NaN"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		size, err := ParseSize(s)
		if err != nil {
			require.ErrorIs(t, err, ErrBadSize)
			return
		}
		assert.Positive(t, size)
		assert.LessOrEqual(t, size, int64(MaxSize))
		assert.Zero(t, size%SectorSize)
		again, err := ParseSize(FormatBytes(size))
		require.NoError(t, err)
		assert.Equal(t, size, again)
		assert.Less(t, slack(t, s, size), int64(SectorSize), "never more than a sector above what was asked")
	})
}

// slack is how far size is above the text's exact value, computed in another way.
func slack(t *testing.T, s string, size int64) int64 {
	t.Helper()
	digits := strings.TrimRight(s, "bBsSkKmMgGtTpPeEiI")
	unit := int64(1 << 20)
	if letter := strings.ToLower(s[len(digits):]); letter != "" {
		unit = map[byte]int64{'b': 1, 's': 512, 'k': 1 << 10, 'm': 1 << 20, 'g': 1 << 30, 't': 1 << 40, 'p': 1 << 50, 'e': 1 << 60}[letter[0]]
	}
	exact, ok := new(big.Rat).SetString(digits)
	require.True(t, ok)
	exact.Mul(exact, new(big.Rat).SetInt64(unit))
	difference := new(big.Rat).Sub(new(big.Rat).SetInt64(size), exact)
	require.GreaterOrEqual(t, difference.Sign(), 0, "never below what was asked")
	return new(big.Int).Quo(difference.Num(), difference.Denom()).Int64()
}
