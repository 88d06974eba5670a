package lvm2

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
)

// Text of LVM 2.03.16 as it was printed.
const (
	realVolumes = `  {
      "report": [
          {
              "lv": [
                  {"lv_name":"lv-one-42-0", "vg_name":"vgt", "lv_uuid":"lZjUQq-eDw0-0bCB-DJmE-tIA9-tSY1-N3IKRm", "lv_size":"8388608", "lv_attr":"-wi-ao----", "lv_active":"active", "lv_tags":"one,vm=42", "lv_time":"2026-11-21 06:33:28 +0100", "lv_path":"/dev/vgt/lv-one-42-0", "origin":"", "origin_size":"", "vg_attr":"wz--n-", "vg_size":"264241152", "vg_free":"255852544", "vg_extent_size":"4194304", "vg_lock_type":"", "vg_tags":"", "lv_lockargs":""}
              ]
          }
      ]
  }
`
	realUnknownField = `  {
      "report": [
      ]
  }
`
	realEmpty = `  {
      "report": [
          {
              "vg": [
              ]
          }
      ]
  }
`
)

func TestParseRealReport(t *testing.T) {
	rows, err := parseReport([]byte(realVolumes), "lv", slices.Concat(volumeFields, groupFields))
	require.NoError(t, err)
	require.Len(t, rows, 1)
	info, err := groupInfo("vgt", rows[0])
	require.NoError(t, err)
	assert.Equal(t, lvm.GroupInfo{Name: "vgt", Size: 264241152, Free: 255852544, ExtentSize: 4194304, LockManager: "none"}, info)
	volume, err := volumeOf("vgt", rows[0], "none", lvm.Off)
	require.NoError(t, err)
	assert.Equal(t, time.Date(2026, 11, 21, 5, 33, 28, 0, time.UTC), volume.Created.UTC())
	volume.Created = time.Time{}
	assert.Equal(t, lvm.Volume{
		Group: "vgt", Name: "lv-one-42-0", UUID: "lZjUQq-eDw0-0bCB-DJmE-tIA9-tSY1-N3IKRm", Size: 8388608,
		Tags: lvm.Tags{"one", "vm=42"}, Mode: lvm.Exclusive, Open: true, Path: "/dev/vgt/lv-one-42-0",
	}, volume)
}

func TestParseReport(t *testing.T) {
	fields := []string{"vg_name"}
	for output, want := range map[string][]row{
		realEmpty:                               nil,
		"  WARNING: {odd} device\n" + realEmpty: nil,
		`{"report":[{"vg":[{"vg_name":"a","new":7}],"log":[]}]}` + "\nx": {{"vg_name": "a"}},
		`{"report":[{"vg":[{"vg_name":"a"}]},{"vg":[{"vg_name":"b"}]}]}`: {{"vg_name": "a"}, {"vg_name": "b"}},
		"\t {\"report\":[{\"other\":[]},{\"vg\":[{\"vg_name\":\"\"}]}]}": {{"vg_name": ""}},
	} {
		rows, err := parseReport([]byte(output), "vg", fields)
		require.NoError(t, err, output)
		assert.Equal(t, want, rows)
	}
}

func TestParseReportRefuses(t *testing.T) {
	for output, why := range map[string]string{
		"":                                      "no JSON",
		"  Volume group \"x\" not found\n":      "no JSON",
		realUnknownField:                        "no list vg",
		`{"report":[{"lv":[]}]}`:                "no list vg",
		`{}`:                                    "no list vg",
		realEmpty[:len(realEmpty)-12]:           "unexpected",
		`{"report":[{"vg":[{}]}]}`:              "field vg_name",
		`{"report":[{"vg":[{"vg_name":5}]}]}`:   "not a string",
		`{"report":[{"vg":[{"vg_name":null}`:    "unexpected",
		`{"report":[{"vg":["vg-one"]}]}`:        "cannot unmarshal",
		`{"report":{"vg":[{"vg_name":"x"}]}}`:   "cannot unmarshal",
		`{"report":[{"vg":{"vg_name":"one"}}]}`: "cannot unmarshal",
	} {
		_, err := parseReport([]byte(output), "vg", []string{"vg_name"})
		var bad *ReportError
		require.ErrorAs(t, err, &bad, output)
		assert.ErrorContains(t, err, why, output)
	}
}

