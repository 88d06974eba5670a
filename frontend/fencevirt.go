package frontend

import (
	"fmt"
	"regexp"
	"strings"
)

var (
	blockBegin = regexp.MustCompile(`^\s*([A-Za-z_]+)\s*\{\s*$`)
	setting    = regexp.MustCompile(`^\s*([A-Za-z_]+)\s*=\s*"([^"]*)"\s*;\s*$`)
)

// CheckFenceVirt says what is wrong with a fence_virt.conf, alone and beside the cluster.conf
// of the nodes that are fenced through it ("": that is not given).
func CheckFenceVirt(text, conf string) []Finding {
	values, lines, found := readFenceVirt(text)
	report := func(key, what, why, do string) {
		found = append(found, Finding{max(1, lines[key]), what, why, do})
	}
	listener, backend := values["fence_virtd.listener"], values["fence_virtd.backend"]
	if _, there := lines["listeners."+listener]; !there {
		report("fence_virtd.listener", fmt.Sprintf("listener %q is not configured", listener), "fence_virtd hears nothing", "a block of that name in listeners")
	}
	if _, there := lines["backends."+backend]; !there {
		report("fence_virtd.backend", fmt.Sprintf("backend %q is not configured", backend), "fence_virtd switches nothing off", "a block of that name in backends")
	}
	block := "listeners." + listener
	if values[block+".key_file"] == "" {
		report(block, "no key_file", "everybody in the network may switch the nodes off", fmt.Sprintf("key_file = \"%s\";", defaultKey))
	}
	root, _ := readTags(conf)
	if root == nil || conf == "" {
		return found
	}
	for _, e := range root.all("fencedevices", "fencedevice") {
		if e.attr("agent", "") != "fence_xvm" {
			continue
		}
		for _, pair := range [][3]string{{"multicast_address", "address", fenceGroup}, {"ipport", "port", fencePort}, {"key_file", "key_file", defaultKey}} {
			theirs, ours := e.attr(pair[0], pair[2]), values[block+"."+pair[1]]
			if ours == "" {
				ours = pair[2]
			}
			if theirs != ours {
				report(block+"."+pair[1], fmt.Sprintf("%s is %s, and %s of fence device %s in cluster.conf is %s", pair[1], ours, pair[0], e.attr("name", ""), theirs), "fencing is asked for where nobody hears it", "make them the same")
			}
		}
	}
	return found
}

// readFenceVirt gives the settings by their blocks (listeners.multicast.port), and the lines
// of settings and blocks.
func readFenceVirt(text string) (values map[string]string, lines map[string]int, found []Finding) {
	values, lines = map[string]string{}, map[string]int{}
	var blocks []string
	n := 0
	for line := range strings.Lines(text) {
		n++
		bare := strings.TrimSpace(line)
		begin, set := blockBegin.FindStringSubmatch(line), setting.FindStringSubmatch(line)
		switch {
		case bare == "" || strings.HasPrefix(bare, "#") || strings.HasPrefix(bare, "==="):
		case begin != nil:
			blocks = append(blocks, begin[1])
			lines[strings.Join(blocks, ".")] = n
		case set != nil:
			key := strings.Join(append(blocks[:len(blocks):len(blocks)], set[1]), ".")
			values[key], lines[key] = set[2], n
		case bare == "}" && len(blocks) > 0:
			blocks = blocks[:len(blocks)-1]
		default:
			found = append(found, Finding{n, "a line that is none: " + firstLine(bare), "fence_virtd does not start", `write name = "value"; or name {, or }`})
		}
	}
	if len(blocks) > 0 {
		found = append(found, Finding{lines[strings.Join(blocks, ".")], blocks[len(blocks)-1] + " { is not closed", "fence_virtd does not start", "end it with }"})
	}
	return values, lines, found
}
