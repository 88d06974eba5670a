package opennebula

import (
	"fmt"
	"io"
	"strings"

	"github.com/beevik/etree"
)

// DatastoreType is DATASTORE/TYPE.
type DatastoreType int

// The types of datastores.
const (
	DatastoreImage  DatastoreType = 0
	DatastoreSystem DatastoreType = 1
	DatastoreFile   DatastoreType = 2
	DatastoreBackup DatastoreType = 3 // since 6.6
)

// Datastore is what drivers need of one.datastore.info or a datastore action.
type Datastore struct {
	ID         int
	Name       string
	DSMAD      string
	TMMAD      string
	BasePath   string // doubled slashes collapsed
	Type       DatastoreType
	ClusterIDs []int
	Template   map[string]string
}

// Origin names the datastore as the origin of a setting: "datastore 101".
func (d *Datastore) Origin() string { return fmt.Sprintf("datastore %d", d.ID) }

// IsSystem says whether VMs' homes are in it.
func (d *Datastore) IsSystem() bool { return d.Type == DatastoreSystem }

// SafeDirs are the directories whose files may become images whatever RESTRICTED_DIRS says.
func (d *Datastore) SafeDirs() []string {
	if dirs := strings.Fields(d.Template["SAFE_DIRS"]); len(dirs) > 0 {
		return dirs
	}
	return []string{"/var/tmp"}
}

// ParseDatastore reads a datastore document.
func ParseDatastore(r io.Reader) (*Datastore, error) {
	root, err := parseRoot(r, "DATASTORE")
	if err != nil {
		return nil, err
	}
	return readDatastore(root)
}

func readDatastore(root *etree.Element) (*Datastore, error) {
	f := &fields{element: root, object: "DATASTORE"}
	d := &Datastore{ID: f.id("ID"), Template: attributes(root.SelectElement("TEMPLATE"))}
	f.object = d.Origin()
	d.Name = f.text("NAME")
	d.DSMAD = f.text("DS_MAD")
	d.TMMAD = f.text("TM_MAD", "TMMAD")
	d.BasePath = collapseSlashes(f.text("BASE_PATH"))
	d.Type = datastoreType(f)
	d.ClusterIDs = f.clusters()
	return d, f.err
}

// datastoreType: 3.8 has no TYPE but a flag SYSTEM.
func datastoreType(f *fields) DatastoreType {
	if f.text("TYPE") == "" && f.yes("SYSTEM") {
		return DatastoreSystem
	}
	return DatastoreType(f.number(int(DatastoreImage), "TYPE"))
}

// clusters: CLUSTERS/ID since 5.0, one CLUSTER_ID before, -1 for none.
func (f *fields) clusters() []int {
	if ids := f.ids("CLUSTERS"); ids != nil {
		return ids
	}
	if id := f.number(None, "CLUSTER_ID"); id >= 0 {
		return []int{id}
	}
	return nil
}
