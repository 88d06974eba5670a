package lvm

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"one-clvm/internal/lazyregexp"
)

const (
	// SectorSize is the unit of every size that LVM accepts, in bytes.
	SectorSize = 512
	// MaxSize is the largest size ParseSize gives: 4 EiB. Twice of it would no longer
	// fit an int64, so that RoundUp needs no error.
	MaxSize = 1 << 62
)

// sizeSyntax is a number and a unit. LVM looks at the unit's first letter only and
// ignores the rest; here the rest must be B or iB, so that a typing error is refused.
// Both cases are spelt out: ignoring case would let in U+212A, the Kelvin sign.
var sizeSyntax = lazyregexp.New(`^([0-9]+(?:\.[0-9]+)?)(?:([bBsS])|([kKmMgGtTpPeE])(?:[iI]?[bB])?)?$`)

const maxSizeText = 64 // longer text is no size; it would only cost time

// ParseSize reads a size in LVM's syntax and gives bytes, rounded up to whole sectors
// of 512. The number is an integer or a decimal; units are b (bytes), s (sectors of
// 512 bytes), k m g t p e, all 1024-based in either case, also spelt 8GB or 8GiB; no
// unit means MiB. ErrBadSize for everything else, zero, and more than MaxSize.
func ParseSize(s string) (int64, error) {
	if len(s) > maxSizeText {
		return 0, badSize(s[:maxSizeText]+"…", "is too long")
	}
	match := sizeSyntax.FindStringSubmatch(s)
	if match == nil {
		return 0, badSize(s, "is no number with a unit")
	}
	number, ok := new(big.Rat).SetString(match[1])
	if !ok {
		return 0, badSize(s, "is no number with a unit")
	}
	bytes := number.Mul(number, new(big.Rat).SetInt64(unitBytes(match[2]+match[3])))
	if bytes.Sign() == 0 {
		return 0, badSize(s, "is zero")
	}
	if bytes.Cmp(new(big.Rat).SetInt64(MaxSize)) > 0 {
		return 0, badSize(s, "is more than 4 EiB")
	}
	return RoundUp(ceiling(bytes), SectorSize), nil
}

// unitBytes is a unit's size in bytes; the empty unit is MiB.
func unitBytes(unit string) int64 {
	switch unit = strings.ToLower(unit); unit {
	case "":
		return 1 << 20
	case "b":
		return 1
	case "s":
		return SectorSize
	}
	return 1 << (10 * (1 + strings.Index("kmgtpe", unit)))
}

// ceiling is the smallest whole number not below r, which is positive and fits.
func ceiling(r *big.Rat) int64 {
	whole, rest := new(big.Int).QuoRem(r.Num(), r.Denom(), new(big.Int))
	if rest.Sign() > 0 {
		return whole.Int64() + 1
	}
	return whole.Int64()
}

// RoundUp is the smallest multiple of unit that is not below n; both are in bytes, n
// from 0 to MaxSize, unit from 1 to MaxSize.
func RoundUp(n, unit int64) int64 {
	if rest := n % unit; rest > 0 {
		return n - rest + unit
	}
	return n
}

// MiB is n MiB in bytes; OpenNebula counts disk sizes in MiB.
func MiB(n int) int64 { return int64(n) << 20 }

// FormatBytes spells n bytes for LVM's command line: 8589934592b.
func FormatBytes(n int64) string { return strconv.FormatInt(n, 10) + "b" }

func badSize(s, why string) error {
	return fmt.Errorf("%w: %q %s; write for example 8G, 1.5G, 512M or 8589934592b", ErrBadSize, s, why)
}
