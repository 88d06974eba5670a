package opennebula

import (
	"fmt"
	"io"
	"strings"

	"github.com/beevik/etree"
)

// ImageType is IMAGE/TYPE.
type ImageType int

// The types of images a transfer manager meets.
const (
	ImageOS        ImageType = 0
	ImageCDROM     ImageType = 1
	ImageDatablock ImageType = 2
	ImageKernel    ImageType = 3
	ImageRamdisk   ImageType = 4
	ImageContext   ImageType = 5
)

// The states of an image (IMAGE/STATE) in which no driver is at it.
const (
	ImageReady = 1
	ImageError = 5
)

// saveAs marks an empty image that waits for the content of a disk.
const saveAs = "save_as"

// Image is what drivers need of one.image.info or a datastore action's document.
type Image struct {
	ID         int // None in the document of the datastore action stat
	Name       string
	UserName   string
	Source     string // where the image is, as the datastore driver said
	Path       string // where its content comes from
	Type       ImageType
	Persistent bool
	Format     string // since 6.0
	// FSType is the file system: FS since 6.0, FSTYPE before, else what the template
	// says. "" when nothing names one.
	FSType string
	Size   int64 // MiB; 0 unknown
	// Asked is SIZE as the user wrote it, of an image that is none yet (stat).
	Asked          string
	State          int
	DatastoreID    int // None unknown
	CloningID      int // the image that a clone is made of, or None
	TargetSnapshot int // of the snapshot actions, or None
	Template       map[string]string
	Access         Access

	saveAs bool
}

// SaveAs says that the image is an empty one that waits for the content of a disk: make room
// for it, make no file system.
func (i *Image) SaveAs() bool { return i.saveAs }

// ParseImagePool reads a list of images (one.imagepool.info, `oneimage list -x`).
func ParseImagePool(r io.Reader) ([]Image, error) {
	root, err := parseRoot(r, "IMAGE_POOL")
	if err != nil {
		return nil, err
	}
	var images []Image
	for _, element := range root.SelectElements("IMAGE") {
		image, err := readStored(element)
		if err != nil {
			return nil, err
		}
		images = append(images, *image)
	}
	return images, nil
}

// ParseImage reads an image document.
func ParseImage(r io.Reader) (*Image, error) {
	root, err := parseRoot(r, "IMAGE")
	if err != nil {
		return nil, err
	}
	return readStored(root)
}

// readStored reads an image that oned has.
func readStored(element *etree.Element) (*Image, error) {
	image, err := readImage(element)
	if err != nil {
		return nil, err
	}
	if image.ID < 0 {
		return nil, fmt.Errorf("IMAGE: %w: ID is missing", ErrDocument)
	}
	return image, nil
}

func readImage(root *etree.Element) (*Image, error) {
	f := &fields{element: root, object: "IMAGE"}
	i := &Image{ID: None, Template: attributes(root.SelectElement("TEMPLATE"))}
	if f.text("ID") != "" {
		i.ID = f.id("ID")
		f.object = fmt.Sprintf("image %d", i.ID)
	}
	i.Name = f.text("NAME")
	i.UserName = f.text("UNAME")
	i.Source = f.text("SOURCE")
	i.Path = f.text("PATH")
	i.Type = ImageType(f.number(None, "TYPE"))
	i.Persistent = f.yes("PERSISTENT")
	i.Format = f.text("FORMAT")
	if i.ID == None {
		i.Asked = f.text("SIZE")
	} else {
		i.Size = f.mebibytes("SIZE")
	}
	i.State = f.number(None, "STATE")
	i.DatastoreID = f.number(None, "DATASTORE_ID")
	i.CloningID = f.number(None, "CLONING_ID")
	i.TargetSnapshot = f.number(None, "TARGET_SNAPSHOT")
	i.Access = readAccess(f)
	i.readFSType(f)
	return i, f.err
}

// readFSType looks for the file system's name, which save_as is not.
func (i *Image) readFSType(f *fields) {
	i.saveAs = strings.EqualFold(i.Format, saveAs)
	for _, name := range []string{f.text("FS"), f.text("FSTYPE"), i.Template["FSTYPE"], i.Template["FS"]} {
		if strings.EqualFold(name, saveAs) {
			i.saveAs = true
		} else if name != "" {
			i.FSType = name
			return
		}
	}
}
