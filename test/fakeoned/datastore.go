package fakeoned

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/beevik/etree"
)

// What oned does with a datastore's template beyond writing down what it was told, after
// src/datastore/Datastore.cc.

// suiteTM is TM_MAD_CONF of the suite's TM, for a server that has no Configuration.
var suiteTM = map[string]string{
	"LN_TARGET": "SYSTEM", "CLONE_TARGET": "SYSTEM", "SHARED": "YES", "DS_MIGRATE": "YES", "DRIVER": "raw",
	"ALLOW_ORPHANS": "YES", "DISK_TYPE": "BLOCK", "PERSISTENT_SNAPSHOTS": "NO",
}

// transferManager is TM_MAD_CONF of a TM; nil where oned knows none of that name.
func (s *Server) transferManager(name string) map[string]string {
	configuration := s.Document(Configuration, 0)
	if configuration == "" {
		return suiteTM
	}
	for _, section := range readDocument(configuration).FindElements("/*/TM_MAD_CONF") {
		settings := map[string]string{}
		for _, e := range section.ChildElements() {
			settings[strings.ToUpper(e.Tag)] = e.Text()
		}
		if settings["NAME"] == name {
			return settings
		}
	}
	return nil
}

// setTM writes what TM_MAD_CONF says over what the datastore had.
func (s *Server) setTM(ds *etree.Element, name string) error {
	conf := s.transferManager(name)
	if conf == nil {
		return fmt.Errorf("TM_MAD named %q is not defined in oned.conf", name)
	}
	ofImages, ofSystem := []string{"LN_TARGET", "CLONE_TARGET", "DRIVER", "DISK_TYPE"}, []string{"SHARED", "DS_MIGRATE"}
	written, removed := ofImages, []string{"SHARED"}
	if isSystem(ds) {
		written, removed = ofSystem, []string{"LN_TARGET", "CLONE_TARGET"}
	}
	template := ds.SelectElement("TEMPLATE")
	for _, attribute := range slices.Concat(written, []string{"ALLOW_ORPHANS", "PERSISTENT_SNAPSHOTS"}) {
		if conf[attribute] != "" {
			set(template, map[string]string{attribute: conf[attribute]})
		}
	}
	for _, attribute := range removed {
		if e := template.SelectElement(attribute); e != nil {
			template.RemoveChild(e)
		}
	}
	set(ds, map[string]string{"TM_MAD": name})
	return nil
}

func isSystem(ds *etree.Element) bool { return ds.SelectElement("TYPE").Text() == "1" }

// updateDatastore is what any update does, and then what oned does if the template names a TM: it
// sets it anew. A template that names none gets the datastore's own.
func updateDatastore(s *Server, c Call) (any, *failure) {
	id, _ := intParam(c, 1)
	before := s.Document(Datastores, id)
	result, failed := update(Datastores, "datastore")(s, c)
	if failed != nil {
		return nil, failed
	}
	doc := readDocument(s.Document(Datastores, id))
	ds, template := doc.Root(), doc.Root().SelectElement("TEMPLATE")
	if name := template.SelectElement("TM_MAD"); name == nil || name.Text() == "" {
		set(template, map[string]string{"TM_MAD": ds.SelectElement("TM_MAD").Text()})
	} else if err := s.setTM(ds, name.Text()); err != nil {
		s.store(Datastores, id, before)
		return nil, &failure{fmt.Sprintf("[%s] Cannot update template. %v", c.Method, err), codeAPI, id}
	}
	s.store(Datastores, id, write(doc))
	return result, nil
}

// CreateDatastore makes a datastore of a flat template, as `onedatastore create` does, with the next
// id from that of the first of users on.
func (s *Server) CreateDatastore(text string) (id int, err error) {
	doc := readDocument(ImageDatastore(nil))
	told := map[string]string{}
	for _, m := range attribute.FindAllStringSubmatch(text, -1) {
		told[m[1]] = m[2] + m[3]
	}
	if told["TYPE"] == "SYSTEM_DS" {
		doc = readDocument(SystemDatastore(nil))
	}
	for id = ImageDS; s.Document(Datastores, id) != ""; id++ {
	}
	ds, template := doc.Root(), doc.Root().SelectElement("TEMPLATE")
	set(ds, map[string]string{"ID": strconv.Itoa(id), "NAME": told["NAME"]})
	if !isSystem(ds) {
		set(ds, map[string]string{"DS_MAD": told["DS_MAD"]})
	}
	delete(told, "NAME")
	template.Child = nil
	set(template, map[string]string{"DISK_TYPE": "FILE", "SAFE_DIRS": "/var/tmp", "RESTRICTED_DIRS": "/"})
	set(template, told)
	if err := s.setTM(ds, told["TM_MAD"]); err != nil {
		return 0, err
	}
	s.store(Datastores, id, write(doc))
	return id, nil
}
