package opennebula

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/beevik/etree"
)

// DriverAction is what a datastore driver is asked to do (DS_DRIVER_ACTION_DATA).
type DriverAction struct {
	Image     *Image // nil for monitor
	Datastore Datastore
	// Extras are the simple elements beside the two: DATASTORE_LOCATION and
	// MONITOR_VM_DISKS of monitor, DESTINATION_DS_ID of restore.
	Extras map[string]string
}

// ParseDriverAction reads the document, already decoded (see ReadDocument).
func ParseDriverAction(r io.Reader) (*DriverAction, error) {
	root, err := parseRoot(r, "DS_DRIVER_ACTION_DATA")
	if err != nil {
		return nil, err
	}
	a := &DriverAction{Extras: attributes(root)}
	delete(a.Extras, "IMAGE")
	delete(a.Extras, "DATASTORE")
	if element := root.SelectElement("IMAGE"); element != nil {
		if a.Image, err = readImage(element); err != nil {
			return nil, err
		}
	}
	return a, a.readDatastore(root)
}

func (a *DriverAction) readDatastore(root *etree.Element) error {
	element := root.SelectElement("DATASTORE")
	if element == nil {
		return fmt.Errorf("DS_DRIVER_ACTION_DATA: %w: DATASTORE is missing", ErrDocument)
	}
	datastore, err := readDatastore(element)
	if err != nil {
		return err
	}
	a.Datastore = *datastore
	return nil
}

// ReadDriverAction finds the document and the id that a datastore driver, or a TM's
// monitor, was called with: `DOCUMENT ID` up to 6.6, `- ID` with the document on
// standard input for `-i` of 6.4.4 to 6.6, `ID` with standard input since 6.8. The id
// is the image's, the datastore's for monitor, and of no meaning for stat.
func ReadDriverAction(argv []string, stdin io.Reader) (*DriverAction, int, error) {
	if len(argv) != 1 && len(argv) != 2 {
		return nil, None, fmt.Errorf("%w: %d given, expected [DOCUMENT] ID", ErrUsage, len(argv))
	}
	id, err := ParseID(argv[len(argv)-1])
	if err != nil {
		return nil, None, fmt.Errorf("%w: %w", ErrUsage, err)
	}
	source := stdin
	if len(argv) == 2 && argv[0] != "-" {
		source = strings.NewReader(argv[0])
	}
	document, err := ReadDocument(source)
	if err != nil {
		return nil, None, fmt.Errorf("DS_DRIVER_ACTION_DATA: %w", err)
	}
	action, err := ParseDriverAction(bytes.NewReader(document))
	return action, id, err
}
