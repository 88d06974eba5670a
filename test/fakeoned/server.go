// Package fakeoned stands in for oned's XML-RPC interface: it serves documents that a
// real oned 7.4 wrote (testdata/oned-7.4), with fields set as a test needs them, and
// answers errors in exactly that oned's words. It can be slow, silent or mute.
package fakeoned

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"one-clvm/opennebula"
)

// Session is the "user:password" that a new Server accepts.
const Session = "oneadmin:opennebula"

// Server is the stand-in. Its methods may be called at any time, from any goroutine.
type Server struct {
	listener net.Listener
	http     *http.Server
	closed   chan struct{} // closed by Close: ends the calls that hang
	copying  chan int

	mu        sync.Mutex
	documents map[key]string
	behaviour Behaviour
	calls     []Call
	drivers   Drivers
	pending   []func() // what was begun: see Settle
	release   opennebula.Version
	now       func() time.Time
}

type key struct {
	kind Kind
	id   int
}

// Kind is a kind of object, by its element's name in documents.
type Kind string

// The kinds that the server keeps.
const (
	VMs        Kind = "VM"
	Images     Kind = "IMAGE"
	Datastores Kind = "DATASTORE"
	Hosts      Kind = "HOST"
	Hooks      Kind = "HOOK"

	Configuration Kind = "OPENNEBULA_CONFIGURATION"
)

// Behaviour is how the server misbehaves. The zero value: not at all.
type Behaviour struct {
	Session string        // the session string it accepts; "" is Session
	Delay   time.Duration // before every answer
	Hang    bool          // never answer
	Status  int           // an HTTP status instead of an answer, e.g. 502
	Garbage string        // a body instead of an answer
}

// Call is one request that the server was sent.
type Call struct {
	Method string
	Params []any // string, int64 or bool; the session string first
}

// Listen starts a server on an address such as "127.0.0.1:0".
func Listen(address string) (*Server, error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("stand-in for oned: %w", err)
	}
	s := &Server{listener: listener, closed: make(chan struct{}), copying: make(chan int, 16), documents: map[key]string{}, now: time.Now}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /RPC2", s.serve)
	s.http = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.http.Serve(listener) }() // ends with ErrServerClosed
	return s, nil
}

// URL is the endpoint, as it stands in ONE_XMLRPC.
func (s *Server) URL() string { return "http://" + s.listener.Addr().String() + "/RPC2" }

// Close stops the server and cuts open connections.
func (s *Server) Close() error {
	select {
	case <-s.closed:
		return nil
	default:
		close(s.closed)
	}
	if err := s.http.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("stand-in for oned: %w", err)
	}
	return nil
}

// Behave changes how the server answers from now on.
func (s *Server) Behave(b Behaviour) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behaviour = b
}

// Be makes the server one of that release: what is Put from now on is [Aged].
func (s *Server) Be(release opennebula.Version) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release = release
}

// Put makes a document known, replacing the one of the same kind and id.
func (s *Server) Put(kind Kind, id int, document string) {
	s.mu.Lock()
	release := s.release
	s.mu.Unlock()
	if release != (opennebula.Version{}) {
		document = Aged(document, release)
	}
	s.store(kind, id, document)
}

func (s *Server) store(kind Kind, id int, document string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.documents[key{kind, id}] = document
}

// Remove forgets a document.
func (s *Server) Remove(kind Kind, id int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.documents, key{kind, id})
}

// Change gives fields of a document that is known new texts.
func (s *Server) Change(kind Kind, id int, fields map[string]string) {
	s.store(kind, id, changed(s.Document(kind, id), fields))
}

// Document is what the server holds now: a client may have updated it. "" if nothing.
func (s *Server) Document(kind Kind, id int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.documents[key{kind, id}]
}

// Copying gives the ids of new images of which the datastore's driver is to make a content:
// their documents say of what. Change makes them READY.
func (s *Server) Copying() <-chan int { return s.copying }

// Calls are all requests so far, the ones with a bad session string included.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// pool joins all documents of a kind, in the order of their ids.
func (s *Server) pool(kind Kind) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []int
	for k := range s.documents {
		if k.kind == kind {
			ids = append(ids, k.id)
		}
	}
	slices.Sort(ids)
	var all strings.Builder
	for _, id := range ids {
		all.WriteString(s.documents[key{kind, id}])
	}
	return fmt.Sprintf("<%s_POOL>%s</%s_POOL>", kind, all.String(), kind)
}
