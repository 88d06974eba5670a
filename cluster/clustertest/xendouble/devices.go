package xendouble

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"one-clvm/cluster/clustertest/double"
)

// definition is the file behind a VM's autostart link; "" for none.
func (c *Cluster) definition(n *Node, name string) string {
	file, _ := os.Readlink(filepath.Join(c.Auto(n.Name), name)) // "" where it is no link
	return file
}

// give moves a domain with all that it has.
func (n *Node) give(name string, to *Node) {
	to.Domains[name], to.Devices[name] = n.Domains[name], n.Devices[name]
	delete(n.Domains, name)
	delete(n.Devices, name)
}

// plug gives a domain the devices of its file, as far as there is one.
func (n *Node) plug(name, file string) {
	d := &Devices{Disks: map[string]string{}}
	n.Devices[name] = d
	text, _ := os.ReadFile(file) // scenarios have none
	for line := range strings.Lines(string(text)) {
		key, list, _ := strings.Cut(strings.TrimSpace(line), " = ")
		for _, entry := range strings.Split(strings.Trim(list, "[]"), `", "`) {
			entry = strings.Trim(entry, `" `)
			switch {
			case entry == "":
			case key == "disk":
				d.attach(strings.Split(entry, ","))
			case key == "vif":
				d.plugNIC(strings.Split(entry, ","))
			}
		}
	}
}

func (d *Devices) attach(words []string) {
	target, _, _ := strings.Cut(words[1], ":")
	d.Disks[target] = words[0]
}

func (d *Devices) plugNIC(words []string) {
	for _, word := range words {
		if mac, found := strings.CutPrefix(strings.TrimSpace(word), "mac="); found {
			d.NICs = append(d.NICs, mac)
		}
	}
}

// devices of a domain.
func (n *Node) devices(name string) *Devices {
	if n.Devices[name] == nil {
		n.Devices[name] = &Devices{Disks: map[string]string{}}
	}
	return n.Devices[name]
}

// number is a disk's as Xen counts: those of xvda to xvdp.
func number(target string) int { return 202<<8 | int(target[len("xvd")]-'a')<<4 }

// list is block-list or network-list.
func (n *Node) list(word, name string) double.Reply {
	d := n.devices(name)
	var out strings.Builder
	if word == "block-list" {
		out.WriteString("Vdev  BE  handle state evt-ch ring-ref BE-path\n")
		for _, target := range slices.Sorted(maps.Keys(d.Disks)) {
			fmt.Fprintf(&out, "%d 0 7 4 8 8 /local/domain/0/backend/vbd/%s/%d\n", number(target), name, number(target))
		}
		return double.Reply{Stdout: out.String()}
	}
	out.WriteString("Idx BE Mac Addr.         handle state evt-ch   tx-/rx-ring-ref BE-path\n")
	for i, mac := range d.NICs {
		fmt.Fprintf(&out, "%d   0  %s 0 4 9 768/769 /local/domain/0/backend/vif/7/%d\n", i, mac, i)
	}
	return double.Reply{Stdout: out.String()}
}

// xenstore answers what disks are: /local/domain/0/backend/vbd/NAME/NUMBER/params.
func (c *Cluster) xenstore(n *Node, keys []string) double.Reply {
	var out strings.Builder
	for _, key := range keys {
		parts := strings.Split(key, "/")
		found := false
		for target, source := range n.devices(parts[6]).Disks {
			if fmt.Sprint(number(target)) == parts[7] {
				out.WriteString(strings.TrimPrefix(source, "phy:") + "\n")
				found = true
			}
		}
		if !found {
			return failure(1, "xenstore-read: couldn't read path %s", key)
		}
	}
	return double.Reply{Stdout: out.String()}
}

func (n *Node) change(program, word, name string, words []string) double.Reply {
	d := n.devices(name)
	switch word {
	case "block-attach":
		if len(words) != 3 {
			return failure(2, "'%s block-attach' requires at least 3 arguments", program)
		}
		d.attach(words)
	case "block-detach":
		if d.Disks[words[0]] == "" {
			return failure(1, "Device %s not connected", words[0])
		}
		if !n.Holds {
			delete(d.Disks, words[0])
		}
	case "network-attach":
		d.plugNIC(words)
	case "network-detach":
		if !slices.Contains(d.NICs, words[0]) {
			return failure(1, "Unknown device %s.", words[0])
		}
		d.NICs = slices.DeleteFunc(d.NICs, func(mac string) bool { return mac == words[0] })
	case "cd-eject":
		d.Disks[words[0]] = ""
	case "cd-insert":
		d.Disks[words[0]] = words[1]
	}
	return double.Reply{}
}

func (c *Cluster) xentop(n *Node) double.Reply {
	out := "      NAME  STATE   CPU(sec) CPU(%)     MEM(k) MEM(%)  MAXMEM(k) MAXMEM(%) VCPUS NETS NETTX(k) NETRX(k) VBDS   VBD_OO   VBD_RD   VBD_WR  VBD_RSECT  VBD_WSECT SSID\n" +
		"  Domain-0 -----r        512    0.0    1048576   12.5   no limit       n/a     2    0        0        0    0        0        0        0          0          0    0\n"
	for _, name := range slices.Sorted(maps.Keys(n.Domains)) {
		out += fmt.Sprintf("%10s %s         12    0.1     524288    6.2     524288       6.2     1    1       10       20    2        0      100       50       2048       1024    0\n", name, n.Domains[name])
	}
	return double.Reply{Stdout: out}
}
