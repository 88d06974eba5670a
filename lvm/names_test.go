package lvm

import (
	"fmt"
	"math/rand"
	"reflect"
	"strings"
	"testing"
	"testing/quick"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNamesAreSpeltAsDocumented(t *testing.T) {
	for want, name := range map[string]Name{
		"lv-one-42-0":            DiskName("lv-one", 42, 0),
		"lv-one-42-0_s3":         DiskName("lv-one", 42, 0).WithSnapshot(3),
		"lv-oneimg-7":            ImageName("lv-one", 7),
		"lv-oneimg-7_s0":         ImageName("lv-one", 7).WithSnapshot(0),
		"lv-onedel-0123abcd":     QuarantineName("lv-one", "0123abcd"),
		"lv-onedel-ffff0000":     QuarantineName("lv-one", "ffff0000").WithSnapshot(4),
		"a-0-0":                  DiskName("a", 0, 0),
		"lv-one-7":               {Prefix: "lv-one", Kind: KindOldImage, Image: 7, Snapshot: NoSnapshot},
		"lv-one-7_s2":            {Prefix: "lv-one", Kind: KindOldImage, Image: 7, Snapshot: 2},
		"lv-one-7-42-0":          {Prefix: "lv-one", Kind: KindOldClone, Image: 7, VM: 42, Snapshot: NoSnapshot},
		"lv-oneimg-" + someHash:  {Prefix: "lv-one", Kind: KindHashImage, Hash: someHash, Snapshot: NoSnapshot},
		"lv-one-2147483647-1_s1": DiskName("lv-one", 2147483647, 1).WithSnapshot(1),
	} {
		assert.Equal(t, want, name.String())
		parsed, err := ParseName(name.Prefix, want)
		require.NoError(t, err)
		assert.Equal(t, name, parsed)
	}
}

func TestParseNameRefusesWhatTheSuiteDoesNotMake(t *testing.T) {
	for _, s := range []string{
		"", "lv-one", "lv-one-", "lv-one-1-", "lv-one--1", "lv-one--1-0", "lv-one-1-0-2-3", "lv-one-1-0-2_s1",
		"lv-one-01-0", "lv-one-1-00", "lv-one-+1-0", "lv-one-1-0.bak", "lv-one-1-0 ", " lv-one-1-0",
		"lv-one-1-0_s", "lv-one-1-0_s01", "lv-one-1-0_s-1", "lv-one-1-0_s1_s2", "lv-one-1_s1-0",
		"lv-one-2147483648-0", "lv-one-99999999999999999999-0", "lv-one-x-0", "lv-one-1-٣",
		"lv-oneimg", "lv-oneimg-", "lv-oneimg--7", "lv-oneimg-1-2", "lv-oneimg-07", "lv-oneimg-D41d8cd98f00b204e9800998ecf8427e", "lv-oneimg-d41d8cd98f00b204e9800998ecf8427e0",
		"lv-onedel-", "lv-onedel-0123abc", "lv-onedel-0123ABCD", "lv-onedel-0123abcg",
		"lv-onedel-0123abcd_s1", "lv-onedel-" + strings.Repeat("a", 33),
		"lv-two-1-0", "LV-ONE-1-0", "root", "lv-one1-0",
	} {
		_, err := ParseName("lv-one", s)
		require.ErrorIs(t, err, ErrBadName, s)
		assert.ErrorContains(t, err, fmt.Sprintf("%q", s), "the value is named")
	}
}

func TestParseNameRefusesABadPrefix(t *testing.T) {
	_, err := ParseName("", "-1-0")
	require.ErrorIs(t, err, ErrBadName)
}

func TestStringOfGarbageIsRefusedByParse(t *testing.T) {
	for _, name := range []Name{
		{}, DiskName("lv-one", -1, 0), ImageName("lv-one", -1), QuarantineName("lv-one", "zz"),
		DiskName("lv-one", 1, 0).WithSnapshot(-2), {Prefix: "lv-one", Kind: 9},
	} {
		_, err := ParseName("lv-one", name.String())
		assert.ErrorIs(t, err, ErrBadName, name.String())
	}
}

func TestKindString(t *testing.T) {
	assert.Equal(t, "disk image quarantine kind(0)", fmt.Sprint(KindDisk, " ", KindImage, " ", KindQuarantine, " ", Kind(0)))
}

// Generate makes any name that the suite can make, for testing/quick.
func (Name) Generate(r *rand.Rand, _ int) reflect.Value {
	prefix := []string{"lv-one", "a", "one.x_y+z0", "lv-oneimg", "lv-onedel", "lv-1"}[r.Intn(6)]
	var name Name
	switch r.Intn(6) {
	case 0:
		name = DiskName(prefix, int(r.Int31()), r.Intn(300))
	case 1:
		name = ImageName(prefix, int(r.Int31()))
	case 2:
		name = Name{Prefix: prefix, Kind: KindHashImage, Hash: fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64()), Snapshot: NoSnapshot}
	case 3:
		name = Name{Prefix: prefix, Kind: KindOldImage, Image: int(r.Int31()), Snapshot: NoSnapshot}
	case 4:
		name = Name{Prefix: prefix, Kind: KindOldClone, Image: int(r.Int31()), VM: int(r.Int31()), Disk: r.Intn(300), Snapshot: NoSnapshot}
	default:
		return reflect.ValueOf(QuarantineName(prefix, fmt.Sprintf("%08x%x", r.Uint32(), r.Uint32())))
	}
	if r.Intn(2) == 0 {
		name = name.WithSnapshot(int(r.Int31()))
	}
	return reflect.ValueOf(name)
}

