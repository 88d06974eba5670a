package domain

import (
	"fmt"
	"io"
	"strings"

	"github.com/beevik/etree"
)

// CheckCompleted checks a document as libvirt hands it to its hook: completed by libvirt, from a
// file that others may have written, and started as it stands. What libvirt adds is taken away,
// and the rest has to be what Read lets pass without putting it right. ErrRefused.
func CheckCompleted(r io.Reader, owner Owner) error {
	doc, err := parse(r)
	if err == nil {
		err = dropCompletion(doc.Root())
	}
	if err == nil {
		err = (&Domain{doc: doc, owner: owner, completed: true}).check()
	}
	if err != nil {
		return fmt.Errorf("domain of VM %d: %w", owner.VM, err)
	}
	return nil
}

// dropCompletion takes away what Read does not know, and libvirt adds.
func dropCompletion(root *etree.Element) error {
	for _, label := range root.SelectElements("seclabel") {
		if label.SelectAttrValue("type", "") != "dynamic" || label.SelectElement("baselabel") != nil {
			return fmt.Errorf("%w: element seclabel of its own is not allowed%s", ErrRefused, why["seclabel"])
		}
		root.RemoveChild(label)
	}
	for _, disk := range root.FindElements("devices/disk") {
		if source := disk.SelectElement("source"); source != nil {
			source.RemoveAttr("index")
			source.RemoveAttr("startupPolicy")
		}
		for _, behind := range disk.SelectElements("backingStore") {
			if len(behind.Attr) == 0 && len(behind.ChildElements()) == 0 { // there is none
				disk.RemoveChild(behind)
			}
		}
	}
	if nvram := root.FindElement("os/nvram"); nvram != nil {
		flatten(nvram)
	}
	return nil
}

// flatten writes <nvram><source file='F'/></nvram> as <nvram>F</nvram>, which is the same.
func flatten(nvram *etree.Element) {
	source := nvram.SelectElement("source")
	if source == nil || len(source.Attr) != 1 || len(source.ChildElements()) > 0 || strings.TrimSpace(nvram.Text()) != "" {
		return
	}
	if file := source.SelectAttrValue("file", ""); file != "" {
		nvram.RemoveChild(source)
		nvram.SetText(file)
	}
}
