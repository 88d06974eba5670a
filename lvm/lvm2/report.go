package lvm2

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"one-clvm/internal/lazyregexp"
	"one-clvm/lvm"
)

// Fields asked for. All of them exist since JSON reports do; the rows of lvs carry the
// group's fields as well.
var (
	volumeFields = []string{"lv_name", "lv_uuid", "lv_size", "lv_attr", "lv_active", "lv_tags", "lv_path", "lv_time", "origin", "origin_size"}
	groupFields  = []string{"vg_name", "vg_attr", "vg_size", "vg_free", "vg_extent_size", "vg_lock_type", "vg_tags"}
)

// ReportError is a report that is not what was asked for: cut off, without a field, or
// with a value that nobody knows.
type ReportError struct {
	Field string // empty when the whole report is meant
	Value string
	Cause string
}

func (e *ReportError) Error() string {
	if e.Field == "" {
		return "bad LVM report: " + e.Cause
	}
	return fmt.Sprintf("bad LVM report: field %s, value %q: %s", e.Field, e.Value, e.Cause)
}

// row is one object of a report, only with the fields that were asked for.
type row map[string]string

// jsonStart is where the report begins: old versions print warnings before it.
var jsonStart = lazyregexp.New(`(?m)^[ \t]*\{`)

// parseReport reads {"report": [{SECTION: [{field: value, …}, …]}]}, the form of
// --reportformat json. Every value is a string. Other sections and other fields are
// allowed, missing ones are not.
func parseReport(output []byte, section string, fields []string) ([]row, error) {
	at := jsonStart.FindIndex(output)
	if at == nil {
		return nil, &ReportError{Cause: "no JSON in it"}
	}
	var document struct {
		Report []map[string][]map[string]any `json:"report"`
	}
	if err := json.NewDecoder(bytes.NewReader(output[at[0]:])).Decode(&document); err != nil {
		return nil, &ReportError{Cause: err.Error()}
	}
	var rows []row
	found := false
	for _, part := range document.Report {
		objects, ok := part[section]
		found = found || ok
		for _, object := range objects {
			r, err := pick(object, fields)
			if err != nil {
				return nil, err
			}
			rows = append(rows, r)
		}
	}
	if !found {
		return nil, &ReportError{Cause: "no list " + section + " in it"}
	}
	return rows, nil
}

func pick(object map[string]any, fields []string) (row, error) {
	r := make(row, len(fields))
	for _, field := range fields {
		value, ok := object[field].(string)
		if !ok {
			return nil, &ReportError{Field: field, Value: fmt.Sprint(object[field]), Cause: "missing, or not a string"}
		}
		r[field] = value
	}
	return r, nil
}

// bytes is a size in bytes; --units b --nosuffix makes it a plain number.
func (r row) bytes(field string) (int64, error) {
	n, err := strconv.ParseInt(r[field], 10, 64)
	if err != nil || n < 0 {
		return 0, &ReportError{Field: field, Value: r[field], Cause: "not a number of bytes"}
	}
	return n, nil
}

// groupInfo reads the vg_… fields.
func groupInfo(group string, r row) (lvm.GroupInfo, error) {
	if r["vg_name"] != group {
		return lvm.GroupInfo{}, &ReportError{Field: "vg_name", Value: r["vg_name"], Cause: "asked for " + group}
	}
	info := lvm.GroupInfo{Name: group, Tags: splitTags(r["vg_tags"])}
	var err error
	for field, target := range map[string]*int64{"vg_size": &info.Size, "vg_free": &info.Free, "vg_extent_size": &info.ExtentSize} {
		if *target, err = r.bytes(field); err != nil {
			return lvm.GroupInfo{}, err
		}
	}
	if info.ExtentSize == 0 {
		return lvm.GroupInfo{}, &ReportError{Field: "vg_extent_size", Value: "0", Cause: "must be above zero"}
	}
	info.LockManager, err = lockManager(r["vg_attr"], r["vg_lock_type"])
	return info, err
}

// lockOwners tells by each volume's name the UUID that its lock has under lvmlockd: its
// own, or, of a snapshot, its origin's.
func lockOwners(rows []row) map[string]string {
	uuids := map[string]string{}
	for _, r := range rows {
		uuids[r["lv_name"]] = r["lv_uuid"]
	}
	owners := map[string]string{}
	for _, r := range rows {
		owners[r["lv_name"]] = r["lv_uuid"]
		if origin := r["origin"]; origin != "" {
			owners[r["lv_name"]] = uuids[origin]
		}
	}
	return owners
}

// volumeOf reads the lv_… fields of one row.
func volumeOf(group string, r row, manager string, held lvm.Mode) (lvm.Volume, error) {
	sizeField := "lv_size"
	if r["origin"] != "" { // there lv_size is the space for what changes
		sizeField = "origin_size"
	}
	size, err := r.bytes(sizeField)
	if err != nil {
		return lvm.Volume{}, err
	}
	attributes, err := decodeAttributes(r["lv_attr"])
	if err != nil {
		return lvm.Volume{}, fmt.Errorf("volume %s: %w", r["lv_name"], err)
	}
	mode, err := modeOf(attributes.Active, manager, r["lv_active"], held)
	if err != nil {
		return lvm.Volume{}, fmt.Errorf("volume %s: %w", r["lv_name"], err)
	}
	return lvm.Volume{
		Group:   group,
		Name:    r["lv_name"],
		UUID:    r["lv_uuid"],
		Size:    size,
		Tags:    splitTags(r["lv_tags"]),
		Mode:    mode,
		Open:    attributes.Open,
		Path:    r["lv_path"],
		Created: parseTime(r["lv_time"]),
		Origin:  r["origin"],
		Invalid: attributes.Invalid,
	}, nil
}

func splitTags(s string) lvm.Tags {
	if s == "" {
		return nil
	}
	return lvm.NewTags(strings.Split(s, ",")...)
}

// parseTime reads lv_time in LVM's default format; lvm.conf may have another one
// (report/time_format), then the time is zero.
func parseTime(s string) time.Time {
	t, err := time.Parse("2006-01-02 15:04:05 -0700", s)
	if err != nil {
		return time.Time{}
	}
	return t
}