func TestNamesRoundTrip(t *testing.T) {
	roundTrip := func(name Name) bool {
		parsed, err := ParseName(name.Prefix, name.String())
		return err == nil && parsed == name && ValidateName(name.String()) == nil
	}
	require.NoError(t, quick.Check(roundTrip, &quick.Config{MaxCount: 5000}))
}

func TestDifferentNamesAreSpeltDifferently(t *testing.T) {
	distinct := func(a, b Name) bool {
		b.Prefix = a.Prefix
		return (a == b) == (a.String() == b.String())
	}
	require.NoError(t, quick.Check(distinct, &quick.Config{MaxCount: 5000}))
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"lv-one-42-0", "lv-one-42-0_s3", "lv-oneimg-7", "lv-oneimg-7_s1", "lv-onedel-0123abcd", "", "lv-one-1_s1-0", "lv-one-7", "lv-one-7-42-0", "lv-oneimg-" + someHash} {
		f.Add("lv-one", s)
	}
	f.Fuzz(func(t *testing.T, prefix, s string) {
		name, err := ParseName(prefix, s)
		if err != nil {
			require.ErrorIs(t, err, ErrBadName)
			return
		}
		assert.Equal(t, s, name.String(), "one spelling for a name")
		assert.NoError(t, ValidateName(s), "LVM takes what the grammar takes")
	})
}

func TestValidateName(t *testing.T) {
	for name, why := range map[string]string{
		"root": "", "a+b_c.d-e": "", "0": "", "...": "", strings.Repeat("a", 127): "",
		"": "empty", ".": "may not", "..": "may not", "-a": "hyphen", strings.Repeat("a", 128): "128 characters",
		"a b": `' '`, "a/b": `'/'`, "a\x00": `'\x00'`, "ä": `'ä'`, "a=b": `'='`, "a\u012f": "'į'",
		"snapshot1": "snapshot", "pvmove0": "pvmove", "lvmlock": "lvmlock",
		"x_tdata": "_tdata", "x_rimage_0": "_rimage", "x_pmspare": "_pmspare",
	} {
		err := ValidateName(name)
		if why == "" {
			assert.NoError(t, err, name)
			continue
		}
		assert.ErrorIs(t, err, ErrBadName, name)
		assert.ErrorContains(t, err, why)
	}
}

func TestValidateNames(t *testing.T) {
	require.NoError(t, ValidateNames("vg-one", "lv-one-42-0"))
	require.ErrorIs(t, ValidateNames("vg one", "a"), ErrBadName)
	require.ErrorIs(t, ValidateNames("vg", "a b"), ErrBadName)
	require.NoError(t, ValidateNames("vg", strings.Repeat("a", 124)))
	require.ErrorContains(t, ValidateNames("vg", strings.Repeat("a", 125)), "128 characters")
	require.ErrorContains(t, ValidateNames("v-", strings.Repeat("a", 124)), "128 characters", "a hyphen counts twice")
}

func TestValidatePrefix(t *testing.T) {
	for _, good := range []string{"lv-one", "a", "one.x_y+z0", strings.Repeat("a", 32)} {
		assert.NoError(t, ValidatePrefix(good), good)
	}
	for _, bad := range []string{"", "-a", "1a", ".a", "a-", "a_", "a b", "snapshot", "pvmove-x", "a_tdata0", strings.Repeat("a", 33), "ä", "a/b"} {
		assert.ErrorIs(t, ValidatePrefix(bad), ErrBadName, bad)
	}
}