func goodRow() row {
	return row{
		"vg_name": "vg-one", "vg_attr": "wz--ns", "vg_size": "100", "vg_free": "50", "vg_extent_size": "10", "vg_lock_type": "dlm", "vg_tags": "",
		"lv_name": "a", "lv_uuid": "u", "lv_size": "10", "lv_attr": "-wi-a-----", "lv_active": "active", "lv_tags": "", "lv_path": "/dev/vg-one/a", "lv_time": "", "origin": "", "origin_size": "",
	}
}

func TestBadValuesAreReportErrors(t *testing.T) {
	for field, values := range map[string][]string{
		"vg_name":        {"vg-two", ""},
		"vg_attr":        {"", "wz--n"},
		"vg_size":        {"", "1.5", "-1", "1G", "99999999999999999999"},
		"vg_free":        {"x"},
		"vg_extent_size": {"0", "4m"},
		"vg_lock_type":   {"idm", "?", ""},
		"lv_size":        {"", "-1"},
		"lv_attr":        {"", "-wi-a", "-wi-X-----", "-wi-aX----", "-wi-?-----"},
	} {
		for _, value := range values {
			r := goodRow()
			r[field] = value
			_, errGroup := groupInfo("vg-one", r)
			_, errVolume := volumeOf("vg-one", r, "dlm", lvm.Off)
			var bad *ReportError
			err := errGroup
			if err == nil {
				err = errVolume
			}
			require.ErrorAs(t, err, &bad, "%s=%q", field, value)
			assert.Equal(t, field, bad.Field)
			assert.ErrorContains(t, err, field)
		}
	}
	r := goodRow()
	r["lv_active"] = "who knows"
	_, err := volumeOf("vg-one", r, managerCLVMD, lvm.Off)
	require.ErrorContains(t, err, "clvmd runs")
}

func TestTimeOfAnotherFormatIsZero(t *testing.T) {
	assert.True(t, parseTime("Sat Nov 21 2026").IsZero())
}

func TestTagsAreSorted(t *testing.T) {
	assert.Equal(t, lvm.Tags{"building", "one", "vm=42"}, splitTags("one,vm=42,building"))
	assert.Nil(t, splitTags(""))
}

func FuzzParseReport(f *testing.F) {
	f.Add([]byte(realVolumes))
	f.Add([]byte(realEmpty))
	f.Add([]byte(realUnknownField))
	f.Add([]byte("  WARNING\n" + realVolumes))
	fields := slices.Concat(volumeFields, groupFields)
	f.Fuzz(func(t *testing.T, output []byte) {
		rows, err := parseReport(output, "lv", fields)
		var bad *ReportError
		if err != nil {
			require.ErrorAs(t, err, &bad)
			return
		}
		for _, r := range rows {
			require.Len(t, r, len(fields))
			if info, err := groupInfo("vgt", r); err == nil {
				assert.Positive(t, info.ExtentSize)
			}
			if volume, err := volumeOf("vgt", r, "none", lvm.Off); err == nil {
				assert.GreaterOrEqual(t, volume.Size, int64(0))
			}
		}
	})
}

func TestDecodeAttributes(t *testing.T) {
	for attr, want := range map[string]attributes{
		"-wi-------": {}, "-wi------": {},
		"-wi-a-----": {Active: true}, "-wi-ao----": {Active: true, Open: true},
		"owi-aos---": {Active: true, Open: true}, "swi-I-s---": {Active: true, Invalid: true}, "swi-S-s---": {Active: true, Invalid: true},
		"-wi-s-----": {Active: true}, "-wi-so----": {Active: true, Open: true},
		"-wi-d-----": {Active: true}, "-wi-i-----": {Active: true},
		"swi-m-s---": {Active: true}, "swi-M-s---": {Active: true},
		"twi-cotz--": {Active: true, Open: true}, "twi-C-tz--": {Active: true},
		"Vwi-h-----": {},
	} {
		got, err := decodeAttributes(attr)
		require.NoError(t, err, attr)
		assert.Equal(t, want, got, attr)
	}
}

// TestDecodeAttributesIsTotal tries every byte at both places: it is known, or an error.
func TestDecodeAttributesIsTotal(t *testing.T) {
	known := map[int]string{attributeState: "-hasISmMdicC", attributeOpen: "-o"}
	for place, letters := range known {
		for letter := range 256 {
			attr := []byte("-wi-------")
			attr[place] = byte(letter)
			_, err := decodeAttributes(string(attr))
			expected := false
			for i := range len(letters) {
				expected = expected || letters[i] == byte(letter)
			}
			assert.Equal(t, expected, err == nil, "letter %q", letter)
		}
	}
}
