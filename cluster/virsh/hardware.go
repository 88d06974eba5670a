package virsh

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/beevik/etree"

	"one-clvm/cluster"
	"one-clvm/internal/run"
)

const (
	maxDocument = 8 << 20 // bytes
	maxDepth    = 64
)

// Inspect is what the running domain has.
func (v *Client) Inspect(ctx context.Context, s cluster.Service) (cluster.Hardware, error) {
	res, err := v.Runner.Run(ctx, run.Cmd{Path: "virsh", Args: v.args(s, "dumpxml", s.Name), Reads: true})
	if err != nil {
		return cluster.Hardware{}, err
	}
	return parseHardware(bytes.NewReader(res.Stdout))
}

// parseHardware reads libvirt's document of a running domain.
func parseHardware(r io.Reader) (cluster.Hardware, error) {
	h := cluster.Hardware{Disks: map[string]string{}}
	doc := etree.NewDocument()
	doc.ReadSettings = etree.ReadSettings{MaxDepth: maxDepth}
	if _, err := doc.ReadFrom(io.LimitReader(r, maxDocument)); err != nil {
		return h, fmt.Errorf("document of libvirt: %w", err)
	}
	root := doc.Root()
	if root == nil || root.Tag != "domain" {
		return h, fmt.Errorf("document of libvirt: it is no domain")
	}
	for _, disk := range root.FindElements("devices/disk") {
		target := disk.SelectElement("target")
		if target == nil {
			continue
		}
		path := ""
		if source := disk.SelectElement("source"); source != nil {
			path = source.SelectAttrValue("file", source.SelectAttrValue("dev", ""))
		}
		h.Disks[target.SelectAttrValue("dev", "")] = path
	}
	for _, mac := range root.FindElements("devices/interface/mac") {
		h.NICs = append(h.NICs, strings.ToLower(mac.SelectAttrValue("address", "")))
	}
	if vcpu := root.SelectElement("vcpu"); vcpu != nil {
		h.CPUs, _ = strconv.Atoi(strings.TrimSpace(vcpu.Text())) // 0: none is allowed
		h.CPUsNow, _ = strconv.Atoi(vcpu.SelectAttrValue("current", strconv.Itoa(h.CPUs)))
	}
	h.MemoryMiB, h.MemoryMiBNow = mebibytes(root, "memory"), mebibytes(root, "currentMemory")
	return h, nil
}

// mebibytes is a size, which libvirt always says in KiB; 0 for none.
func mebibytes(root *etree.Element, name string) int64 {
	e := root.SelectElement(name)
	if e == nil {
		return 0
	}
	kib, _ := strconv.ParseInt(strings.TrimSpace(e.Text()), 10, 64)
	return kib >> 10
}

// hardware are the commands of the steps that change what a running domain has. They have
// no --live: our domains are transient, and older versions do not know the option.
func (v *Client) hardware(o cluster.Order, s cluster.Step) []cluster.Command {
	name, d := o.Service.Name, o.Device
	var out []cluster.Command
	add := func(stdin string, words ...string) {
		out = append(out, cluster.Command{Program: "virsh", Args: v.args(o.Service, words...), Stdin: stdin})
	}
	switch s.Action {
	case cluster.Attach:
		add(d.Document, "attach-device", name, "/dev/stdin")
	case cluster.Detach:
		if d.MAC != "" {
			add("", "detach-interface", name, d.Type, "--mac", d.MAC)
		} else {
			add("", "detach-disk", name, d.Target)
		}
	case cluster.Eject:
		add("", "change-media", name, d.Target, "--eject", "--force")
	case cluster.Insert:
		words := []string{"change-media", name, d.Target, d.Path, "--insert"}
		if strings.HasPrefix(d.Path, "/dev/") {
			words = append(words, "--block")
		}
		add("", words...)
	case cluster.Grow: // the size is in KiB
		add("", "blockresize", name, d.Path, strconv.FormatInt(o.SizeMiB<<10, 10))
	case cluster.Resize:
		if s.MemoryMiB > 0 { // of which the guest's balloon driver takes its time
			add("", "setmem", name, strconv.FormatInt(s.MemoryMiB<<10, 10))
		}
		if s.CPUs > 0 {
			add("", "setvcpus", name, strconv.Itoa(s.CPUs), "--live")
		}
	}
	return out
}
