package fakeoned

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// oned's error codes (its include/RequestManager.h).
const (
	codeAuthentication = 256
	codeNoExists       = 1024
	codeAPI            = 4096
	codeAllocate       = 16384
)

// imageLocked is the state of an image while a driver makes its content.
const imageLocked = "4"

// failure is an answer that is not a success: oned's text, its code, the object's id.
type failure struct {
	text string
	code int
	id   int
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	call, err := parseCall(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.calls = append(s.calls, call)
	b := s.behaviour
	s.mu.Unlock()
	if !s.wait(r, b) {
		panic(http.ErrAbortHandler) // or net/http would answer, with nothing
	}
	if b.Status != 0 {
		http.Error(w, http.StatusText(b.Status), b.Status)
		return
	}
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	body := b.Garbage
	if body == "" {
		body = s.answer(call, b)
	}
	_, _ = io.WriteString(w, body) // a client that went away is its own business
}

// wait holds an answer back; false if there will be none.
func (s *Server) wait(r *http.Request, b Behaviour) bool {
	var timer <-chan time.Time
	if !b.Hang {
		timer = time.After(b.Delay)
	}
	select {
	case <-timer:
		return true
	case <-r.Context().Done():
	case <-s.closed:
	}
	return false
}

func (s *Server) answer(c Call, b Behaviour) string {
	session := b.Session
	if session == "" {
		session = Session
	}
	method, ok := methods[c.Method]
	if !ok {
		return fault(-506, fmt.Sprintf("Method '%s' not defined", c.Method))
	}
	if len(c.Params) == 0 || c.Params[0] != session {
		return refuse(failure{fmt.Sprintf("[%s] User couldn't be authenticated, aborting call.", c.Method), codeAuthentication, -1})
	}
	result, failed := method(s, c)
	if failed != nil {
		return refuse(*failed)
	}
	return success(result)
}

// methods are the calls that the server knows. A result is a document or an id.
var methods = map[string]func(*Server, Call) (any, *failure){
	"one.vm.info":        info(VMs, "virtual machine"),
	"one.image.info":     info(Images, "image"),
	"one.datastore.info": info(Datastores, "datastore"),
	"one.host.info":      info(Hosts, "host"),
	"one.vmpool.info":    pool(VMs),
	"one.imagepool.info": pool(Images),
	"one.hostpool.info":  pool(Hosts),
	"one.hookpool.info":  pool(Hooks),
	"one.system.config":  config,

	"one.datastorepool.info": pool(Datastores),
	"one.image.update":       update(Images, "image"),
	"one.datastore.update":   updateDatastore,
	"one.vm.migrate":         migrateVM,
	"one.vm.recover":         recoverVM,
	"one.image.allocate":     allocateImage,
	"one.image.delete":       deleteImage,
}

// pool serves all objects of a kind, whatever range and filter was asked for.
func pool(kind Kind) func(*Server, Call) (any, *failure) {
	return func(s *Server, _ Call) (any, *failure) { return s.pool(kind), nil }
}

// config serves oned's configuration: object 0 of its kind, an empty one without it.
func config(s *Server, _ Call) (any, *failure) {
	if document := s.Document(Configuration, 0); document != "" {
		return document, nil
	}
	return "<OPENNEBULA_CONFIGURATION/>", nil
}

// info serves one object; oned's error text calls its kind by name.
func info(kind Kind, name string) func(*Server, Call) (any, *failure) {
	return func(s *Server, c Call) (any, *failure) {
		id, ok := intParam(c, 1)
		if !ok {
			return nil, &failure{fmt.Sprintf("[%s] Internal Error: id is not an integer.", c.Method), codeAPI, -1}
		}
		document := s.Document(kind, id)
		if document == "" {
			return nil, &failure{fmt.Sprintf("[%s] Error getting %s [%d].", c.Method, name, id), codeNoExists, id}
		}
		return document, nil
	}
}

// update sets attributes of an object's TEMPLATE: 0 replaces it, 1 merges.
func update(kind Kind, name string) func(*Server, Call) (any, *failure) {
	return func(s *Server, c Call) (any, *failure) {
		id, isInt := intParam(c, 1)
		text, isString := stringParam(c, 2)
		mode, hasMode := intParam(c, 3)
		if !isInt || !isString || !hasMode {
			return nil, &failure{fmt.Sprintf("[%s] Internal Error: bad parameters.", c.Method), codeAPI, id}
		}
		document := s.Document(kind, id)
		if document == "" {
			return nil, &failure{fmt.Sprintf("[%s] Error getting %s [%d].", c.Method, name, id), codeNoExists, id}
		}
		updated, err := updateTemplate(document, text, mode == 1)
		if err != nil {
			return nil, &failure{fmt.Sprintf("[%s] Cannot update template. %v", c.Method, err), codeAPI, id}
		}
		s.store(kind, id, updated)
		return id, nil
	}
}

// allocateImage makes an image of a flat template, with the next id.
func allocateImage(s *Server, c Call) (any, *failure) {
	text, isString := stringParam(c, 1)
	datastore, isInt := intParam(c, 2)
	if !isString || !isInt {
		return nil, &failure{fmt.Sprintf("[%s] Internal Error: bad parameters.", c.Method), codeAPI, -1}
	}
	if s.Document(Datastores, datastore) == "" {
		return nil, &failure{fmt.Sprintf("[%s] Error getting datastore [%d].", c.Method, datastore), codeNoExists, datastore}
	}
	image, path, err := newImage(text)
	if err != nil {
		return nil, &failure{fmt.Sprintf("[%s] Cannot allocate image. %v", c.Method, err), codeAllocate, -1}
	}
	for s.Document(Images, image.ID) != "" {
		if strings.Contains(s.Document(Images, image.ID), "<NAME>"+image.Name+"<") {
			return nil, &failure{fmt.Sprintf("[%s] Error allocating a new image. NAME is already taken by IMAGE %d.", c.Method, image.ID), codeAllocate, -1}
		}
		image.ID++
	}
	s.Put(Images, image.ID, image.Document())
	if path != "" {
		s.Change(Images, image.ID, map[string]string{"STATE": imageLocked, "PATH": path, "FORMAT": ""})
		s.copying <- image.ID
	}
	return image.ID, nil
}

// deleteImage forgets an image; what there is of it is its test's business.
func deleteImage(s *Server, c Call) (any, *failure) {
	id, isInt := intParam(c, 1)
	if !isInt || s.Document(Images, id) == "" {
		return nil, &failure{fmt.Sprintf("[%s] Error getting image [%d].", c.Method, id), codeNoExists, id}
	}
	s.Remove(Images, id)
	return id, nil
}

func intParam(c Call, n int) (int, bool) {
	if n >= len(c.Params) {
		return -1, false
	}
	value, ok := c.Params[n].(int64)
	return int(value), ok
}

func stringParam(c Call, n int) (string, bool) {
	if n >= len(c.Params) {
		return "", false
	}
	value, ok := c.Params[n].(string)
	return value, ok
}

type methodCall struct {
	Name   string `xml:"methodName"`
	Params []struct {
		Text    string  `xml:",chardata"` // a value without a type is a string
		String  *string `xml:"string"`
		I4      *string `xml:"i4"`
		Int     *string `xml:"int"`
		I8      *string `xml:"i8"`
		Boolean *string `xml:"boolean"`
	} `xml:"params>param>value"`
}

func parseCall(r io.Reader) (Call, error) {
	var m methodCall
	if err := xml.NewDecoder(r).Decode(&m); err != nil {
		return Call{}, fmt.Errorf("request: %w", err)
	}
	call := Call{Method: m.Name}
	for _, p := range m.Params {
		number := p.I4
		for _, other := range []*string{p.Int, p.I8} {
			if other != nil {
				number = other
			}
		}
		switch {
		case p.String != nil:
			call.Params = append(call.Params, *p.String)
		case p.Boolean != nil:
			call.Params = append(call.Params, *p.Boolean == "1")
		case number != nil:
			value, err := strconv.ParseInt(strings.TrimSpace(*number), 10, 64)
			if err != nil {
				return Call{}, fmt.Errorf("request: %w", err)
			}
			call.Params = append(call.Params, value)
		default:
			call.Params = append(call.Params, p.Text)
		}
	}
	return call, nil
}

func success(result any) string {
	value := fmt.Sprintf("<i4>%v</i4>", result)
	if text, ok := result.(string); ok {
		value = "<string>" + escape(text) + "</string>"
	}
	return reply("<boolean>1</boolean>", value, "<i4>0</i4>")
}

func refuse(f failure) string {
	return reply("<boolean>0</boolean>", "<string>"+escape(f.text)+"</string>",
		fmt.Sprintf("<i4>%d</i4>", f.code), fmt.Sprintf("<i4>%d</i4>", f.id), "<i8>-1</i8>")
}

// reply wraps values as oned's library does, one a line.
func reply(values ...string) string {
	lines := []string{`<?xml version="1.0" encoding="UTF-8"?>`, "<methodResponse>", "<params>", "<param><value><array><data>"}
	for _, v := range values {
		lines = append(lines, "<value>"+v+"</value>")
	}
	lines = append(lines, "</data></array></value></param>", "</params>", "</methodResponse>", "")
	return strings.Join(lines, "\r\n")
}

func fault(code int, text string) string {
	return fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?>
<methodResponse><fault><value><struct>
<member><name>faultCode</name><value><i4>%d</i4></value></member>
<member><name>faultString</name><value><string>%s</string></value></member>
</struct></value></fault></methodResponse>
`, code, escape(text))
}

// escape does what oned's library does: & < > and carriage returns, no quotes.
func escape(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "\r", "&#x0d;").Replace(text)
}
