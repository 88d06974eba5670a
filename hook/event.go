// Package hook tells OpenNebula what a cluster did to its VMs by itself: moved, restarted or
// stopped them. Whatever the cluster calls (the entrances) only appends to a spool. A
// delivery asks the cluster where the VM really is, and reports that to a front-end, where
// oned's record is brought to the truth: a decision that is a function of the record and the
// truth, and calls of oned's API. Telling moves no VM.
package hook

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"one-clvm/opennebula"
)

// Entrance is who brought an event.
type Entrance string

// The entrances.
const (
	CXM       Entrance = "cxm"
	Pacemaker Entrance = "alert"
	Rgmanager Entrance = "rgmanager"
	Libvirt   Entrance = "libvirt"
	Hand      Entrance = "report"
)

// Event is a reason to look where a VM is. It is not believed further than that: only what
// the cluster says at the time of delivery is told.
type Event struct {
	Entrance Entrance  `json:"entrance"`
	VM       int       `json:"vm"`   // opennebula.None: to be asked by Name
	Name     string    `json:"name"` // of the service or domain; "" if the VM is known
	What     string    `json:"what"` // in the entrance's own words
	From     string    `json:"from,omitempty"`
	To       string    `json:"to,omitempty"`
	At       time.Time `json:"at"`
	// Sequence is the source's own number of the event; 0: it has none.
	Sequence int64 `json:"sequence,omitempty"`
}

// ErrEvent says that an entrance was called with what its caller never gives.
var ErrEvent = errors.New("not an event")

// errNothing: an event that changes no VM's place.
var errNothing = errors.New("nothing to report")

// serviceName: what cluster managers and libvirt call VMs.
var serviceName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:+@-]{0,254}$`)

// what: the words of the entrances.
var eventWords = regexp.MustCompile(`^[a-z0-9_ =-]{1,64}$`)

const maxVM = 1<<31 - 1

// check is the allow-list that every event passes, when it is made and when it is read.
func (e Event) check() error {
	switch {
	case e.VM < opennebula.None || e.VM > maxVM:
		return fmt.Errorf("%w: VM %d", ErrEvent, e.VM)
	case e.VM == opennebula.None && e.Name == "":
		return fmt.Errorf("%w: it names no VM", ErrEvent)
	case e.Name != "" && !serviceName.MatchString(e.Name):
		return fmt.Errorf("%w: %s is no name of a service", ErrEvent, quote(e.Name))
	case !eventWords.MatchString(e.What):
		return fmt.Errorf("%w: %s", ErrEvent, quote(e.What))
	}
	for _, node := range []string{e.From, e.To} {
		if node != "" && opennebula.CheckHost(node) != nil {
			return fmt.Errorf("%w: %s is no name of a node", ErrEvent, quote(node))
		}
	}
	switch e.Entrance {
	case CXM, Pacemaker, Rgmanager, Libvirt, Hand:
		return nil
	}
	return fmt.Errorf("%w: entrance %s", ErrEvent, quote(string(e.Entrance)))
}

// record is the event as it lies in the spool.
func (e Event) record() ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	return json.Marshal(e)
}

// readEvent reads a record: whoever may write to the spool may have written anything.
func readEvent(data []byte) (Event, error) {
	e := Event{VM: opennebula.None}
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&e); err != nil {
		return Event{}, fmt.Errorf("%w: %w", ErrEvent, err)
	}
	return e, e.check()
}

// quote shows a text of unknown origin, and not all of a long one.
func quote(text string) string {
	const most = 60
	if len(text) > most {
		return fmt.Sprintf("%q and %d more bytes", text[:most], len(text)-most)
	}
	return fmt.Sprintf("%q", text)
}

// subject of the event, for logs.
func (e Event) subject() string {
	if e.VM != opennebula.None {
		return fmt.Sprintf("VM %d", e.VM)
	}
	return e.Name
}
