package udev

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
)

// token is one KEY OPERATOR "VALUE" of a rule, see udev(7).
type token struct{ key, operator, value string }

var tokenPattern = regexp.MustCompile(`^([A-Z]+(?:\{[A-Z_]+\})?)(==|!=|=)"([^"]*)"$`)

// parse reads a file of rules as strictly as these rules are to be written.
func parse(text string) ([][]token, error) {
	var rules [][]token
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		var rule []token
		for part := range strings.SplitSeq(line, ", ") {
			m := tokenPattern.FindStringSubmatch(part)
			if m == nil {
				return nil, fmt.Errorf("%q in %q", part, line)
			}
			rule = append(rule, token{m[1], m[2], m[3]})
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

// permissions are what the rules say of an event's device.
func permissions(rules [][]token, event map[string]string) map[string]string {
	set := map[string]string{}
	label := ""
	for _, rule := range rules {
		if label != "" && (rule[0].key != "LABEL" || rule[0].value != label) {
			continue
		}
		label = ""
		matches := true
		for _, t := range rule {
			same, err := path.Match(t.value, event[t.key])
			if err != nil {
				panic(err)
			}
			switch {
			case t.operator == "==":
				matches = matches && same
			case t.operator == "!=":
				matches = matches && !same
			case !matches || t.key == "LABEL":
			case t.key == "GOTO":
				label = t.value
			default:
				set[t.key] = t.value
			}
		}
	}
	return set
}

func TestRules(t *testing.T) {
	rules, err := parse(Rules)
	require.NoError(t, err)
	labels := map[string]bool{}
	for _, rule := range rules {
		for _, token := range rule {
			known := []string{"ACTION", "SUBSYSTEM", "ENV{DM_UUID}", "ENV{DM_LV_LAYER}", "ENV{DM_LV_NAME}", "GOTO", "LABEL", "OWNER", "GROUP", "MODE"}
			assert.Contains(t, known, token.key)
			assert.Equal(t, token.operator == "=", slices.Contains([]string{"GOTO", "LABEL", "OWNER", "GROUP", "MODE"}, token.key), "%v", token)
			if token.key == "GOTO" || token.key == "LABEL" {
				labels[token.value] = labels[token.value] || token.key == "LABEL"
			}
		}
	}
	for label, there := range labels {
		assert.True(t, there, "no LABEL %s", label)
	}
	oneadmin := map[string]string{"OWNER": "oneadmin", "GROUP": "oneadmin", "MODE": "0660"}
	root := map[string]string{"OWNER": "root", "GROUP": "root", "MODE": "0600"}
	none := map[string]string{}
	for name, want := range map[string]map[string]string{
		lvm.DiskName(lvm.DefaultPrefix, 42, 0).String():                 oneadmin,
		lvm.DiskName(lvm.DefaultPrefix, 1, 12).WithSnapshot(3).String(): oneadmin,
		lvm.ImageName(lvm.DefaultPrefix, 7).String():                    oneadmin,
		lvm.QuarantineName(lvm.DefaultPrefix, "ab12cd34ef56").String():  root,
		"gfs2": none, "lv-one": none, "lv-one-": none, "lv-one-x-0": none, "lv-other-1-0": none, "my-lv-one-42-0": none, "root": none, "": none,
	} {
		event := map[string]string{"ACTION": "change", "SUBSYSTEM": "block", "ENV{DM_UUID}": "LVM-x", "ENV{DM_LV_NAME}": name}
		assert.Equal(t, want, permissions(rules, event), name)
		for key, other := range map[string]string{"ACTION": "remove", "SUBSYSTEM": "net", "ENV{DM_UUID}": "mpath-x", "ENV{DM_LV_LAYER}": "cow"} {
			changed := map[string]string{key: other}
			for k, v := range event {
				if k != key {
					changed[k] = v
				}
			}
			assert.Empty(t, permissions(rules, changed), "%s with %s=%s", name, key, other)
		}
	}
}

func TestParserIsStrict(t *testing.T) {
	for _, text := range []string{`OWNER=oneadmin`, `ENV{DM}=="a",OWNER="b"`, `ENV{DM}=="a" OWNER="b"`, `PROGRAM+="x"`, `"a"`} {
		_, err := parse(text)
		assert.Error(t, err, text)
	}
}
