package fakeoned

import (
	"embed"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/beevik/etree"
)

//go:embed testdata/oned-7.4
var recorded embed.FS

// The ids of the recorded installation.
const (
	ImageDS  = 100
	SystemDS = 101
)

// Image describes an image of datastore ImageDS.
type Image struct {
	ID       int
	Name     string
	Source   string            // path or volume
	SizeMiB  int64             // as oned registered it
	Template map[string]string // MODE, SIZE, FSTYPE, …
}

// Document is the image as one.image.info shows it.
func (i Image) Document() string {
	doc := read("image.xml")
	set(doc.Root(), map[string]string{
		"ID": strconv.Itoa(i.ID), "NAME": i.Name, "SOURCE": i.Source, "SIZE": strconv.FormatInt(i.SizeMiB, 10),
	})
	set(doc.Root().SelectElement("TEMPLATE"), i.Template)
	return write(doc)
}

// changed is a document with other fields.
func changed(document string, fields map[string]string) string {
	doc := readDocument(document)
	set(doc.Root(), fields)
	return write(doc)
}

// DriverAction is what oned hands to the driver of a datastore: the document of the
// datastore, and an image that has no SOURCE yet, with these fields. Those of the image's
// template have TEMPLATE/ before their names.
func DriverAction(id int, fields map[string]string, datastore string) string {
	image := map[string]string{"ID": strconv.Itoa(id), "NAME": fmt.Sprintf("image-%d", id), "SOURCE": "", "PATH": "", "FORMAT": "", "SIZE": "8"}
	template := map[string]string{}
	for name, value := range fields {
		if inner, ok := strings.CutPrefix(name, "TEMPLATE/"); ok {
			template[inner] = value
		} else {
			image[name] = value
		}
	}
	doc := read("image.xml")
	set(doc.Root(), image)
	set(doc.Root().SelectElement("TEMPLATE"), template)
	return "<DS_DRIVER_ACTION_DATA>" + write(doc) + datastore + "</DS_DRIVER_ACTION_DATA>"
}

// Disk is the fields of a DISK that differ from the recorded one of its kind.
type Disk struct {
	recorded int // DISK_ID in the recorded document
	Fields   map[string]string
}

// CloneDisk is a disk that oned makes with CLONE. sizeMiB 0: as large as the image; the
// user's larger wish otherwise.
func CloneDisk(id int, image Image, sizeMiB int64) Disk { return imageDisk(0, id, image, sizeMiB) }

// PersistentDisk is a disk that oned makes with LN and gives back with MVDS.
func PersistentDisk(id int, image Image) Disk { return imageDisk(1, id, image, 0) }

// VolatileDisk is a disk that oned makes with MKIMAGE; the file system is its FS.
func VolatileDisk(id int, fs string, sizeMiB int64) Disk {
	return Disk{2, map[string]string{"DISK_ID": strconv.Itoa(id), "FS": fs, "SIZE": strconv.FormatInt(sizeMiB, 10)}}
}

// SwapDisk is a disk that oned makes with MKSWAP.
func SwapDisk(id int, sizeMiB int64) Disk {
	return Disk{3, map[string]string{"DISK_ID": strconv.Itoa(id), "SIZE": strconv.FormatInt(sizeMiB, 10)}}
}

func imageDisk(kind, id int, image Image, sizeMiB int64) Disk {
	if sizeMiB == 0 {
		sizeMiB = image.SizeMiB
	}
	return Disk{kind, map[string]string{
		"DISK_ID": strconv.Itoa(id), "IMAGE": image.Name, "IMAGE_ID": strconv.Itoa(image.ID), "SOURCE": image.Source,
		"ORIGINAL_SIZE": strconv.FormatInt(image.SizeMiB, 10), "SIZE": strconv.FormatInt(sizeMiB, 10),
	}}
}

// With is the disk with more fields set.
func (d Disk) With(fields map[string]string) Disk {
	all := maps.Clone(d.Fields)
	maps.Copy(all, fields)
	return Disk{d.recorded, all}
}

// longAgo is 2013: oned has the VM where it has it since before any test has looked.
const longAgo = "1358208000"

// VM describes a virtual machine in system datastore DS.
type VM struct {
	ID       int
	Name     string
	Host     string // of the last history record
	DS       int    // 0: SystemDS
	State    int    // 0: 3, ACTIVE
	LCMState int    // 0: 1, PROLOG
	Disks    []Disk
	Context  int // DISK_ID of the context disk; 0: none
}

// Document is the VM as one.vm.info shows it.
func (v VM) Document() string {
	doc := read("vm.xml")
	vm := doc.Root()
	set(vm, map[string]string{
		"ID": strconv.Itoa(v.ID), "NAME": v.Name, "DEPLOY_ID": fmt.Sprintf("one-%d", v.ID),
		"STATE": strconv.Itoa(orElse(v.State, 3)), "LCM_STATE": strconv.Itoa(orElse(v.LCMState, 1)),
	})
	template := vm.SelectElement("TEMPLATE")
	set(template, map[string]string{"VMID": strconv.Itoa(v.ID)})
	if v.Context == 0 {
		template.RemoveChild(template.SelectElement("CONTEXT"))
	} else {
		set(template.SelectElement("CONTEXT"), map[string]string{"DISK_ID": strconv.Itoa(v.Context)})
	}
	setDisks(template, v.Disks, orElse(v.DS, SystemDS))
	set(vm.FindElement("HISTORY_RECORDS/HISTORY"), map[string]string{
		"OID": strconv.Itoa(v.ID), "HOSTNAME": v.Host, "DS_ID": strconv.Itoa(orElse(v.DS, SystemDS)), "STIME": longAgo, "RSTIME": longAgo,
	})
	return write(doc)
}

