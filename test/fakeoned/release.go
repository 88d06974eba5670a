package fakeoned

import (
	"github.com/beevik/etree"

	"one-clvm/opennebula"
)

// novelty is an element that documents have had since a release. before is its name until
// then, "" for none.
type novelty struct {
	major, minor         int
	parent, name, before string
}

// novelties are those that drivers read, or could trip over; after the sources of OpenNebula
// 3.6.3 to 7.4.0, which write these documents in src/{vm,image,datastore}.
var novelties = []novelty{
	{3, 8, "HISTORY", "DS_ID", ""}, {3, 8, "DATASTORE", "TYPE", ""},
	{4, 0, "VM", "PREV_STATE", ""}, {4, 0, "VM", "PREV_LCM_STATE", ""},
	{4, 4, "DISK", "CLONE_TARGET", ""}, {4, 4, "DISK", "LN_TARGET", ""},
	{4, 14, "DISK", "ORIGINAL_SIZE", ""}, {4, 14, "DISK", "DISK_SNAPSHOT_TOTAL_SIZE", ""},
	{4, 14, "VM", "SNAPSHOTS", ""}, {4, 14, "IMAGE", "SNAPSHOTS", ""}, {4, 14, "IMAGE", "TARGET_SNAPSHOT", ""}, {4, 14, "VM", "MONITORING", ""},
	{5, 0, "HISTORY", "VM_MAD", "VMMMAD"}, {5, 0, "HISTORY", "TM_MAD", "TMMAD"}, {5, 0, "DATASTORE", "CLUSTERS", ""},
	{5, 4, "DISK", "DISK_TYPE", ""}, {5, 4, "DISK", "ALLOW_ORPHANS", ""},
	{6, 0, "DISK", "FORMAT", ""}, {6, 0, "DISK", "FS", "FORMAT"}, {6, 0, "IMAGE", "FORMAT", ""}, {6, 0, "IMAGE", "FS", "FSTYPE"},
	{6, 6, "VM", "BACKUPS", ""}, {6, 6, "IMAGE", "BACKUP_INCREMENTS", ""}, {6, 6, "IMAGE", "BACKUP_DISK_IDS", ""},
	{7, 0, "DISK", "PERSISTENT_SNAPSHOTS", ""}, {7, 0, "HISTORY", "PLAN_ID", ""}, {7, 0, "HISTORY", "ACTION_ID", ""},
}

// Aged is a document of 7.4 as that release of oned would have written it.
func Aged(document string, release opennebula.Version) string {
	doc := readDocument(document)
	for _, element := range doc.FindElements("//*") {
		if !release.AtLeast(6, 0, 0) {
			before60(element)
		}
		if !release.AtLeast(4, 0, 0) {
			before40(element)
		}
		for _, n := range novelties {
			if element.Tag == n.parent && !release.AtLeast(n.major, n.minor, 0) {
				n.takeBack(element)
			}
		}
	}
	return write(doc)
}

func (n novelty) takeBack(parent *etree.Element) {
	child := parent.SelectElement(n.name)
	switch {
	case child == nil:
	case n.before == "" || child.Text() == "":
		parent.RemoveChild(child)
	default:
		child.Tag = n.before
	}
}

// before60: an image that waits for a disk's content said so where its file system stood.
func before60(element *etree.Element) {
	if format := element.SelectElement("FORMAT"); element.Tag == "IMAGE" && format != nil && format.Text() == "save_as" {
		element.SelectElement("FS").SetText(format.Text())
	}
}

// before40: the size of an image's disk was the image's alone, and a flag told system
// datastores from others.
func before40(element *etree.Element) {
	switch {
	case element.Tag == "DISK" && element.SelectElement("IMAGE_ID") != nil:
		if size := element.SelectElement("SIZE"); size != nil {
			element.RemoveChild(size)
		}
	case element.Tag == "DATASTORE" && element.SelectElement("TYPE") != nil:
		kind := element.SelectElement("TYPE")
		system := "0"
		if kind.Text() == "1" {
			system = "1"
		}
		kind.Tag = "SYSTEM"
		kind.SetText(system)
	}
}
