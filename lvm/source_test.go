package lvm

import (
	"strings"
	"testing"
	"testing/quick"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const someHash = "d41d8cd98f00b204e9800998ecf8427e"

// The forms of the suite, and those of the versions of gfs2clvm.
func TestParseSource(t *testing.T) {
	for source, want := range map[string]string{
		"lv-oneimg-7": "lv-oneimg-7", "vg-one/lv-oneimg-7": "lv-oneimg-7", "/dev/vg-one/lv-oneimg-7": "lv-oneimg-7",
		"/dev/mapper/vg--one-lv--oneimg--7": "lv-oneimg-7",
		"vg-one.lv-one-7":                   "lv-one-7", "lv-one-7": "lv-one-7",
		"/var/lib/one/images/" + someHash: "lv-oneimg-" + someHash, "/dev/mapper/vg--one-lv--oneimg--" + someHash: "lv-oneimg-" + someHash,
	} {
		name, err := ParseSource("lv-one", "vg-one", source)
		require.NoError(t, err, source)
		assert.Equal(t, want, name.String(), source)
		assert.True(t, name.IsImage())
	}
	for _, source := range []string{
		"", "lv-one-7-0", "lv-one-7-42-0", "lv-oneimg-7_s1", "lv-one-7_s0", "lv-onedel-0123abcd", "vg-two/lv-oneimg-7", "vg-two.lv-one-7", "/dev/vg-two/lv-oneimg-7",
		"/dev/mapper/vg--two-lv--oneimg--7", "/dev/mapper/vg--one-lv-oneimg--7", "/dev/mapper/vg-one-lv--oneimg--7", "/dev/mapper/vg--one", "/srv/" + someHash,
		"images/" + someHash, "/images/" + strings.ToUpper(someHash), "/var/lib/one/images/" + someHash[1:], "/var/lib/one/images/" + someHash + "/x", "vg-one/vg-one/lv-oneimg-7",
	} {
		_, err := ParseSource("lv-one", "vg-one", source)
		require.ErrorIs(t, err, ErrBadName, source)
		assert.ErrorContains(t, err, source)
	}
}

// Every form of every image's name is read back.
func TestSourcesRoundTrip(t *testing.T) {
	roundTrip := func(name Name) bool {
		for _, group := range []string{"vg-one", "vg.one-x", "a--b"} {
			s := name.String()
			for _, source := range []string{s, group + "/" + s, group + "." + s, "/dev/" + group + "/" + s, mapperDir + mapperName(group) + "-" + mapperName(s)} {
				parsed, err := ParseSource(name.Prefix, group, source)
				if isSource := name.IsImage() && name.Snapshot == NoSnapshot; isSource != (err == nil) || isSource && parsed != name {
					return false
				}
			}
		}
		return true
	}
	require.NoError(t, quick.Check(roundTrip, &quick.Config{MaxCount: 2000}))
}

func FuzzParseSource(f *testing.F) {
	for _, s := range []string{"lv-oneimg-7", "vg-one.lv-one-7", "/var/lib/one/images/" + someHash, "/dev/mapper/vg--one-lv--oneimg--7", "vg-one/lv-one-1-2-3"} {
		f.Add("vg-one", s)
	}
	f.Fuzz(func(t *testing.T, group, s string) {
		name, err := ParseSource("lv-one", group, s)
		if err != nil {
			require.ErrorIs(t, err, ErrBadName)
			return
		}
		assert.True(t, name.IsImage())
		assert.NoError(t, ValidateName(name.String()))
		again, err := ParseSource("lv-one", group, name.String())
		require.NoError(t, err)
		assert.Equal(t, name, again)
	})
}