// setDisks puts the disks where the recorded ones were, each made from the recorded one
// of its kind.
func setDisks(template *etree.Element, disks []Disk, systemDS int) {
	old := template.SelectElements("DISK")
	at := old[0].Index()
	for _, d := range disks {
		element := old[d.recorded].Copy()
		if element.SelectElement("IMAGE_ID") == nil {
			set(element, map[string]string{"DATASTORE_ID": strconv.Itoa(systemDS)})
		}
		set(element, d.Fields)
		template.InsertChildAt(at, element)
		at = element.Index() + 1
	}
	for _, element := range old {
		template.RemoveChild(element)
	}
}

// ImageDatastore is datastore ImageDS with more attributes in its TEMPLATE.
func ImageDatastore(template map[string]string) string {
	return datastore("datastore-image.xml", template)
}

// SystemDatastore is datastore SystemDS with more attributes in its TEMPLATE.
func SystemDatastore(template map[string]string) string {
	return datastore("datastore-system.xml", template)
}

func datastore(file string, template map[string]string) string {
	doc := read(file)
	set(doc.Root().SelectElement("TEMPLATE"), template)
	return write(doc)
}

// Host is a host's document. state: 0 init, 1 monitoring, 2 monitored, 3 error.
func Host(id int, name string, state int) string {
	doc := read("host.xml")
	set(doc.Root(), map[string]string{"ID": strconv.Itoa(id), "NAME": name, "STATE": strconv.Itoa(state)})
	return write(doc)
}

// attribute is KEY = value, KEY = "value" or KEY = alone, as templates write it.
var attribute = regexp.MustCompile(`([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s,"\[]+)|\n)`)

// newImage reads the template of a new image, as one.image.allocate does: oned keeps some
// attributes as fields of its own. One without SOURCE is made of path by the driver.
func newImage(text string) (image Image, path string, err error) {
	image = Image{Template: map[string]string{}}
	for _, m := range attribute.FindAllStringSubmatch(text, -1) {
		switch value := m[2] + m[3]; m[1] {
		case "NAME":
			image.Name = value
		case "SOURCE":
			image.Source = value
		case "PATH":
			path = value
		case "SIZE":
			if image.SizeMiB, err = strconv.ParseInt(value, 10, 64); err != nil {
				return image, "", fmt.Errorf("wrong number in SIZE: %w", err)
			}
		default:
			image.Template[m[1]] = value
		}
	}
	if image.Name == "" || image.Source == "" && path == "" {
		return image, "", errors.New("NAME, or SOURCE and PATH, are missing in the template")
	}
	return image, path, nil
}

// updateTemplate does what one.image.update does with a flat template.
func updateTemplate(document, text string, merge bool) (string, error) {
	doc := newDocument()
	if err := doc.ReadFromString(document); err != nil {
		return "", fmt.Errorf("document: %w", err)
	}
	found := attribute.FindAllStringSubmatch(text, -1)
	if len(found) == 0 && text != "" {
		return "", fmt.Errorf("syntax error in template %q", text)
	}
	template := doc.Root().SelectElement("TEMPLATE")
	if !merge {
		template.Child = nil
	}
	for _, m := range found {
		set(template, map[string]string{m[1]: m[2] + m[3]})
	}
	return write(doc), nil
}

// set gives child elements new texts and adds those that are not there. oned writes the
// attributes of templates as CDATA and its own fields plainly: so it stays.
func set(parent *etree.Element, fields map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		child := parent.SelectElement(name)
		if child == nil {
			child = parent.CreateElement(name)
		}
		if plain := len(child.Child) == 1 && !isCData(child.Child[0]); plain {
			child.SetText(fields[name])
		} else {
			child.SetCData(fields[name])
		}
	}
}

func isCData(token etree.Token) bool {
	text, ok := token.(*etree.CharData)
	return ok && text.IsCData()
}

func orElse(value, otherwise int) int {
	if value == 0 {
		return otherwise
	}
	return value
}

// read parses a recorded document. It is part of the program: failing is a bug.
func read(name string) *etree.Document {
	data, err := recorded.ReadFile("testdata/oned-7.4/" + name)
	if err != nil {
		panic(err)
	}
	doc := newDocument()
	if err := doc.ReadFromBytes(data); err != nil {
		panic(err)
	}
	return doc
}

// readDocument reads a document of the server's own.
func readDocument(document string) *etree.Document {
	doc := newDocument()
	if err := doc.ReadFromString(document); err != nil {
		panic(err)
	}
	return doc
}

func newDocument() *etree.Document {
	doc := etree.NewDocument()
	doc.ReadSettings.PreserveCData = true
	return doc
}

func write(doc *etree.Document) string {
	text, err := doc.WriteToString()
	if err != nil {
		panic(err) // a string builder does not fail
	}
	return text
}
