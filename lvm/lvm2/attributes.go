package lvm2

// attributes is what lv_attr says of the volume's device on this node.
type attributes struct {
	Active  bool // device-mapper has a device for it
	Open    bool // somebody has the device open
	Invalid bool // a snapshot that ran out of space
}

// Places of letters in lv_attr, see lvs(8).
const (
	attributeState = 4
	attributeOpen  = 5
	attributeCount = 9 // old versions have nine letters, new ones ten
)

// decodeAttributes reads the letters of lv_attr. It knows every letter of lvs(8); one
// that it does not know, and X, with which LVM says that it does not know itself
// (device-mapper cannot be asked), is an error: "inactive" must not be guessed.
func decodeAttributes(attr string) (attributes, error) {
	if len(attr) < attributeCount {
		return attributes{}, &ReportError{Field: "lv_attr", Value: attr, Cause: "too short"}
	}
	var a attributes
	switch attr[attributeState] {
	case '-', 'h': // inactive, historical
	case 'a', 's', // active, suspended
		'I', 'S', // invalid snapshot, suspended invalid snapshot
		'm', 'M', // snapshot merge failed, suspended one
		'd', 'i', // device without table, with inactive table
		'c', 'C': // thin pool needs a check, suspended one
		a.Active = true
	default:
		return attributes{}, &ReportError{Field: "lv_attr", Value: attr, Cause: "unknown whether active; check that device-mapper works on this node"}
	}
	a.Invalid = attr[attributeState] == 'I' || attr[attributeState] == 'S'
	switch attr[attributeOpen] {
	case '-':
	case 'o':
		a.Open = true
	default:
		return attributes{}, &ReportError{Field: "lv_attr", Value: attr, Cause: "unknown whether open; check that device-mapper works on this node"}
	}
	return a, nil
}
