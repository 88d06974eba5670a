package vmm

import (
	"strconv"
	"strings"

	"github.com/beevik/etree"

	"one-clvm/opennebula"
)

// diskDocument is the disk that a call attaches, as oned would have written it into the
// domain. The privileged end checks it, and puts the volume's device into it.
func diskDocument(call opennebula.VMMCall, disk *opennebula.Disk) (string, error) {
	attrs := map[string]string{}
	e := etree.NewElement("disk")
	e.CreateAttr("type", "file")
	e.CreateAttr("device", "disk")
	if disk != nil {
		attrs = disk.Attrs
		if disk.Type == "CDROM" {
			e.CreateAttr("device", "cdrom")
		}
	}
	driver := e.CreateElement("driver")
	driver.CreateAttr("name", "qemu")
	driver.CreateAttr("type", "raw")
	set(driver, "cache", attrs["CACHE"])
	set(driver, "io", attrs["IO"])
	set(driver, "discard", attrs["DISCARD"])
	e.CreateElement("source").CreateAttr("file", call.File.String())
	e.CreateElement("target").CreateAttr("dev", call.Target)
	if disk != nil && disk.ReadOnly {
		e.CreateElement("readonly")
	}
	tune(e, attrs)
	if strings.HasPrefix(call.Target, "sd") { // where oned puts disks of the SCSI controller
		address := e.CreateElement("address")
		for _, pair := range [][2]string{{"type", "drive"}, {"controller", "0"}, {"bus", "0"}, {"target", strconv.Itoa(call.Index)}, {"unit", "0"}} {
			address.CreateAttr(pair[0], pair[1])
		}
	}
	return text(e)
}

// tunes are oned's limits of a disk; libvirt has them under the same names.
var tunes = []string{
	"TOTAL_BYTES_SEC", "READ_BYTES_SEC", "WRITE_BYTES_SEC", "TOTAL_IOPS_SEC", "READ_IOPS_SEC", "WRITE_IOPS_SEC",
	"TOTAL_BYTES_SEC_MAX", "READ_BYTES_SEC_MAX", "WRITE_BYTES_SEC_MAX", "TOTAL_IOPS_SEC_MAX", "READ_IOPS_SEC_MAX", "WRITE_IOPS_SEC_MAX",
	"TOTAL_BYTES_SEC_MAX_LENGTH", "READ_BYTES_SEC_MAX_LENGTH", "WRITE_BYTES_SEC_MAX_LENGTH",
	"TOTAL_IOPS_SEC_MAX_LENGTH", "READ_IOPS_SEC_MAX_LENGTH", "WRITE_IOPS_SEC_MAX_LENGTH", "SIZE_IOPS_SEC",
}

func tune(disk *etree.Element, attrs map[string]string) {
	limits := etree.NewElement("iotune")
	for _, name := range tunes {
		if value := attrs[name]; value != "" {
			limits.CreateElement(strings.ToLower(name)).SetText(value)
		}
	}
	if len(limits.Child) > 0 {
		disk.AddChild(limits)
	}
}

// nicDocument is the interface that a call attaches. What the arguments do not tell is in
// the VM's document, which versions up to 4.14 do not give.
func nicDocument(call opennebula.VMMCall, nic *opennebula.NIC) (string, error) {
	if nic == nil {
		nic = &opennebula.NIC{Attrs: map[string]string{}}
	}
	e := etree.NewElement("interface")
	e.CreateAttr("type", "bridge")
	if call.NetDriver == "ovswitch" || call.NetDriver == "ovswitch_vxlan" || strings.Contains(nic.BridgeType, "openvswitch") {
		e.CreateElement("virtualport").CreateAttr("type", "openvswitch")
	}
	e.CreateElement("source").CreateAttr("bridge", call.Bridge)
	e.CreateElement("mac").CreateAttr("address", call.MAC)
	if target := first(call.Target, nic.Target); target != "" {
		e.CreateElement("target").CreateAttr("dev", target)
	}
	if model := first(call.Model, nic.Model); model != "" {
		e.CreateElement("model").CreateAttr("type", model)
		if queues := nic.Attrs["VIRTIO_QUEUES"]; model == "virtio" && queues != "" {
			driver := e.CreateElement("driver")
			driver.CreateAttr("name", "vhost")
			driver.CreateAttr("queues", queues)
		}
	}
	if filter := nic.Attrs["FILTER"]; filter != "" {
		reference := e.CreateElement("filterref")
		reference.CreateAttr("filter", filter)
		if ip := nic.Attrs["IP"]; ip != "" {
			parameter := reference.CreateElement("parameter")
			parameter.CreateAttr("name", "IP")
			parameter.CreateAttr("value", ip)
		}
	}
	bandwidth(e, nic.Attrs)
	return text(e)
}

// bandwidth is in KiB/s on both sides.
func bandwidth(nic *etree.Element, attrs map[string]string) {
	limits := etree.NewElement("bandwidth")
	for _, way := range []string{"INBOUND", "OUTBOUND"} {
		average, peak, burst := attrs[way+"_AVG_BW"], attrs[way+"_PEAK_BW"], attrs[way+"_PEAK_KB"]
		if average == "" && peak == "" && burst == "" {
			continue
		}
		e := limits.CreateElement(strings.ToLower(way))
		set(e, "average", average)
		set(e, "peak", peak)
		set(e, "burst", burst)
	}
	if len(limits.Child) > 0 {
		nic.AddChild(limits)
	}
}

func set(e *etree.Element, name, value string) {
	if value != "" {
		e.CreateAttr(name, value)
	}
}

func first(values ...string) string {
	for _, value := range values {
		if value != "" {
			return value
		}
	}
	return ""
}

func text(e *etree.Element) (string, error) {
	doc := etree.NewDocument()
	doc.SetRoot(e)
	return doc.WriteToString()
}
